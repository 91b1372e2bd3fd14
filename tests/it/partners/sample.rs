//! A small folder that is sound, and ways to break it.

use std::collections::BTreeMap;

use douane::partners::MappingsFolder;

pub(super) const PARTNER: &str = "partners/acme/partner.toml";
pub(super) const MODULE: &str = "partners/acme/parcel_sent.vrl";
pub(super) const CONTRACT: &str = "contracts/logistics/ParcelSent.v1.0.json";

/// The files of a folder, by path.
#[derive(Clone, Debug)]
pub(super) struct Files(pub(super) BTreeMap<String, String>);

impl Files {
    /// One partner, one mapping, one contract; nothing to find fault with.
    pub(super) fn sound() -> Self {
        let files = [
            (PARTNER, include_str!("acme/partner.toml")),
            (MODULE, include_str!("acme/parcel_sent.vrl")),
            ("partners/acme/setup.md", "# Acme\n"),
            (CONTRACT, include_str!("acme/ParcelSent.v1.0.json")),
        ];
        Self(files.map(|(path, text)| (path.to_owned(), text.to_owned())).into())
    }

    /// Replaces a piece of a file, which must stand there once.
    pub(super) fn replace(mut self, path: &str, from: &str, to: &str) -> Self {
        let text = &self.0[path];
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {path}");
        let text = text.replace(from, to);
        self.0.insert(path.to_owned(), text);
        self
    }

    /// Adds lines at the end of a file, or makes the file.
    pub(super) fn add(mut self, path: &str, text: &str) -> Self {
        let file = self.0.entry(path.to_owned()).or_default();
        file.push_str(text);
        self
    }

    /// Takes a file away.
    pub(super) fn remove(mut self, path: &str) -> Self {
        self.0.remove(path).expect("a file to take away");
        self
    }

    /// The folder they make.
    pub(super) fn folder(&self) -> MappingsFolder {
        MappingsFolder::from_files(self.0.clone())
    }
}
