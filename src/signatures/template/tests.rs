//! Room `signatures`: tests of the message template, as its callers see it.

use proptest::prelude::*;
use vrl::value::Value;

use super::*;
use crate::{
    model::{RawRequest, Timestamp, strict_json},
    signatures::{SignatureError, StampUnit, View},
};

fn request(headers: &[(&str, &str)], body: &str) -> RawRequest {
    let mut request = RawRequest {
        method: "POST".to_owned(),
        target: "/in/acme?a=1&b=A%20b".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers: crate::model::Headers::default(),
        body: body.to_owned().into(),
        peer: None,
    };
    for (name, value) in headers {
        request.headers.push(name, value.to_string());
    }
    request
}

fn public_url() -> PublicUrl {
    PublicUrl::parse("http://u:p@h.ex/f").expect("an address")
}

fn render(template: &str, request: &RawRequest, body: &Value) -> Result<String, SignatureError> {
    let view = View { request, body, item: body };
    let template = Template::parse(template, None).expect("a template").at(Some(public_url()));
    template.render(&view, Some("17")).map(|message| String::from_utf8(message.to_vec()).expect("text"))
}

#[test]
fn puts_the_parts_together() {
    let request = request(&[("webhook-id", "m1")], r#"{"a": 1}"#);
    let body = strict_json::read(&request.body).expect("json");
    let message = |template| render(template, &request, &body);
    assert_eq!(message("{header.webhook-id}.{timestamp}.{body}"), Ok(r#"m1.17.{"a": 1}"#.to_owned()));
    assert_eq!(message("v0:{timestamp}:{body.a:integer}:{body.none}:"), Ok("v0:17:1::".to_owned()));
    assert_eq!(message("{{\"t\":{timestamp}}"), Ok("{\"t\":17}".to_owned()));
    assert_eq!(message("[[{timestamp}]"), Ok("[17]".to_owned()));
    assert_eq!(message("{header.none}.{body}"), Err(SignatureError::Missing));
}

#[test]
fn the_request_itself_is_part_of_a_message() {
    let request = request(&[], "{}");
    let message = |template| render(template, &request, &Value::Null);
    let url = "http://u:p@h.ex/f/in/acme?a=1&b=A%20b";
    assert_eq!(message("{method}{url}{body}{timestamp}"), Ok(format!("POST{url}{{}}17")));
    assert_eq!(message("{body}{url}"), Ok(format!("{{}}{url}")));
    assert_eq!(
        message("{method} {path}\n{target}\n{raw_query}\n{body}"),
        Ok("POST /f/in/acme\n/f/in/acme?a=1&b=A%20b\na=1&b=A%20b\n{}".to_owned())
    );
    let other = RawRequest { method: "BREW".to_owned(), ..request.clone() };
    assert!(render("{method}{body}", &other, &Value::Null).is_err());
    let absolute = RawRequest { target: "http://evil/in".to_owned(), ..request.clone() };
    assert!(render("{url}{body}", &absolute, &Value::Null).is_err());
    let view = View { request: &request, body: &Value::Null, item: &Value::Null };
    let nowhere = Template::parse("{url}{body}", None).expect("a template");
    assert_eq!(nowhere.render(&view, None).err(), Some(SignatureError::NoKey));
}

#[test]
fn a_secret_has_its_place_and_is_shown_to_nobody() {
    let request = request(&[], "{}");
    let view = View { request: &request, body: &Value::Null, item: &Value::Null };
    let template = Template::parse("a{secret}{body}", None).expect("a template");
    let message = template.render(&view, None).expect("a message");
    assert_eq!(message.to_vec(), b"a{}");
    assert_eq!(message.pieces_with(b"KEY").collect::<Vec<_>>().concat(), b"aKEY{}");
    assert_eq!(message.pieces().collect::<Vec<_>>().concat(), b"a{}");
}

#[test]
fn filters_change_what_is_signed() {
    let request = request(&[("x", "sign=S, env=main,t=1"), ("y", "Ab")], "{\"a\":\"ü\"}");
    let message = |template| render(template, &request, &Value::Null);
    assert_eq!(message("{body|base64}"), Ok("eyJhIjoiw7wifQ==".to_owned()));
    assert_eq!(message("{body|json}"), Ok(r#""{\"a\":\"ü\"}""#.to_owned()));
    assert_eq!(message("{body|sha256}").map(|text| text.len()), Ok(64));
    assert_eq!(message("{body|sha256_base64}").map(|text| text.len()), Ok(44));
    assert_eq!(message("{header.y|lower};{query.b|lower};"), Ok("ab;a b;".to_owned()));
    assert_eq!(message("{header.x|pair:env}"), Ok("main".to_owned()));
    assert_eq!(message("{header.x|pair:none}"), Err(SignatureError::Missing));
    let checked = self::request(&[], "123456789");
    assert_eq!(render("{body|crc32}", &checked, &Value::Null), Ok("3421780262".to_owned()));
}

#[test]
fn what_a_message_vouches_for_is_told_as_it_is() {
    let parsed = |text| Template::parse(text, None).expect("a template");
    assert!(parsed("{body|sha256}").has_body() && parsed("{body|json}").has_body());
    let checksum = parsed("{header.id}|{body|crc32}");
    assert!(!checksum.has_body() && checksum.has_checksum());
    assert_eq!(checksum.covers(), ["header.id", "body|crc32"]);
    assert_eq!(parsed("{method}{url}{body}").covers(), ["method", "url", "body"]);
    let pieces = parsed("{header.x|pair:env}.{query.id|lower}.{body}");
    assert_eq!(pieces.fields().count(), 0);
    assert_eq!(pieces.covers(), ["header.x|pair:env", "query.id|lower", "body"]);
}

#[test]
fn an_absent_segment_is_left_out() {
    let template = "[id:{query.id|lower};][request-id:{header.x-request-id};]ts:{timestamp};";
    let message = |target: &str, headers: &[(&str, &str)]| {
        let request = RawRequest { target: target.to_owned(), ..request(headers, "") };
        render(template, &request, &Value::Null)
    };
    assert_eq!(message("/x?id=A1", &[("x-request-id", "r")]), Ok("id:a1;request-id:r;ts:17;".to_owned()));
    assert_eq!(message("/x", &[("x-request-id", "r")]), Ok("request-id:r;ts:17;".to_owned()));
    assert_eq!(message("/x?id=A1", &[]), Ok("id:a1;ts:17;".to_owned()));
    assert!(message("/x?id=1%3Bts", &[]).is_err(), "it holds what would end it");
}

#[test]
fn a_form_is_signed_by_name() {
    let form = |body| request(&[("content-type", "application/x-www-form-urlencoded")], body);
    let message = |template, body| render(template, &form(body), &Value::Null);
    assert_eq!(message("{form}", "b=2&a=x+y&b=1&b=2&c="), Ok("ax yb1b2c".to_owned()));
    assert_eq!(message("{form:pairs without sign}", "b=2&a=x+y&sign=S&c="), Ok("a=x y&b=2".to_owned()));
    assert_eq!(message("{form:pairs}", "b=2&b=3"), Err(SignatureError::Duplicated));
    assert!(message("{form:pairs}", "a=1%26b=2").is_err(), "it would begin another pair");
    assert_eq!(message("{form:pairs}", "a=R+%26+D&b=2"), Ok("a=R & D&b=2".to_owned()));
    assert_eq!(render("{form}", &request(&[], "a=1"), &Value::Null), Err(SignatureError::Unreadable));
    let own = Template::parse("{form:pairs}", None).expect("a template").without(&["sign".to_owned()]);
    assert_eq!(own.to_string(), "{form:pairs without sign}");
}

#[test]
fn a_template_is_written_as_it_was_read() {
    for text in [
        "{header.webhook-id}.{timestamp}.{body}",
        "{method}{url}{body}",
        "[id:{query.id|lower};]ts:{timestamp};{{[[",
        "{header.x|pair:env}{body|json}",
        "{body.a:integer}.{form:pairs without a b}",
        "{method}\n{target}\n{signed_headers}\n{body}",
    ] {
        let Ok(template) = Template::parse(text, None) else { continue };
        assert_eq!(template.to_string(), text);
    }
}

#[test]
fn numbers_are_exact_integers_or_nothing() {
    let request = request(&[], r#"{"a":9223372036854775807,"b":1.0,"c":[1],"d":true}"#);
    let body = strict_json::read(&request.body).expect("json");
    assert_eq!(render("{body.a:integer}", &request, &body), Ok("9223372036854775807".to_owned()));
    assert_eq!(render("{body.d:boolean}", &request, &body), Ok("true".to_owned()));
    for other in ["{body.b:integer}", "{body.c}", "{body.a}", "{body.d}", "{body.a:boolean}"] {
        assert!(matches!(render(other, &request, &body), Err(SignatureError::Malformed(_))), "{other}");
    }
}

#[test]
fn borders_between_fields_cannot_be_moved() {
    let request = request(&[("webhook-id", "m.1")], "x");
    let refused = render("{header.webhook-id}.{timestamp}.{body}", &request, &Value::Null);
    assert!(matches!(refused, Err(SignatureError::Malformed(_))));
    let body = strict_json::read(br#"{"a":"1","b":"2:3","c":"4"}"#).expect("json");
    let view = View { request: &request, body: &body, item: &body };
    let with_free = |free: &str| {
        let free = FieldPath::parse(free).expect("a path");
        Template::parse("{body.a}:{body.b}:{body.c}", Some(&free)).expect("a template").render(&view, None)
    };
    assert!(with_free("body.b").is_ok());
    assert!(with_free("body.a").is_err());
    assert!(with_free("body.c").is_err());
}

#[test]
fn refuses_what_is_no_template() {
    let refused = |text| Template::parse(text, None).expect_err("must be refused");
    assert_eq!(refused("{body"), TemplateError::Open);
    assert_eq!(refused("[a{body.a}b"), TemplateError::Open);
    assert_eq!(refused("{body}{body}"), TemplateError::Twice("body"));
    assert!(matches!(refused("{id}"), TemplateError::Path(_)));
    assert!(matches!(refused("{}"), TemplateError::Path(_)));
    assert_eq!(refused("{body|md5}"), TemplateError::Filter("md5".to_owned()));
    for optional in ["[a]", "[{header.a};]", "[a{header.a}]", "[a{body};]", "[a{header.a}b{header.b}c]"] {
        assert_eq!(refused(optional), TemplateError::Optional, "{optional}");
    }
    let elsewhere = FieldPath::parse("body.z").expect("a path");
    assert_eq!(Template::parse("{body.a}", Some(&elsewhere)), Err(TemplateError::Free));
    let field = FieldPath::parse("header.a").expect("a path");
    assert_eq!(Template::parse("{body}.{header.a}", Some(&field)), Err(TemplateError::Free));
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
    let message = template.render(&view, stamp).ok()?;
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

    #[test]
    fn no_text_makes_it_panic(text in "[{}a-z.\"\\[\\]0-9 é|:;]{0,40}|[\\[]?[a:]?(\\{(body|url|form|method|header\\.a)\\}|[;.\\]]){0,6}") {
        let request = request(&[("a", "b")], "{}");
        if let Ok(template) = Template::parse(&text, None) {
            let view = View { request: &request, body: &Value::Null, item: &Value::Null };
            let _ = template.at(Some(public_url())).render(&view, Some("1"));
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
