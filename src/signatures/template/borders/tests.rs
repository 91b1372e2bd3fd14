//! Room `signatures`: tests of a message's borders: whoever has a genuine message can read it in one way only.

use proptest::prelude::*;
use vrl::value::Value;

use super::*;
use crate::{
    model::{FieldPath, RawRequest, Timestamp, strict_json},
    signatures::{
        StampUnit, Template, View,
        template::tests::{public_url, render, request},
    },
};

#[test]
fn borders_between_fields_cannot_be_moved() {
    let request = request(&[("webhook-id", "m.1")], "x");
    let refused = render("{header.webhook-id}.{timestamp}.{body}", &request, &Value::Null);
    assert!(matches!(refused, Err(SignatureError::Malformed(_))));
    let body = strict_json::read(br#"{"a":"1","b":"2:3","c":"4"}"#).expect("json");
    let view = View { request: &request, body: &body, item: &body };
    let with_free = |free: &str| {
        let free = FieldPath::parse(free).expect("a path");
        let template = Template::parse("{body.a}:{body.b}:{body.c}", Some(&free)).expect("a template");
        template.render(&view, None).map(|message| message.to_vec())
    };
    assert!(with_free("body.b").is_ok());
    assert!(with_free("body.a").is_err());
    assert!(with_free("body.c").is_err());
}

#[test]
fn a_segment_that_could_be_taken_for_another_does_not_load() {
    for text in [
        "[a:{header.a};]{body}",
        "[a:{header.a};]a{header.b}",
        "[a:{header.a};][a:b{header.b};]x{body}",
        "{header.c}[;a:{header.a};]x{body}",
        "{body}x[a:{header.a};]",
        "{body}x[a:{header.a};]b:{header.b};",
        "{body}x{header.c};[a:{header.a};][b:{header.b};]",
        "[a:{header.a};][b:{header.b};]b{header.c}",
    ] {
        assert_eq!(Template::parse(text, None), Err(TemplateError::OptionalBorder), "{text}");
    }
}

#[test]
fn two_fields_side_by_side_do_not_load() {
    for side_by_side in [
        "{header.a}{header.b}",
        "{header.a}{header.b}.{body}",
        "{header.a}{header.b}{body}",
        "{header.a}{timestamp}{header.b}{body}",
        "v0:{body.a}{body.b}",
        "{body}{header.a}{timestamp}{header.b}",
        "{header.a}{method}{header.b}",
        "{url}{header.a}",
        "{header.a}{body|base64}",
        "{header.a}{body|crc32}",
        "{form}{header.a}",
        "{header.a}{form}",
        "{raw_query}{form}",
        "{header.a}{secret}{header.b}",
    ] {
        assert_eq!(Template::parse(side_by_side, None), Err(TemplateError::Border), "{side_by_side}");
    }
    for sound in ["{method}{url}{body}", "{url}{form}", "{header.a}{url}", "{secret}{method}{url}{body}"] {
        assert!(Template::parse(sound, None).is_ok(), "{sound}");
    }
}

#[test]
fn what_stands_beside_the_body_has_none_of_its_brackets() {
    let message = |id: &str, body: &str| {
        let request = request(&[("id", id)], body);
        let left = render("{header.id}{timestamp}{body}", &request, &Value::Null);
        let right = render("{body}{timestamp}{header.id}", &request, &Value::Null);
        (left.is_ok(), right.is_ok())
    };
    assert_eq!(message("m1", r#"{"a":1}"#), (true, true));
    assert_eq!(message("m1", "a=1"), (false, false));
    assert_eq!(message("m1", ""), (true, true), "nothing can begin or end there");
    assert_eq!(message("m{", ""), (false, true));
    let both = request(&[("a", "x"), ("b", "y")], "");
    assert!(render("{header.a}{body}{header.b}", &both, &Value::Null).is_err(), "the fields would touch");
    assert_eq!(message("m{", "[1]"), (false, true));
    assert_eq!(message("m]", "[1]"), (true, false));
    assert_eq!(message("m1", "[1]\n"), (true, false));
}

const NOW: i64 = 1_700_000_000;

/// What a request is made of, as far as templates look at it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shown {
    a: Option<String>,
    b: Option<String>,
    body: String,
    stamp: String,
    method: String,
    target: String,
}

impl Shown {
    fn request(&self) -> RawRequest {
        let headers = [("a", &self.a), ("b", &self.b)];
        let there: Vec<_> =
            headers.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
        RawRequest { method: self.method.clone(), target: self.target.clone(), ..request(&there, &self.body) }
    }
}

/// Every way to fill the parts of a template so that the message is this one. A digest stays the one of the genuine body:
/// nobody finds another with it.
fn fillings(parts: &[Part], message: &str, genuine: &Shown) -> Vec<Shown> {
    let Some((part, rest)) = parts.split_first() else {
        return if message.is_empty() { vec![Shown::default()] } else { Vec::new() };
    };
    let after_text = |text: &str, rest: &[Part]| {
        message.strip_prefix(text).map_or_else(Vec::new, |after| fillings(rest, after, genuine))
    };
    match part {
        Part::Literal(text) => after_text(text, rest),
        Part::Slot(Slot { source: Source::Base, .. }) => after_text(public_url().as_str(), rest),
        Part::Slot(Slot { source: Source::Body, filters }) if !filters.is_empty() => {
            use sha2::{Digest, Sha256};
            after_text(&hex::encode(Sha256::digest(&genuine.body)), rest)
        }
        Part::Slot(slot) => slot_fillings(slot, rest, message, genuine),
        Part::Optional { before, slot, after } => {
            let text = |text: &str| Part::Literal(text.to_owned());
            let there = [text(before), Part::Slot(slot.clone()), text(after)];
            let taken = [there.as_slice(), rest].concat();
            [fillings(&taken, message, genuine), fillings(rest, message, genuine)].concat()
        }
    }
}

fn slot_fillings(slot: &Slot, rest: &[Part], message: &str, genuine: &Shown) -> Vec<Shown> {
    let mut all = Vec::new();
    let plausible = |value: &str| match &slot.source {
        Source::Method => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_uppercase()),
        Source::Target | Source::PathAndQuery => value.starts_with('/'),
        _ => true,
    };
    let splits = (0..=message.len()).map(|at| message.split_at(at));
    for (value, after) in splits.filter(|(value, _)| plausible(value)) {
        for mut filling in fillings(rest, after, genuine) {
            let value = value.to_owned();
            match &slot.source {
                Source::Field(path, _) if path.name() == "a" => filling.a = Some(value),
                Source::Field(..) => filling.b = Some(value),
                Source::Body => filling.body = value,
                Source::Timestamp => filling.stamp = value,
                Source::Method => filling.method = value,
                Source::PathAndQuery => match value.strip_prefix(public_url().path()) {
                    Some(target) => filling.target = target.to_owned(),
                    None => continue,
                },
                _ => filling.target = value,
            }
            all.push(filling);
        }
    }
    all
}

/// The message of a request that a scheme with this template and unit would look at now.
fn accepted(template: &Template, unit: StampUnit, shown: &Shown) -> Option<String> {
    let stamp = template.has_timestamp().then_some(shown.stamp.as_str());
    if let Some(stamp) = stamp {
        unit.read(stamp).filter(|at| at.seconds().abs_diff(NOW) <= 86_400)?;
    }
    let request = shown.request();
    let view = View { request: &request, body: &Value::Null, item: &Value::Null };
    let message = template.render(&view, stamp.map(Cow::Borrowed)).ok()?;
    Some(String::from_utf8(message.to_vec()).expect("text"))
}

const MOVABLE: [&str; 28] = [
    "{timestamp}{body}",
    "{body}{timestamp}",
    "{timestamp}0{body}",
    "{header.a}{body}",
    "{body}{header.a}",
    "{header.a}{body}{header.b}",
    "{header.a}{timestamp}{body}",
    "{timestamp}{header.a}{body}",
    "{body}{header.a}{timestamp}",
    "{timestamp}{header.a}",
    "{header.a}.{timestamp}.{body}",
    "{header.a}aa{body}aa{header.b}",
    "{header.a}{timestamp}.{header.b}",
    "{header.a}.{header.b}",
    "{method}{url}{body}",
    "{method}{url}{body}{timestamp}",
    "{body}{url}",
    "{header.a}{url}",
    "{url}.{header.a}",
    "{method}{header.a}{timestamp}",
    "{header.a}{method}.{body}",
    "{method}a{target}a{body}",
    "{header.a}{body|sha256}",
    "{body|sha256}{header.a}.{header.b}",
    "[a.{header.a}.]b.{header.b}",
    "[a.{header.a}.][b.{header.b}.]0.{timestamp}.",
    "[a.{header.a}.][b.{header.b}.]",
    "{body}a{header.b}.[0.{header.a}.]b.{timestamp}",
];

proptest! {
    #[test]
    fn a_message_comes_apart_in_one_way_only(
        template in prop::sample::select(MOVABLE.as_slice()),
        unit in prop::sample::select(vec![StampUnit::UnixS, StampUnit::Rfc3339]),
        a in prop::option::weighted(0.9, "[a.{}0]{0,3}|1700000000[a.]|POST|[ab0]\\.[ab.]{0,3}"),
        b in prop::option::weighted(0.9, "[a.\\]]{0,3}|[ab0]\\.[ab.]{0,3}"),
        body in "[a.0]{0,4}|[{\\[][a.0\\[{]{0,3}[}\\]]|\\{1700000001\\}|\\[\"2023-11-14T22:13:20Z\"\\]",
        method in "GET|POST|PUT|POSTPUT", target in "/[a.\\[{]{0,3}|/http://u:p@h\\.ex/f/|a",
    ) {
        let template = Template::parse(template, None).expect("a template").at(Some(public_url()));
        let stamp = unit.write(Timestamp::from_seconds(NOW).expect("a time"));
        let shown = Shown { a, b, body, stamp, method, target };
        if let Some(message) = accepted(&template, unit, &shown) {
            let ways = fillings(&template.parts, &message, &shown);
            // What no part shows does not matter.
            let held = ways.into_iter().filter(|way| accepted(&template, unit, &filled(way, &shown, &template)).is_some());
            let held: Vec<_> = held.collect();
            prop_assert_eq!(held.len(), 1, "{:?} {:?}", message, held);
        }
    }
}

/// A way of reading with the genuine parts where the template shows none, and the genuine body where only its digest is.
fn filled(way: &Shown, genuine: &Shown, template: &Template) -> Shown {
    let has = |source: &Source| template.slots().any(|slot| slot.source == *source);
    let raw_body = template.slots().any(Slot::is_raw_body);
    Shown {
        body: if raw_body { way.body.clone() } else { genuine.body.clone() },
        method: if has(&Source::Method) { way.method.clone() } else { genuine.method.clone() },
        target: if has(&Source::Target) || has(&Source::PathAndQuery) {
            way.target.clone()
        } else {
            genuine.target.clone()
        },
        ..way.clone()
    }
}
