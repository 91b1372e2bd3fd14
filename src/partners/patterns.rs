//! STUB
/// A pattern of external types: exact, or with `*` standing for any text (`customer.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePattern(pub String);
impl TypePattern {
    pub fn matches(&self, event_type: &str) -> bool {
        let _ = event_type;
        todo!()
    }
}
