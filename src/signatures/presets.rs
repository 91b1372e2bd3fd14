//! STUB
/// A preset: one TOML file a provider, compiled in. Sections: `[signature]` (the grammar), `[identify]` (defaults, same keys as partner.toml),
/// `[[handshake]]`, `[reply]`, and top-level `name`, `title`, `docs`, `setup`.
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    pub text: &'static str,
}
/// Finds a preset by name; names may have a variant: `adyen`, `adyen-platform`.
pub fn find(name: &str) -> Option<&'static Preset> {
    let _ = name;
    todo!()
}
/// Every preset, by name.
pub fn all() -> &'static [Preset] {
    todo!()
}
