//! STUB
/// A text file of the mappings folder.
#[derive(Clone, Debug)]
pub struct SourceFile {
    pub path: String,
    pub text: String,
}
/// The files of one partner.
#[derive(Clone, Debug)]
pub struct PartnerFolder {
    pub partner: String,
    pub files: Vec<SourceFile>,
}
