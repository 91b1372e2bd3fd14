//! Room `partners`: `mappings/` read into memory, bounded. The one file of this room that touches the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::model::{Diagnostic, PublicUrl};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Most partner folders.
const MAX_PARTNERS: usize = 1_000;
/// Most files that count in one partner folder.
const MAX_PARTNER_FILES: usize = 500;
/// Most contract files.
const MAX_CONTRACTS: usize = 10_000;
/// Most bytes of all files together.
const MAX_TOTAL_BYTES: u64 = 64 * 1024 * 1024;
/// How deep folders of contracts may nest.
const MAX_CONTRACT_DEPTH: usize = 8;
/// How often reading begins anew when files vanish under it, as they do while a folder is swapped.
const MAX_ATTEMPTS: usize = 5;

/// The content hash of a folder: equal when every name and every text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

/// Why a mappings folder could not be read at all. What was read before goes on.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder is not there or not readable.
    #[error("the mappings folder {path} cannot be read")]
    Unreadable {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder vanished whenever it was about to be read.
    #[error("the mappings folder {0} kept changing while it was read")]
    Unsettled(PathBuf),
    /// A bound of the folder as a whole is exceeded.
    #[error("the mappings folder has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The most there may be.
        limit: u64,
    },
}

/// The files of one partner: `partner.toml`, its modules and `setup.md`, by path relative to the mappings folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartnerFolder {
    /// The folder's name.
    pub partner: String,
    /// Path → text.
    pub files: BTreeMap<String, String>,
    /// Files that are there and could not be read.
    pub problems: Vec<Diagnostic>,
}

impl PartnerFolder {
    /// The path of one of its files, as diagnostics write it.
    pub fn path_of(&self, file: &str) -> String {
        format!("partners/{}/{file}", self.partner)
    }
}

/// The mappings folder in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingsFolder {
    /// The partner folders by name.
    pub partners: BTreeMap<String, PartnerFolder>,
    /// The contracts: path relative to the mappings folder → text.
    pub contracts: BTreeMap<String, String>,
    /// Contract files that are there and could not be read.
    pub problems: Vec<Diagnostic>,
    /// The address under which partners reach the gateway: configured, and no part of the folder.
    pub public_url: Option<PublicUrl>,
}

impl MappingsFolder {
    /// The folder behind this public address.
    #[must_use]
    pub fn at(self, public_url: Option<PublicUrl>) -> Self {
        Self { public_url, ..self }
    }

    /// Reads the folder. Symbolic links are followed, names that begin with a dot are left out (so ConfigMap and git-sync
    /// folders are read once); when files vanish underneath, as in a swap, reading begins anew.
    pub fn read(root: &Path) -> Result<Self, FolderError> {
        for attempt in 1..=MAX_ATTEMPTS {
            match Reading::of(root, attempt == MAX_ATTEMPTS).and_then(Reading::finish) {
                Err(Interrupted::Vanished) => {}
                Err(Interrupted::Failed(error)) => return Err(error),
                Ok(folder) => return Ok(folder),
            }
        }
        Err(FolderError::Unsettled(root.to_owned()))
    }

    /// The folder that these files make: path relative to the mappings folder → text. Other paths are left out.
    pub fn from_files(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut folder = Self::default();
        for (path, text) in files {
            match path.split('/').collect::<Vec<_>>().as_slice() {
                ["contracts", .., _] => {
                    folder.contracts.insert(path, text);
                }
                ["partners", partner, _] => {
                    let partner = (*partner).to_owned();
                    folder.partner(&partner).files.insert(path, text);
                }
                _ => {}
            }
        }
        folder
    }

    /// The hash over every name and text; a file that cannot be read counts by what is wrong with it.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for folder in self.partners.values() {
            add_text(&mut hash, &folder.partner);
            add_files(&mut hash, &folder.files);
            add_problems(&mut hash, &folder.problems);
        }
        add_files(&mut hash, &self.contracts);
        add_problems(&mut hash, &self.problems);
        Fingerprint(hex::encode(hash.finalize()))
    }

    fn partner(&mut self, name: &str) -> &mut PartnerFolder {
        self.partners
            .entry(name.to_owned())
            .or_insert_with(|| PartnerFolder { partner: name.to_owned(), ..PartnerFolder::default() })
    }
}

/// The content hash of the folder at `path`, to be polled for changes.
pub fn fingerprint(path: &Path) -> Result<Fingerprint, FolderError> {
    MappingsFolder::read(path).map(|folder| folder.fingerprint())
}

/// SHA-256 (hex) over files in the order of their paths: each path and text after its length.
pub(super) fn content_hash(files: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    add_files(&mut hash, files);
    hex::encode(hash.finalize())
}

fn add_files(hash: &mut Sha256, files: &BTreeMap<String, String>) {
    for (path, text) in files {
        add_text(hash, path);
        add_text(hash, text);
    }
}

fn add_problems(hash: &mut Sha256, problems: &[Diagnostic]) {
    for problem in problems {
        add_text(hash, &problem.file);
        add_text(hash, problem.code);
    }
}

fn add_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// The names of the folders in `path`: of the fixtures, one for each partner that has some. Empty when there are none.
pub fn folder_names(path: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(path) else { return BTreeSet::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

enum Interrupted {
    Vanished,
    Failed(FolderError),
}

/// One attempt at reading, below the folder that `root` meant when it began.
struct Reading {
    root: PathBuf,
    folder: MappingsFolder,
    bytes_left: u64,
    /// On the last attempt a file that is not there is that file's problem: a dangling link stops nobody else.
    last: bool,
}

impl Reading {
    fn of(root: &Path, last: bool) -> Result<Self, Interrupted> {
        let unreadable = |source| FolderError::Unreadable { path: root.to_owned(), source };
        let root = fs::canonicalize(root).map_err(|error| Interrupted::Failed(unreadable(error)))?;
        Ok(Self { root, folder: MappingsFolder::default(), bytes_left: MAX_TOTAL_BYTES, last })
    }

    fn finish(mut self) -> Result<MappingsFolder, Interrupted> {
        if !self.root.is_dir() {
            return Err(Interrupted::Vanished);
        }
        for name in self.names("partners")? {
            if self.root.join("partners").join(&name).is_dir() {
                self.read_partner(&name)?;
            }
        }
        self.read_contracts("contracts", 0)?;
        Ok(self.folder)
    }

    fn read_partner(&mut self, name: &str) -> Result<(), Interrupted> {
        self.folder.partner(name);
        within("partner folders", self.folder.partners.len(), MAX_PARTNERS)?;
        for file in self.names(&format!("partners/{name}"))? {
            if !counts(&file) {
                continue;
            }
            let path = format!("partners/{name}/{file}");
            let read = self.read_file(&path)?;
            let partner = self.folder.partner(name);
            match read {
                Ok(text) => {
                    partner.files.insert(path, text);
                }
                Err(problem) => partner.problems.push(problem),
            }
            within("files in one partner folder", partner.files.len(), MAX_PARTNER_FILES)?;
        }
        Ok(())
    }

    fn read_contracts(&mut self, folder: &str, depth: usize) -> Result<(), Interrupted> {
        within("levels of contract folders", depth, MAX_CONTRACT_DEPTH)?;
        for name in self.names(folder)? {
            let path = format!("{folder}/{name}");
            if self.root.join(&path).is_dir() {
                self.read_contracts(&path, depth + 1)?;
            } else if has_extension(&name, "json") {
                match self.read_file(&path)? {
                    Ok(text) => {
                        self.folder.contracts.insert(path, text);
                    }
                    Err(problem) => self.folder.problems.push(problem),
                }
                within("contracts", self.folder.contracts.len(), MAX_CONTRACTS)?;
            }
        }
        Ok(())
    }

    /// The names in a folder, without hidden ones; none when the folder is not there.
    fn names(&self, folder: &str) -> Result<Vec<String>, Interrupted> {
        let path = self.root.join(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(interrupted(path, error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| interrupted(path.clone(), error))?;
            names.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
            within("names in one folder", names.len(), 2 * MAX_CONTRACTS)?;
        }
        names.sort();
        Ok(names)
    }

    /// One file's text, or what is wrong with it.
    fn read_file(&mut self, path: &str) -> Result<Result<String, Diagnostic>, Interrupted> {
        let bytes = match bounded(&self.root.join(path)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.last => {
                return Err(Interrupted::Vanished);
            }
            Err(error) => return Ok(Err(unreadable(path, &error))),
        };
        let length = bytes.len() as u64;
        if length > MAX_FILE_BYTES {
            return Ok(Err(too_large(path)));
        }
        let limit = FolderError::TooMany { what: "bytes of files", limit: MAX_TOTAL_BYTES };
        self.bytes_left = self.bytes_left.checked_sub(length).ok_or(Interrupted::Failed(limit))?;
        Ok(String::from_utf8(bytes).map_err(|_| not_text(path)))
    }
}

/// Whether a file of a partner folder is part of what a partner is.
fn counts(name: &str) -> bool {
    name == "partner.toml" || name == "setup.md" || is_module(name)
}

/// Whether a path or name is a mapping module's.
pub(super) fn is_module(name: &str) -> bool {
    has_extension(name, "vrl")
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

/// At most one byte more than a file may have. Only regular files: a pipe would never end.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn within(what: &'static str, count: usize, limit: usize) -> Result<(), Interrupted> {
    if count <= limit {
        return Ok(());
    }
    Err(Interrupted::Failed(FolderError::TooMany { what, limit: limit as u64 }))
}

fn interrupted(path: PathBuf, source: io::Error) -> Interrupted {
    match source.kind() {
        io::ErrorKind::NotFound => Interrupted::Vanished,
        _ => Interrupted::Failed(FolderError::Unreadable { path, source }),
    }
}

fn unreadable(path: &str, error: &io::Error) -> Diagnostic {
    let message = format!("the file cannot be read: {error}");
    Diagnostic::new("file_unreadable", path, message, "make it a regular file that this user may read")
}

fn too_large(path: &str) -> Diagnostic {
    let message = format!("the file is larger than {MAX_FILE_BYTES} bytes");
    Diagnostic::new("file_too_large", path, message, "split it, or move what is data out of it")
}

fn not_text(path: &str) -> Diagnostic {
    Diagnostic::new("file_not_utf8", path, "the file is not UTF-8", "save it as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, text).expect("written");
    }

    fn sample() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "partners/acme/partner.toml", b"name = 'Acme'");
        write(root.path(), "partners/acme/paid.vrl", b".");
        write(root.path(), "partners/acme/notes.txt", b"left out");
        write(root.path(), "partners/.git/partner.toml", b"left out");
        write(root.path(), "contracts/payments/Paid.v1.0.json", b"{}");
        root
    }

    #[test]
    fn reads_what_counts_and_nothing_else() {
        let root = sample();
        let folder = MappingsFolder::read(root.path()).expect("read");
        assert_eq!(folder.partners.keys().collect::<Vec<_>>(), ["acme"]);
        let files: Vec<_> = folder.partners["acme"].files.keys().collect();
        assert_eq!(files, ["partners/acme/paid.vrl", "partners/acme/partner.toml"]);
        assert_eq!(folder.contracts.keys().collect::<Vec<_>>(), ["contracts/payments/Paid.v1.0.json"]);
        let files = folder.partners["acme"].files.clone().into_iter().chain(folder.contracts.clone());
        assert_eq!(MappingsFolder::from_files(files), folder);
    }

    #[test]
    fn the_fingerprint_tells_names_and_contents_apart() {
        let root = sample();
        let before = fingerprint(root.path()).expect("read");
        assert_eq!(fingerprint(root.path()).expect("read"), before);
        write(root.path(), "partners/acme/notes.txt", b"still left out");
        assert_eq!(fingerprint(root.path()).expect("read"), before);
        write(root.path(), "partners/acme/paid.vrl", b".a");
        let changed = fingerprint(root.path()).expect("read");
        assert_ne!(changed, before);
        fs::rename(root.path().join("partners/acme/paid.vrl"), root.path().join("partners/acme/a.vrl"))
            .expect("renamed");
        assert_ne!(fingerprint(root.path()).expect("read"), changed);
        fs::create_dir(root.path().join("partners/empty")).expect("created");
        assert!(MappingsFolder::read(root.path()).expect("read").partners.contains_key("empty"));
    }

    #[cfg(unix)]
    #[test]
    fn follows_a_swapped_link() {
        let (old, new) = (sample(), sample());
        write(new.path(), "partners/acme/paid.vrl", b"new");
        let holder = tempfile::tempdir().expect("a folder");
        let link = holder.path().join("current");
        std::os::unix::fs::symlink(old.path(), &link).expect("linked");
        let before = fingerprint(&link).expect("read");
        fs::remove_file(&link).expect("removed");
        assert!(matches!(MappingsFolder::read(&link), Err(FolderError::Unreadable { .. })));
        std::os::unix::fs::symlink(new.path(), &link).expect("linked");
        assert_ne!(fingerprint(&link).expect("read"), before);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_that_partners_problem() {
        let root = sample();
        std::os::unix::fs::symlink("/nowhere/at/all.vrl", root.path().join("partners/acme/lost.vrl"))
            .expect("linked");
        let folder = MappingsFolder::read(root.path()).expect("read");
        assert_eq!(folder.partners["acme"].problems[0].code, "file_unreadable");
    }

    #[test]
    fn a_bad_file_is_that_partners_problem() {
        let root = sample();
        write(root.path(), "partners/big/partner.toml", &vec![b'#'; 300 * 1024]);
        write(root.path(), "partners/odd/partner.toml", b"name = '\xff'");
        fs::create_dir_all(root.path().join("partners/dir/partner.toml")).expect("created");
        let folder = MappingsFolder::read(root.path()).expect("read");
        assert_eq!(folder.partners["big"].problems[0].code, "file_too_large");
        assert_eq!(folder.partners["odd"].problems[0].code, "file_not_utf8");
        assert_eq!(folder.partners["dir"].problems[0].code, "file_unreadable");
        assert!(folder.partners["acme"].problems.is_empty());
    }
}
