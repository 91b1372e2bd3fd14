//! Room `cli`: a file that is there whole or not at all, for what people keep: exports hold payloads, so only their owner
//! may read them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// A file being written. Until [`finish`](Self::finish) an earlier one of its name stays as it is.
pub(super) enum WholeFile {
    /// Beside its place, under a name of its own; removed when it is dropped unfinished.
    Draft { draft: BufWriter<NamedTempFile>, place: PathBuf, replace: bool },
    /// A device or a pipe: nothing can take its place.
    Stream(BufWriter<File>),
}

impl WholeFile {
    /// Begins a file that will stand at `path`. One that stands there is only replaced by leave of `replace`: an error else.
    pub(super) fn create(path: &Path, replace: bool) -> io::Result<Self> {
        let place = match fs::metadata(path) {
            Ok(found) if found.is_file() && !replace => return Err(there_already()),
            Ok(found) if found.is_file() => fs::canonicalize(path)?,
            Ok(_) => return Ok(Self::Stream(BufWriter::new(OpenOptions::new().write(true).open(path)?))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let draft = BufWriter::new(NamedTempFile::new_in(folder(&place))?);
        Ok(Self::Draft { draft, place, replace })
    }

    /// Puts it in its place, durably.
    pub(super) fn finish(self) -> io::Result<()> {
        let (draft, place, replace) = match self {
            Self::Draft { draft, place, replace } => (draft.into_inner()?, place, replace),
            Self::Stream(mut stream) => return stream.flush(),
        };
        draft.as_file().sync_all()?;
        if replace {
            draft.persist(&place)?;
        } else {
            // Somebody else's may have come meanwhile.
            draft.persist_noclobber(&place).map_err(|failed| match failed.error.kind() {
                io::ErrorKind::AlreadyExists => there_already(),
                _ => failed.error,
            })?;
        }
        File::open(folder(&place))?.sync_all()
    }
}

fn there_already() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "it is there already, and is only replaced with --force")
}

fn folder(place: &Path) -> &Path {
    place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Draft { draft, .. } => draft.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Draft { draft, .. } => draft.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_earlier_file_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("export.ndjson");
        fs::write(&path, "earlier").expect("written");
        let mut unfinished = WholeFile::create(&path, true).expect("begun");
        unfinished.write_all(b"half").expect("written");
        drop(unfinished);
        assert_eq!(fs::read(&path).expect("there"), b"earlier");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "no draft is left behind");

        let mut whole = WholeFile::create(&path, true).expect("begun");
        whole.write_all(b"later").expect("written");
        whole.finish().expect("finished");
        assert_eq!(fs::read(&path).expect("there"), b"later");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "payloads are for their owner");
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("export.ndjson");
        let mut whole = WholeFile::create(&path, false).expect("begun");
        whole.write_all(b"ours").expect("written");
        fs::write(&path, "theirs").expect("written");
        let refused = [whole.finish().err(), WholeFile::create(&path, false).err()];
        for refused in refused.map(|refused| refused.expect("refused").to_string()) {
            assert!(refused.contains("--force"), "{refused}");
        }
        assert_eq!(fs::read(&path).expect("there"), b"theirs");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "no draft is left behind");
    }

    #[test]
    fn what_a_link_points_at_is_replaced_and_a_device_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, link] = ["export", "link"].map(|name| folder.path().join(name));
        fs::write(&path, "earlier").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        let mut whole = WholeFile::create(&link, true).expect("begun");
        whole.write_all(b"later").expect("written");
        whole.finish().expect("finished");
        assert_eq!(fs::read(&path).expect("there"), b"later");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert!(matches!(WholeFile::create(Path::new("/dev/null"), false), Ok(WholeFile::Stream(_))));
    }
}
