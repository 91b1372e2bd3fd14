//! Room `ledger`: the seam between the intake log and the file system. Only what segments need, so that the seeded
//! simulation can stand in for the disk. Nothing here retries, caches or interprets.

use std::{
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The mode of a folder that payloads lie in.
const OWNER_ONLY: u32 = 0o700;
/// The mode of folders above it, which are not ours to close.
const AS_UMASK_SAYS: u32 = 0o777;

/// What an existing file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading, and giving back space at its end.
    Truncate,
}

/// One folder of files without sub-folders. Names are plain file names.
pub trait Files: Send + Sync + fmt::Debug {
    /// The names of its files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new file for reading and writing; fails when the name is taken.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Renames a file. Durable after [`Files::sync_folder`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Files::sync_folder`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every creation, renaming and removal so far durable.
    fn sync_folder(&self) -> io::Result<()>;

    /// How many bytes this process may still write to the disk.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One open file.
pub trait File: Send + Sync + fmt::Debug {
    /// Its size in bytes, with what was preallocated.
    fn size(&self) -> io::Result<u64>;

    /// Reads from `offset` until the buffer is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes in one call and returns how many bytes were taken; fewer than given is a short write.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reserves space up to `size` and makes the file so long; what was never written reads as zeros.
    fn preallocate(&self, size: u64) -> io::Result<()>;

    /// Cuts the file to `size`.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Makes what was written durable (`fdatasync`). After a failure nobody knows what is on the disk.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes what was written and the file's size durable (`fsync`).
    fn sync_all(&self) -> io::Result<()>;
}

/// A folder of the operating system's file system.
#[derive(Clone, Debug)]
pub struct OsFolder {
    path: PathBuf,
}

impl OsFolder {
    /// Opens the folder; makes it when it is not there.
    pub fn create(path: &Path) -> io::Result<Self> {
        create_folder(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Opens a folder that must be there, to read.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::read_dir(path)?;
        Ok(Self { path: path.to_owned() })
    }
}

/// Makes a folder and those above it, durably: a file is only as safe as the names on the way to it. The folder is its
/// owner's only, because payloads lie in it; one that is there already stays as it is.
pub fn create_folder(path: &Path) -> io::Result<()> {
    create_folder_for(OWNER_ONLY, path)
}

fn create_folder_for(mode: u32, path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder_for(AS_UMASK_SAYS, above)?;
    fs::DirBuilder::new().mode(mode).create(path)?;
    fs::File::open(above)?.sync_all()
}

impl Files for OsFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let options = fs::OpenOptions::new().read(true).write(true).create_new(true).clone();
        Ok(Arc::new(OsFile(options.open(self.path.join(name))?)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let options = fs::OpenOptions::new().read(true).write(access == Access::Truncate).clone();
        Ok(Arc::new(OsFile(options.open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

#[derive(Debug)]
struct OsFile(fs::File);

impl File for OsFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.write_at(bytes, offset) {
                // A signal came before the first byte: nothing was written, so this is still the one write.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    fn preallocate(&self, size: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, size)?)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_what_segments_need() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = OsFolder::create(&home.path().join("data/log")).expect("created");
        let file = folder.create("a").expect("created");
        file.preallocate(8_192).expect("space");
        assert_eq!(file.write_at(b"hello", 4_096).expect("written"), 5);
        file.sync_all().expect("synced");
        folder.rename("a", "b").expect("renamed");
        folder.sync_folder().expect("synced");
        assert_eq!(folder.list().expect("listed"), ["b"]);

        let read = folder.open("b", Access::Read).expect("opened");
        let mut buffer = [1; 8_192];
        assert_eq!(read.read_at(&mut buffer, 4_094).expect("read"), 4_098, "stops at the end");
        assert_eq!(&buffer[..8], b"\0\0hello\0");
        assert!(read.truncate(0).is_err(), "opened to read");

        folder.open("b", Access::Truncate).expect("opened").truncate(10).expect("cut");
        assert_eq!(read.size().expect("size"), 10);
        assert!(folder.free_bytes().expect("statvfs") > 0);
        folder.remove("b").expect("removed");
        assert!(folder.list().expect("listed").is_empty());
    }

    #[test]
    fn never_overwrites_a_file() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = OsFolder::create(home.path()).expect("opened");
        folder.create("a").expect("created");
        let error = folder.create("a").expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
