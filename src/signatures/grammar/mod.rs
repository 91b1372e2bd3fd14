//! Room `signatures`: the grammar of a `[signature]` table. TOML in, a checked [`Scheme`] out, or a mistake with its
//! place and what to do. What loads can be verified; what could never protect anything does not load.

mod algorithms;
mod checks;
mod keyed;
mod places;
mod published;
mod reading;
mod selection;
mod special;
mod token;

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use algorithms::{default_value, form_of, shared_message};
use places::{
    bound, form_fields, items, no_timestamp_to_tolerate, placed, required, required_texts, stamp, template,
    tolerance,
};
pub(super) use reading::read;
use selection::WhenTable;

use super::{
    Algorithm, Encoding, KeyDigest, KeyEncoding, Normalize, Scheme, StampUnit, presets, published::KeySource,
};
use crate::{
    config::HumanDuration,
    model::{Assurance, BodyKind, BodyRules},
};

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
    algorithm: Option<Spanned<Algorithm>>,
    legacy: Option<Spanned<bool>>,
    secret: Option<Spanned<SecretTable>>,
    value: Option<PlacedTable<Encoding>>,
    timestamp: Option<PlacedTable<StampUnit>>,
    tolerance: Option<Spanned<HumanDuration>>,
    items: Option<Spanned<String>>,
    message: Option<Spanned<String>>,
    url: Option<Spanned<UrlSpelling>>,
    digest: Option<DigestTable>,
    body: Option<Spanned<BodyKind>>,
    free: Option<Spanned<String>>,
    assurance: Option<Spanned<Assurance>>,
    require: Option<Spanned<BTreeMap<String, String>>>,
    name: Option<Spanned<String>>,
    when: Option<Spanned<WhenTable>>,
    any_of: Option<Spanned<Vec<Spanned<SignatureTable>>>>,
    all_of: Option<Spanned<Vec<Spanned<SignatureTable>>>>,
    jwt: Option<Spanned<token::JwtTable>>,
    http_message: Option<Spanned<special::HttpMessageTable>>,
    sns: Option<Spanned<special::SnsTable>>,
    keys: Option<Spanned<published::KeysTable>>,
    public_url: Option<Spanned<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretTable {
    prefix: Option<String>,
    #[serde(rename = "as")]
    form: KeyEncoding,
    otherwise: Option<KeyEncoding>,
    digest: Option<KeyDigest>,
    normalize: Option<Normalize>,
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
    form: Option<F>,
}

impl<F> PlacedTable<F> {
    /// Where it says the place.
    fn span(&self) -> Option<Range<usize>> {
        let path = self.path.as_ref().or(self.headers.as_ref()).map(Spanned::span);
        path.or(self.paths.as_ref().map(Spanned::span))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestTable {
    path: Spanned<String>,
    of: Spanned<String>,
}

/// How the public address may be spelled that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum UrlSpelling {
    /// As it is configured and received.
    Exact,
    /// With and without its port, and with its query as other libraries write it.
    Candidates,
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
    pub(super) fn new(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
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

    /// At a place, where it has none yet.
    fn or_at<T>(self, place: &Spanned<T>) -> Self {
        if self.span.is_some() { self } else { self.at(place) }
    }
}

impl Scheme {
    /// Reads the keys of a `[signature]` table, given as TOML text without the heading.
    pub fn parse(text: &str) -> Result<Self, SchemeError> {
        Self::from_table(&read(text)?)
    }

    /// Checks a table that was read as part of a larger document.
    pub fn from_table(table: &SignatureTable) -> Result<Self, SchemeError> {
        if let Some(several) = table.any_of.as_ref().or(table.all_of.as_ref()) {
            let help = "name one of them";
            return Err(SchemeError::new("several_schemes", "one scheme is wanted here", help).at(several));
        }
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
        None => "`douane partner presets` lists them; or spell the scheme out".to_owned(),
    };
    SchemeError::new("unknown_preset", format!("there is no preset {:?}", name.get_ref()), help).at(name)
}

fn first_spelled_out(table: &SignatureTable) -> Option<&'static str> {
    let given = [
        ("algorithm", table.algorithm.is_some()),
        ("legacy", table.legacy.is_some()),
        ("secret", table.secret.is_some()),
        ("value", table.value.is_some()),
        ("timestamp", table.timestamp.is_some()),
        ("items", table.items.is_some()),
        ("message", table.message.is_some()),
        ("url", table.url.is_some()),
        ("digest", table.digest.is_some()),
        ("body", table.body.is_some()),
        ("free", table.free.is_some()),
        ("assurance", table.assurance.is_some()),
        ("require", table.require.is_some()),
        ("jwt", table.jwt.is_some()),
        ("http_message", table.http_message.is_some()),
        ("sns", table.sns.is_some()),
        ("keys", table.keys.is_some()),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
}

fn spelled_out(table: &SignatureTable) -> Result<Scheme, SchemeError> {
    if let Some(scheme) = special::scheme(table)? {
        return Ok(scheme);
    }
    let algorithm = required(table.algorithm.as_ref(), "algorithm", "\"hmac-sha256\"")?;
    algorithms::check_legacy(algorithm, table.legacy.as_ref())?;
    let secret = published::secret(table, algorithm)?;
    let default = default_value(*algorithm.get_ref());
    let value = table.value.as_ref().or(default.as_ref());
    let value = required(value, "value", "{ path = \"header.acme-signature\", as = \"hex\" }")?;
    let value = placed(value, form_of(algorithm, value)?)?;
    let shared = shared_message(algorithm, table)?;
    let message = match shared.as_ref() {
        Some(nothing) => nothing,
        None => required(table.message.as_ref(), "message", "\"{body}\"")?,
    };
    let template = template(message, table.free.as_ref())?.without(&form_fields(&value.place));
    let digest = table.digest.as_ref().map(bound).transpose()?;
    let keys = published::key_source(table, *algorithm.get_ref())?;
    let scheme = Scheme {
        algorithm: *algorithm.get_ref(),
        secret,
        value,
        timestamp: stamp(table)?,
        items: table.items.as_ref().map(items).transpose()?,
        body: table.body.as_ref().map(|body| *body.get_ref()).unwrap_or_default(),
        reads_body: false,
        require: table.require.as_ref().map_or(Ok(Vec::new()), required_texts)?,
        covers: template.covers().into_iter().chain(digest.as_ref().map(|_| "body".to_owned())).collect(),
        rules: BodyRules::default(),
        digest,
        url_candidates: table.url.as_ref().is_some_and(|url| *url.get_ref() == UrlSpelling::Candidates),
        message: template,
        assurance: *required(table.assurance.as_ref(), "assurance", "\"full\"")?.get_ref(),
        special: None,
        key_named: keys.as_ref().and_then(KeySource::named),
        keys,
    };
    let scheme = scheme.settled();
    checks::check_places(&scheme, table)?;
    checks::check_message(&scheme, message)?;
    checks::check_timestamp(&scheme, message, table)?;
    checks::check_request(&scheme, table, message)?;
    checks::check_items(&scheme, table, message)?;
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
        assert_eq!(refused("preset = \"nobody\"").code, "unknown_preset");
        assert_eq!(refused("preset = \"github\"\ntolerance = \"5m\"").code, "tolerance_without_timestamp");
        assert_eq!(refused("preset = \"stripe\"\nmessage = \"{body}\"").code, "preset_overridden");
        assert_eq!(refused("preset = \"stripe\"\ntolerance = \"0s\"").code, "tolerance_out_of_range");
    }

    #[test]
    fn misspelled_keys_and_values_are_pointed_at() {
        assert_eq!(mistake("tolerance", "tolerence"), ("unknown_key", "tolerence".to_owned()));
        assert_eq!(mistake("prefix", "prefex"), ("unknown_key", "prefex".to_owned()));
        assert_eq!(
            mistake("\"hmac-sha256\"", "\"hmac-sha2\""),
            ("invalid_value", "\"hmac-sha2\"".to_owned())
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
        assert_eq!(mistake("as = \"hex\"", "as = \"text\"").0, "value_mismatch");
        assert_eq!(mistake(", as = \"hex\"", ""), ("missing_key", "\"header.acme-signature\"".to_owned()));
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

    /// What is said about a scheme of these lines beside algorithm and secret.
    fn told(lines: &str) -> Result<Vec<String>, &'static str> {
        let text = format!("algorithm = \"hmac-sha256\"\nsecret = {{ as = \"text\" }}\n{lines}");
        let scheme = Scheme::parse(&text).inspect_err(|error| assert!(!error.help.is_empty()));
        scheme.map(|scheme| scheme.covers().to_vec()).map_err(|error| error.code)
    }

    #[test]
    fn a_place_says_one_thing() {
        let at = |place: &str| {
            told(&format!(
                "value = {{ {place}, as = \"hex\" }}\nmessage = \"{{body}}\"\nassurance = \"full\""
            ))
        };
        for good in [
            "paths = [\"header.a\", \"header.b\"]",
            "headers = \"x-docusign-signature-\"",
            "path = \"header.a\", repeats = true",
            "path = \"header.a\", separator = \",\", skip = 1",
            "path = \"header.a\", separator = \",\", piece = 1",
            "path = \"header.a\", optional_prefix = \"sha256=\"",
            "path = \"header.a\", unwrap = \"base64_json:signature\"",
            "path = \"query.sign\"",
        ] {
            assert_eq!(at(good), Ok(vec!["body".to_owned()]), "{good}");
        }
        for (bad, code) in [
            ("path = \"header.a\", headers = \"a-\"", "ambiguous_place"),
            ("paths = []", "missing_key"),
            ("separator = \",\"", "missing_key"),
            ("path = \"query.a\", repeats = true", "repeats_no_header"),
            ("path = \"header.a\", skip = 1", "position_without_separator"),
            ("path = \"header.a\", pair = \"v1\", piece = 1", "position_without_separator"),
            ("path = \"header.a\", separator = \",\", skip = 1, piece = 1", "ambiguous_pieces"),
            ("path = \"header.a\", separator = \",\", group = \",\"", "ambiguous_pieces"),
            ("path = \"header.a\", prefix = \"a\", optional_prefix = \"b\"", "ambiguous_prefix"),
            ("path = \"header.a\", unwrap = \"json:signature\"", "invalid_path"),
        ] {
            assert_eq!(at(bad), Err(code), "{bad}");
        }
    }

    #[test]
    fn a_message_claims_no_more_than_it_has() {
        let with = |message: &str, more: &str, assurance: &str| {
            told(&format!(
                "value = {{ path = \"header.a\", as = \"hex\" }}\nmessage = \"{message}\"\n{more}\nassurance = \"{assurance}\""
            ))
        };
        let form = "body = \"form\"\nurl = \"candidates\"";
        assert_eq!(with("{url}{form}", form, "partial"), Ok(vec!["url".to_owned(), "form".to_owned()]));
        assert_eq!(with("{url}{form}", form, "full"), Err("assurance_mismatch"));
        assert_eq!(with("{url}{form}", "", "partial"), Err("form_not_read"));
        assert_eq!(with("{header.id}|{body|crc32}", "", "full"), Err("assurance_mismatch"));
        assert!(with("{header.id}|{body|crc32}", "", "partial").is_ok());
        assert_eq!(with("{body}", "url = \"candidates\"", "full"), Err("url_unsigned"));
        let digest = "digest = { path = \"query.bodySHA256\", of = \"{body|sha256}\" }";
        assert_eq!(with("{url}", digest, "full"), Ok(vec!["url".to_owned(), "body".to_owned()]));
        assert_eq!(with("{url}", "", "full"), Err("nothing_signed"));
        assert_eq!(with("{header.b}", digest, "full"), Err("digest_unsigned"));
        let nothing = "digest = { path = \"query.x\", of = \"{header.b}\" }";
        assert_eq!(with("{url}", nothing, "full"), Err("digest_of_nothing"));
        assert_eq!(with("[a:{header.b};]{body}", "", "full"), Err("movable_border"));
    }

    #[test]
    fn groups_have_their_own_times() {
        let with = |time: &str| {
            told(&format!(
                "value = {{ path = \"header.a\", group = \" \", pair = \"v1\", as = \"hex\" }}\n\
                 timestamp = {{ {time}, as = \"unix_s\" }}\nmessage = \"{{timestamp}}.{{body}}\"\nassurance = \"full\""
            ))
        };
        assert!(with("path = \"header.a\", group = \" \", pair = \"t\"").is_ok());
        assert_eq!(with("path = \"header.b\""), Err("group_mismatch"));
        assert_eq!(with("path = \"header.b\", group = \" \", pair = \"t\""), Err("group_mismatch"));
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
