//! Room `signatures`: `Signature-Input` and `Signature` (RFC 9421 §4), which are structured fields (RFC 9651).

use std::collections::BTreeMap;

use sfv::{BareItem, Dictionary, FieldType, InnerList, Item, List, ListEntry, Parameters, Parser};

use super::super::SignatureError;
use crate::model::RawRequest;

/// Most components that one signature covers.
const MAX_COMPONENTS: usize = 64;
/// Most signatures of one request.
const MAX_SIGNATURES: usize = 16;

/// A signature and what it says it is over.
#[derive(Debug)]
pub(in super::super) struct Signed {
    pub(in super::super) input: Input,
    pub(in super::super) signature: Vec<u8>,
}

/// What a signature says it is over.
#[derive(Debug)]
pub(in super::super) struct Input {
    /// In their order, each once.
    pub(in super::super) components: Vec<Component>,
    /// The whole, in its one spelling.
    pub(in super::super) text: String,
    pub(in super::super) created: Option<i64>,
    pub(in super::super) expires: Option<i64>,
    pub(in super::super) key_id: Option<String>,
    pub(in super::super) algorithm: Option<String>,
    pub(in super::super) tag: Option<String>,
}

/// A component's identifier.
#[derive(Debug, PartialEq)]
pub(in super::super) struct Component {
    /// The header's name in lower case, or `@` and the name of what is derived.
    pub(in super::super) name: String,
    /// How it is to be read.
    pub(in super::super) reading: Reading,
    /// The identifier in its one spelling.
    pub(in super::super) text: String,
}

/// How a component is to be read.
#[derive(Debug, PartialEq)]
pub(in super::super) enum Reading {
    /// As it is.
    Plain,
    /// Every line of the header on its own, in base64 (`bs`).
    Lines,
    /// One member of a dictionary (`key`).
    Member(String),
    /// One parameter of the query (`@query-param`, `name`).
    Parameter(String),
}

const MALFORMED: SignatureError =
    SignatureError::Malformed("Signature-Input or Signature is no structured field");

/// The signatures of a request, by their labels. Labels that stand in one of the headers only are no signatures.
pub(in super::super) fn read(request: &RawRequest) -> Result<BTreeMap<String, Signed>, SignatureError> {
    let inputs = dictionary(request, "signature-input")?.ok_or(SignatureError::Missing)?;
    let signatures = dictionary(request, "signature")?.ok_or(SignatureError::Missing)?;
    if inputs.len() > MAX_SIGNATURES {
        return Err(SignatureError::Malformed("more than 16 signatures"));
    }
    let mut signed = BTreeMap::new();
    for (label, entry) in &inputs {
        let (ListEntry::InnerList(list), Some(ListEntry::Item(signature))) = (entry, signatures.get(label))
        else {
            return Err(SignatureError::Malformed("an input has no signature, or is no list of components"));
        };
        let signature = signature.bare_item.as_byte_sequence().ok_or(MALFORMED)?.to_vec();
        signed.insert(label.as_str().to_owned(), Signed { input: input(list)?, signature });
    }
    Ok(signed)
}

/// The lines of a header as one dictionary; `None` when it is absent.
pub(in super::super) fn dictionary(
    request: &RawRequest,
    name: &str,
) -> Result<Option<Dictionary>, SignatureError> {
    let lines: Vec<&[u8]> = request.headers.all(name).map(|value| value.0.as_ref()).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    Parser::new(&lines.join(&b", "[..])).parse::<Dictionary>().map(Some).map_err(|_| MALFORMED)
}

/// What a list of components with its parameters says that a signature is over.
pub(super) fn input(list: &InnerList) -> Result<Input, SignatureError> {
    if list.items.len() > MAX_COMPONENTS {
        return Err(SignatureError::Malformed("more than 64 components"));
    }
    let mut components: Vec<Component> = Vec::new();
    for item in &list.items {
        let component = component(item)?;
        if components.iter().any(|other| other.text == component.text) {
            return Err(SignatureError::Malformed("a component stands twice in a signature's input"));
        }
        components.push(component);
    }
    let whole: List = vec![ListEntry::InnerList(list.clone())];
    let parameters = &list.params;
    Ok(Input {
        components,
        text: whole.serialize().ok_or(MALFORMED)?,
        created: integer(parameters, "created")?,
        expires: integer(parameters, "expires")?,
        key_id: text(parameters, "keyid")?,
        algorithm: text(parameters, "alg")?,
        tag: text(parameters, "tag")?,
    })
}

fn component(item: &Item) -> Result<Component, SignatureError> {
    const UNKNOWN: SignatureError =
        SignatureError::Malformed("a component is read in a way that is not known, or not for requests");
    let name = item.bare_item.as_string().ok_or(MALFORMED)?.as_str().to_owned();
    let mut parameters = item.params.iter();
    let reading = match (parameters.next(), parameters.next()) {
        (None, _) => Reading::Plain,
        (Some((key, value)), None) => match (key.as_str(), value) {
            ("bs", BareItem::Boolean(true)) if !name.starts_with('@') => Reading::Lines,
            ("key", BareItem::String(member)) if !name.starts_with('@') => {
                Reading::Member(member.as_str().to_owned())
            }
            ("name", BareItem::String(wanted)) if name == "@query-param" => {
                Reading::Parameter(wanted.as_str().to_owned())
            }
            _ => return Err(UNKNOWN),
        },
        _ => return Err(UNKNOWN),
    };
    let lower = name.bytes().all(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~@".contains(&byte)
    });
    let sound = lower && !name.is_empty() && (reading != Reading::Plain || name != "@query-param");
    sound.then(|| Component { name, reading, text: item.serialize() }).ok_or(UNKNOWN)
}

/// The one spelling of a component's identifier, as people write it (`@method`, `@query-param;name="x"`); `None` when it is
/// none.
pub(in super::super) fn spelled(text: &str) -> Option<String> {
    let (name, rest) =
        text.split_once(';').map_or((text, String::new()), |(name, rest)| (name, format!(";{rest}")));
    let quoted = format!("\"{}\"{rest}", name.trim_matches('"'));
    let item = Parser::new(&quoted).parse::<Item>().ok()?;
    component(&item).ok().map(|component| component.text)
}

fn integer(parameters: &Parameters, name: &str) -> Result<Option<i64>, SignatureError> {
    match parameters.get(name) {
        None => Ok(None),
        Some(value) => value.as_integer().map(|number| Some(i64::from(number))).ok_or(MALFORMED),
    }
}

fn text(parameters: &Parameters, name: &str) -> Result<Option<String>, SignatureError> {
    match parameters.get(name) {
        None => Ok(None),
        Some(value) => value.as_string().map(|text| Some(text.as_str().to_owned())).ok_or(MALFORMED),
    }
}
