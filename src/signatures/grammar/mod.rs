//! Room `signatures`: the grammar of a `[signature]` table. TOML in, a checked [`Scheme`] out, or a mistake with its
//! place and what to do. What loads can be verified; what could never protect anything does not load.

mod checks;
mod places;
mod reading;

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use places::{items, no_timestamp_to_tolerate, placed, required, stamp, template, tolerance};
pub(super) use reading::read;

use super::{Algorithm, Encoding, KeyEncoding, Scheme, SecretForm, StampUnit, presets};
use crate::{config::HumanDuration, model::Assurance};

/// A `[signature]` table as it is written; [`Scheme::from_table`] checks it. It can stand inside a larger document,
/// whose spans it then carries. A preset alone:
///
/// ```toml
/// [signature]
/// preset    = "stripe"
/// tolerance = "10m"             # the one thing that may stand beside a preset
/// ```
///
/// or the grammar spelled out: `mappings/README.md`, "Spell a signature out", has every key and rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureTable {
    /// A preset's name, when the grammar is not spelled out.
    pub preset: Option<Spanned<String>>,
    algorithm: Option<Algorithm>,
    secret: Option<SecretTable>,
    value: Option<PlacedTable<Encoding>>,
    timestamp: Option<PlacedTable<StampUnit>>,
    tolerance: Option<Spanned<HumanDuration>>,
    items: Option<Spanned<String>>,
    message: Option<Spanned<String>>,
    free: Option<Spanned<String>>,
    assurance: Option<Spanned<Assurance>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretTable {
    prefix: Option<String>,
    #[serde(rename = "as")]
    form: KeyEncoding,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacedTable<F> {
    path: Option<Spanned<String>>,
    paths: Option<Spanned<Vec<Spanned<String>>>>,
    headers: Option<Spanned<String>>,
    repeats: Option<Spanned<bool>>,
    unwrap: Option<Spanned<String>>,
    group: Option<Spanned<char>>,
    separator: Option<char>,
    skip: Option<Spanned<usize>>,
    piece: Option<Spanned<usize>>,
    pair: Option<String>,
    assign: Option<Spanned<char>>,
    prefix: Option<String>,
    optional_prefix: Option<Spanned<String>>,
    #[serde(rename = "as")]
    form: F,
}

impl<F> PlacedTable<F> {
    /// Where it says the place.
    fn span(&self) -> Option<Range<usize>> {
        let path = self.path.as_ref().or(self.headers.as_ref()).map(Spanned::span);
        path.or(self.paths.as_ref().map(Spanned::span))
    }
}

/// Why a `[signature]` table is no scheme. `span` is bytes in the text that was read, where the mistake has a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemeError {
    /// The stable code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Where.
    pub span: Option<Range<usize>>,
}

impl SchemeError {
    fn new(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into(), span: None }
    }

    fn at<T>(mut self, place: &Spanned<T>) -> Self {
        self.span = Some(place.span());
        self
    }

    fn within(mut self, span: Option<Range<usize>>) -> Self {
        self.span = span;
        self
    }
}

impl Scheme {
    /// Reads the keys of a `[signature]` table, given as TOML text without the heading.
    pub fn parse(text: &str) -> Result<Self, SchemeError> {
        Self::from_table(&read(text)?)
    }

    /// Checks a table that was read as part of a larger document.
    pub fn from_table(table: &SignatureTable) -> Result<Self, SchemeError> {
        match &table.preset {
            Some(name) => from_preset(name, table),
            None => spelled_out(table),
        }
    }
}

fn from_preset(name: &Spanned<String>, table: &SignatureTable) -> Result<Scheme, SchemeError> {
    let preset = presets::find(name.get_ref()).ok_or_else(|| unknown_preset(name))?;
    if let Some(key) = first_spelled_out(table) {
        let message = format!("{key} cannot stand beside preset; a preset is a whole scheme");
        let help =
            format!("remove {key}, or remove preset and spell the scheme out; only tolerance may be changed");
        return Err(SchemeError::new("preset_overridden", message, help).at(name));
    }
    let mut scheme = preset.scheme().map_err(|error| error.at(name))?;
    match (&mut scheme.timestamp, &table.tolerance) {
        (Some(stamp), Some(_)) => stamp.tolerance = tolerance(table)?,
        (None, Some(given)) => return Err(no_timestamp_to_tolerate(given)),
        (_, None) => {}
    }
    Ok(scheme)
}

fn unknown_preset(name: &Spanned<String>) -> SchemeError {
    let names: Vec<&str> = presets::all().iter().map(|preset| preset.name).collect();
    let help = match reading::closest(name.get_ref(), &names) {
        Some(close) => format!("did you mean {close:?}?"),
        None => format!("the presets are {}; or spell the scheme out", names.join(", ")),
    };
    SchemeError::new("unknown_preset", format!("there is no preset {:?}", name.get_ref()), help).at(name)
}

fn first_spelled_out(table: &SignatureTable) -> Option<&'static str> {
    let given = [
        ("algorithm", table.algorithm.is_some()),
        ("secret", table.secret.is_some()),
        ("value", table.value.is_some()),
        ("timestamp", table.timestamp.is_some()),
        ("items", table.items.is_some()),
        ("message", table.message.is_some()),
        ("free", table.free.is_some()),
        ("assurance", table.assurance.is_some()),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
}

fn spelled_out(table: &SignatureTable) -> Result<Scheme, SchemeError> {
    let secret = required(table.secret.as_ref(), "secret", "{ as = \"text\" }")?;
    let value =
        required(table.value.as_ref(), "value", "{ path = \"header.acme-signature\", as = \"hex\" }")?;
    let message = required(table.message.as_ref(), "message", "\"{body}\"")?;
    let template = template(message, table.free.as_ref())?;
    let scheme = Scheme {
        algorithm: *required(table.algorithm.as_ref(), "algorithm", "\"hmac-sha256\"")?,
        secret: SecretForm { prefix: secret.prefix.clone(), encoding: secret.form },
        value: placed(value)?,
        timestamp: stamp(table)?,
        items: table.items.as_ref().map(items).transpose()?,
        covers: template.covers(),
        message: template,
        assurance: *required(table.assurance.as_ref(), "assurance", "\"full\"")?.get_ref(),
    };
    checks::check_places(&scheme, table)?;
    checks::check_message(&scheme, message)?;
    checks::check_timestamp(&scheme, message, table)?;
    checks::check_items(&scheme, value, message)?;
    checks::check_assurance(&scheme, table)?;
    Ok(scheme)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::FieldPath;

    const GOOD: &str = r#"
algorithm = "hmac-sha256"
secret    = { as = "base64", prefix = "whsec_" }
value     = { path = "header.acme-signature", pair = "v1", as = "hex" }
timestamp = { path = "header.acme-signature", pair = "t", as = "unix_s" }
tolerance = "10m"
message   = "{header.acme-id}.{timestamp}.{body}"
assurance = "full"
"#;

    #[test]
    fn the_example_for_platform_engineers_loads() {
        let guide = include_str!("../../../mappings/README.md");
        let section = guide.split("### Spell a signature out").nth(1).expect("the section");
        let example = section.split("```toml\n[signature]\n").nth(1).expect("the example");
        let scheme = Scheme::parse(example.split("```").next().expect("its end")).expect("a scheme");
        assert_eq!(scheme.covers(), ["timestamp", "body"]);
    }

    /// What is said about [`GOOD`] with one text replaced, and what it points at.
    fn mistake(good: &str, bad: &str) -> (&'static str, String) {
        assert!(GOOD.contains(good), "{good}");
        let text = GOOD.replace(good, bad);
        let error = Scheme::parse(&text).expect_err("must be refused");
        assert!(!error.help.is_empty());
        (error.code, error.span.map(|span| text[span].to_owned()).unwrap_or_default())
    }

    #[test]
    fn reads_a_scheme_spelled_out() {
        let scheme = Scheme::parse(GOOD).expect("a scheme");
        assert_eq!(scheme.covers(), ["header.acme-id", "timestamp", "body"]);
        assert_eq!(scheme.assurance(), Assurance::Full);
        assert_eq!(scheme.timestamp().map(|stamp| stamp.tolerance), Some(Duration::from_mins(10)));
        let place = &scheme.value().place;
        assert_eq!((place.separator, place.pair.as_ref().map(|pair| pair.assign)), (Some(','), Some('=')));
        assert!(!scheme.reads_body());
        let covers = |path| scheme.covers_path(&FieldPath::parse(path).expect("a path"));
        assert!(covers("header.Acme-Id") && covers("body.id") && !covers("header.acme-type"));
    }

    #[test]
    fn reads_a_preset_and_its_tolerance() {
        let stripe = Scheme::parse("preset = \"stripe\"\ntolerance = \"1m\"").expect("a scheme");
        assert_eq!(stripe.timestamp().map(|stamp| stamp.tolerance), Some(Duration::from_mins(1)));
        let adyen = Scheme::parse("preset = \"adyen\"").expect("a scheme");
        assert_eq!(adyen.signed_items(), Some("body.notificationItems[].NotificationRequestItem"));
        assert!(adyen.reads_body());
    }

    #[test]
    fn a_preset_stands_alone() {
        let refused = |text: &str| Scheme::parse(text).expect_err("must be refused");
        assert_eq!(refused("preset = \"strip\"").help, "did you mean \"stripe\"?");
        assert_eq!(refused("preset = \"paypal\"").code, "unknown_preset");
        assert_eq!(refused("preset = \"github\"\ntolerance = \"5m\"").code, "tolerance_without_timestamp");
        assert_eq!(refused("preset = \"stripe\"\nmessage = \"{body}\"").code, "preset_overridden");
        assert_eq!(refused("preset = \"stripe\"\ntolerance = \"0s\"").code, "tolerance_out_of_range");
    }

    #[test]
    fn misspelled_keys_and_values_are_pointed_at() {
        assert_eq!(mistake("tolerance", "tolerence"), ("unknown_key", "tolerence".to_owned()));
        assert_eq!(mistake("prefix", "prefex"), ("unknown_key", "prefex".to_owned()));
        assert_eq!(
            mistake("\"hmac-sha256\"", "\"hmac-sha1\""),
            ("invalid_value", "\"hmac-sha1\"".to_owned())
        );
        assert_eq!(mistake("\"unix_s\"", "\"unix\""), ("invalid_value", "\"unix\"".to_owned()));
        assert_eq!(mistake("\"10m\"", "\"soon\""), ("invalid_value", "\"soon\"".to_owned()));
        assert_eq!(mistake("\"10m\"", "\"10m").0, "signature_syntax");
        let unknown = Scheme::parse(&GOOD.replace("tolerance", "tolerence")).expect_err("must be refused");
        assert_eq!(unknown.help, "did you mean \"tolerance\"?");
    }

    #[test]
    fn what_is_missing_is_named() {
        for key in ["algorithm", "secret", "value", "message", "assurance"] {
            let without: String = GOOD
                .lines()
                .filter(|line| !line.starts_with(key))
                .fold(String::new(), |all, line| all + line + "\n");
            let error = Scheme::parse(&without).expect_err("must be refused");
            assert_eq!(error.code, "missing_key", "{key}");
            assert!(error.message.contains(key) && error.help.contains(key), "{error:?}");
        }
        assert_eq!(mistake("path = \"header.acme-signature\", pair = \"v1\", ", "").0, "missing_key");
        assert_eq!(Scheme::parse("").expect_err("must be refused").code, "missing_key");
    }

    #[test]
    fn combinations_that_protect_nothing_do_not_load() {
        let message = "\"{header.acme-id}.{timestamp}.{body}\"";
        let refused = |bad: &str| mistake(message, bad);
        assert_eq!(
            refused("\"{header.acme-id}.{timestamp}\""),
            ("nothing_signed", "\"{header.acme-id}.{timestamp}\"".to_owned())
        );
        assert_eq!(refused("\"\"").0, "nothing_signed");
        assert_eq!(refused("\"{body}\""), ("timestamp_unsigned", "\"header.acme-signature\"".to_owned()));
        assert_eq!(refused("\"{timestamp}.{body\"").0, "invalid_template");
        assert_eq!(refused("\"{timestamp}.{bdy}\"").0, "invalid_template");
        let side_by_side = "\"{header.acme-id}{header.acme-type}{timestamp}.{body}\"";
        assert_eq!(refused(side_by_side), ("movable_border", side_by_side.to_owned()));
        assert_eq!(refused("\"{timestamp}.{item.id}\"").0, "items_mismatch");
        assert_eq!(refused("\"{timestamp}.{body}\"\nitems = \"body.events[]\"").0, "items_mismatch");
        assert_eq!(refused("\"{timestamp}.{body.id}\""), ("assurance_mismatch", "\"full\"".to_owned()));
        assert_eq!(mistake("\"full\"", "\"partial\"").0, "assurance_mismatch");
        assert_eq!(mistake("\"full\"", "\"none\"").0, "assurance_mismatch");
        assert_eq!(mistake("\"10m\"", "\"25h\""), ("tolerance_out_of_range", "\"25h\"".to_owned()));
        assert_eq!(mistake("as = \"hex\"", "as = \"text\""), ("invalid_value", "\"text\"".to_owned()));
        assert_eq!(mistake("pair = \"v1\"", "assign = \"=\"").0, "assign_without_pair");
        assert_eq!(mistake("pair = \"v1\"", "pair = \"v1\", assign = \",\"").0, "ambiguous_pieces");
        assert_eq!(
            mistake("\"header.acme-signature\", pair = \"v1\"", "\"acme-signature\"").0,
            "invalid_path"
        );
        assert_eq!(
            mistake("\"header.acme-signature\", pair = \"v1\"", "\"body.signature\"").0,
            "signature_signs_itself"
        );
        let untimed =
            GOOD.lines().filter(|line| !line.starts_with("timestamp")).collect::<Vec<_>>().join("\n");
        assert_eq!(Scheme::parse(&untimed).expect_err("must be refused").code, "tolerance_without_timestamp");
        let nowhere = untimed.replace("tolerance = \"10m\"", "");
        assert_eq!(Scheme::parse(&nowhere).expect_err("must be refused").code, "timestamp_missing");
    }

    #[test]
    fn items_are_an_array_of_the_body() {
        let items = |text: &str| {
            let scheme = format!(
                "algorithm = \"hmac-sha256\"\nsecret = {{ as = \"hex\" }}\nvalue = {{ path = \"item.s\", as = \"base64\" }}
                 message = \"{{item.id}}\"\nassurance = \"partial\"\nitems = \"{text}\""
            );
            Scheme::parse(&scheme)
                .map(|scheme| scheme.signed_items().map(str::to_owned))
                .map_err(|error| error.code)
        };
        assert_eq!(items("body.events[].item"), Ok(Some("body.events[].item".to_owned())));
        assert_eq!(items("body[]"), Ok(Some("body[]".to_owned())));
        for bad in ["body.events", "header.x[]", "events[]", "body.a[].b[]", "body.a[]x", "[]"] {
            assert_eq!(items(bad), Err("invalid_path"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(at in 0..GOOD.len(), insert in "[\\x00-\\x7f]{0,6}") {
            let text = format!("{}{insert}{}", &GOOD[..at], &GOOD[at..]);
            if let Err(error) = Scheme::parse(&text) {
                prop_assert!(error.span.is_none_or(|span| text.get(span).is_some()));
            }
        }
    }
}
