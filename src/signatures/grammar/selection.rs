//! Room `signatures`: several schemes in one table: `any_of` with what selects each, and `all_of`. What could never be
//! selected, or could be selected by accident, does not load.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use toml::Spanned;

use super::{SchemeError, SignatureTable, places::path, presets, reading::read, tolerance};
use crate::{
    model::{FieldPath, Root},
    signatures::{
        Scheme,
        schemes::{Branch, Condition, How, Schemes},
    },
};

/// Most schemes of one endpoint.
const MAX_SCHEMES: usize = 8;

/// A `when` as it is written; one of its keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenTable {
    present: Option<Spanned<String>>,
    absent: Option<Spanned<String>>,
    equals: Option<BTreeMap<Spanned<String>, String>>,
}

impl Schemes {
    /// Reads the keys of a `[signature]` table, given as TOML text without the heading: one scheme, or several.
    pub fn parse(text: &str) -> Result<Self, SchemeError> {
        Self::from_table(&read(text)?)
    }

    /// Checks a table that was read as part of a larger document.
    pub fn from_table(table: &SignatureTable) -> Result<Self, SchemeError> {
        let (how, elements) = match (&table.any_of, &table.all_of) {
            (None, None) => return one(table),
            (Some(any), None) => (How::AnyOf, any),
            (None, Some(all)) => (How::AllOf, all),
            (Some(_), Some(all)) => {
                let text = "any_of and all_of cannot stand beside one another";
                return Err(SchemeError::new("mixed_signature", text, "write one of them").at(all));
            }
        };
        if let Some(key) = super::first_spelled_out(table) {
            let text = format!("{key} cannot stand beside several schemes");
            let help = format!("write {key} in the scheme that it belongs to");
            return Err(SchemeError::new("mixed_signature", text, help).at(elements));
        }
        if !(2..=MAX_SCHEMES).contains(&elements.get_ref().len()) {
            let help = format!("write two to {MAX_SCHEMES}; one scheme needs neither any_of nor all_of");
            return Err(SchemeError::new("number_of_schemes", "these are too few or too many schemes", help)
                .at(elements));
        }
        let branches = elements.get_ref().iter().map(|element| branch(element, table));
        let branches = branches.collect::<Result<Vec<_>, _>>()?;
        check(how, &branches, elements)?;
        Ok(Self::several(how, branches))
    }
}

/// One scheme, or a preset that has several.
fn one(table: &SignatureTable) -> Result<Schemes, SchemeError> {
    if let Some(when) = &table.when {
        let help = "remove when, or write any_of = [{ when = {…}, … }, …]";
        return Err(SchemeError::new("when_alone", "one scheme is not selected by anything", help).at(when));
    }
    if let Some(name) = &table.name {
        let help = "remove name; schemes have names where there are several";
        return Err(SchemeError::new("when_alone", "one scheme needs no name", help).at(name));
    }
    let preset = table.preset.as_ref().and_then(|name| presets::find(name.get_ref()));
    let Some(mut several) = preset.and_then(|preset| preset.file().ok()).map(|file| file.signature) else {
        return Scheme::from_table(table).map(Schemes::from);
    };
    if several.any_of.is_none() && several.all_of.is_none() {
        return Scheme::from_table(table).map(Schemes::from);
    }
    several.tolerance.clone_from(&table.tolerance);
    Schemes::from_table(&several)
}

fn branch(element: &Spanned<SignatureTable>, outer: &SignatureTable) -> Result<Branch, SchemeError> {
    let table = element.get_ref();
    if table.any_of.is_some() || table.all_of.is_some() {
        let help = "write the schemes in one list";
        return Err(SchemeError::new("nested_schemes", "a scheme cannot be several again", help).at(element));
    }
    let name = table.name.as_ref().or(table.preset.as_ref());
    let name =
        name.filter(|name| !name.get_ref().is_empty() && !name.get_ref().contains('+')).ok_or_else(|| {
            let help = "add name = \"…\": secrets say with `for` which scheme they are for";
            SchemeError::new("missing_key", "this scheme has no name", help).at(element)
        })?;
    let mut scheme = Scheme::from_table(table).map_err(|error| error.or_at(element))?;
    if let (Some(stamp), Some(_), None) = (&mut scheme.timestamp, &outer.tolerance, &table.tolerance) {
        stamp.tolerance = tolerance(outer)?;
    }
    let when = table.when.as_ref().map(condition).transpose()?;
    Ok(Branch { name: name.get_ref().clone(), when, scheme: Arc::new(scheme) })
}

fn condition(table: &Spanned<WhenTable>) -> Result<Condition, SchemeError> {
    let when = table.get_ref();
    match (&when.present, &when.absent, &when.equals) {
        (Some(at), None, None) => Ok(Condition::Present(selecting(at)?)),
        (None, Some(at), None) => Ok(Condition::Absent(selecting(at)?)),
        (None, None, Some(pairs)) if !pairs.is_empty() => {
            let pair = |(at, text): (&Spanned<String>, &String)| Ok((selecting(at)?, text.clone()));
            pairs.iter().map(pair).collect::<Result<_, _>>().map(Condition::Equals)
        }
        _ => {
            let help = "write one of present = \"header.x\", absent = \"header.x\", equals = { \"header.x\" = \"v3\" }";
            Err(SchemeError::new("invalid_when", "when says nothing, or too much", help).at(table))
        }
    }
}

/// A scheme is selected before any body is read.
fn selecting(text: &Spanned<String>) -> Result<FieldPath, SchemeError> {
    let found = path(text)?;
    if matches!(found.root(), Root::Header | Root::Query) {
        return Ok(found);
    }
    let help = "write header.… or query.…; require is for fields of the body";
    Err(SchemeError::new("invalid_when", "no body is read to select a scheme", help).at(text))
}

fn check(
    how: How,
    branches: &[Branch],
    elements: &Spanned<Vec<Spanned<SignatureTable>>>,
) -> Result<(), SchemeError> {
    let each = || branches.iter().zip(elements.get_ref()).enumerate();
    for (at, (branch, element)) in each() {
        if branches[..at].iter().any(|other| other.name == branch.name) {
            let text = format!("two schemes are called {:?}", branch.name);
            return Err(SchemeError::new("duplicate_scheme", text, "give each a name of its own").at(element));
        }
        if branches[..at].iter().any(|other| other.when.is_some() && other.when == branch.when) {
            let text = "an earlier scheme has the same condition: this one is never selected";
            return Err(SchemeError::new(
                "never_selected",
                text,
                "remove it, or select it by something else",
            )
            .at(element));
        }
        let last = at + 1 == branches.len();
        match (how, &branch.when) {
            (How::AllOf, Some(_)) => {
                let text = "each of all_of must verify, whatever the request shows";
                return Err(SchemeError::new("when_alone", text, "remove when, or write any_of").at(element));
            }
            (How::AnyOf, None) if !last => {
                let text = "this scheme takes every request, and those behind it none";
                let help = "say with when = {…} which requests it is for; only the last needs none";
                return Err(SchemeError::new("never_selected", text, help).at(element));
            }
            _ => {}
        }
    }
    let mut items = branches.iter().filter_map(|branch| branch.scheme.signed_items());
    let first = items.next();
    if items.any(|other| Some(other) != first) {
        let help = "deliveries are split in one way: let the schemes sign the same items";
        let error = SchemeError::new("items_mismatch", "the schemes sign different items", help);
        return Err(error.at(elements));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::signatures::Schemes;

    const TOKEN: &str = "algorithm = \"token\", value = { path = \"header.t\" }, assurance = \"token\"";
    const WHEN: &str = "when = { present = \"header.webhook-id\" }";

    fn told(text: &str) -> &'static str {
        match Schemes::parse(text) {
            Ok(_) => "ok",
            Err(error) => {
                assert!(!error.help.is_empty() && error.span.is_some(), "{error:?}");
                error.code
            }
        }
    }

    fn any(first: &str, second: &str) -> &'static str {
        told(&format!("any_of = [{{ {first} }}, {{ {second} }}]"))
    }

    #[test]
    fn a_preset_may_be_one_of_several() {
        let standard = format!("preset = \"standard-webhooks\", {WHEN}");
        let token = format!("name = \"token\", {TOKEN}");
        assert_eq!(any(&standard, &token), "ok");
        assert_eq!(told(&format!("all_of = [{{ preset = \"adyen\" }}, {{ {token} }}]")), "ok");
        let text = format!("tolerance = \"9m\"\nany_of = [{{ {standard} }}, {{ {token} }}]");
        let schemes = Schemes::parse(&text).expect("schemes");
        assert_eq!(schemes.branches()[0].name, "standard-webhooks");
        let stamp = schemes.branches()[0].scheme.timestamp().expect("a timestamp");
        assert_eq!(stamp.tolerance.as_secs(), 540);
        let items = "items = \"body.other[]\"";
        let split = TOKEN.replace("header.t", "item.t");
        let mixed = format!("all_of = [{{ preset = \"adyen\" }}, {{ name = \"t\", {items}, {split} }}]");
        assert_eq!(told(&mixed), "items_mismatch");
    }

    #[test]
    fn what_is_never_selected_does_not_load() {
        let (first, last) = (format!("name = \"a\", {WHEN}, {TOKEN}"), format!("name = \"b\", {TOKEN}"));
        assert_eq!(any(&first, &last), "ok");
        assert_eq!(any(&last, &first), "never_selected");
        assert_eq!(any(&first, &first.replace("\"a\"", "\"b\"")), "never_selected");
        assert_eq!(any(&first, &last.replace("\"b\"", "\"a\"")), "duplicate_scheme");
        assert_eq!(any(&first, TOKEN), "missing_key");
        assert_eq!(any(&first, &last.replace("\"b\"", "\"a+b\"")), "missing_key");
        assert_eq!(told(&format!("all_of = [{{ {first} }}, {{ {last} }}]")), "when_alone");
        assert_eq!(told(&format!("any_of = [{{ {first} }}]")), "number_of_schemes");
        assert_eq!(
            told(&format!("any_of = [{{ {first} }}, {{ {last} }}]\nmessage = \"{{body}}\"")),
            "mixed_signature"
        );
        assert_eq!(told(&format!("any_of = [{{ {first} }}, {{ {last} }}]\nall_of = []")), "mixed_signature");
        assert_eq!(
            any(&first, &format!("name = \"c\", any_of = [{{ {first} }}, {{ {last} }}]")),
            "nested_schemes"
        );
        assert_eq!(told(&format!("{WHEN}\n{}", TOKEN.replace(", ", "\n"))), "when_alone");
    }

    #[test]
    fn a_condition_says_one_thing_and_reads_no_body() {
        let when = |when: &str| {
            any(&format!("name = \"a\", when = {{ {when} }}, {TOKEN}"), &format!("name = \"b\", {TOKEN}"))
        };
        assert_eq!(when("equals = { \"header.v\" = \"v3\" }"), "ok");
        assert_eq!(when("absent = \"query.v\""), "ok");
        assert_eq!(when(""), "invalid_when");
        assert_eq!(when("equals = {}"), "invalid_when");
        assert_eq!(when("present = \"header.a\", absent = \"header.b\""), "invalid_when");
        assert_eq!(when("present = \"body.a\""), "invalid_when");
        assert_eq!(when("present = \"a\""), "invalid_path");
        assert_eq!(when("exists = \"header.a\""), "unknown_key");
    }
}
