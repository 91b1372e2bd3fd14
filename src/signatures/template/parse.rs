//! Room `signatures`: from a template's text to its parts. `{{` and `[[` stand for one brace and one bracket.

use super::{
    TemplateError,
    parts::{Filter, Part, Slot, Source},
};

/// The parts of a text.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '[']) {
        let (before, after) = rest.split_at(at);
        literal.push_str(before);
        let opening = &after[..1];
        rest = &after[1..];
        if let Some(escaped) = rest.strip_prefix(opening) {
            literal.push_str(opening);
            rest = escaped;
            continue;
        }
        let (inside, after) = closed(rest, opening)?;
        if opening == "{" && inside.starts_with("param.") {
            // The partner's file fills it in before a request is verified; a preset's own text still has it.
            literal.extend(["{", inside, "}"]);
        } else {
            flush(&mut literal, &mut parts);
            parts.extend(if opening == "{" { slots(inside)? } else { vec![optional(inside)?] });
        }
        rest = after;
    }
    literal.push_str(rest);
    flush(&mut literal, &mut parts);
    Ok(parts)
}

fn closed<'t>(rest: &'t str, opening: &str) -> Result<(&'t str, &'t str), TemplateError> {
    let closing = if opening == "{" { '}' } else { ']' };
    rest.split_once(closing).ok_or(TemplateError::Open)
}

fn flush(literal: &mut String, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

fn slots(inside: &str) -> Result<Vec<Part>, TemplateError> {
    if inside == "url" {
        return Ok([Source::Base, Source::Target].map(|source| Part::Slot(Slot::of(source))).to_vec());
    }
    Ok(vec![Part::Slot(slot(inside)?)])
}

fn slot(inside: &str) -> Result<Slot, TemplateError> {
    let mut names = inside.split('|');
    let source = Source::parse(names.next().unwrap_or_default())?;
    let filter = |name: &str| Filter::parse(name).ok_or_else(|| TemplateError::Filter(name.to_owned()));
    Ok(Slot { source, filters: names.map(filter).collect::<Result<_, _>>()? })
}

/// A segment that is left out when its one field is absent; text stands before the field and behind it.
fn optional(inside: &str) -> Result<Part, TemplateError> {
    let (before, rest) = inside.split_once('{').ok_or(TemplateError::Optional)?;
    let (field, after) = rest.split_once('}').ok_or(TemplateError::Open)?;
    let slot = slot(field)?;
    if before.is_empty() || after.is_empty() || after.contains('{') || slot.path().is_none() {
        return Err(TemplateError::Optional);
    }
    Ok(Part::Optional { before: before.to_owned(), slot, after: after.to_owned() })
}
