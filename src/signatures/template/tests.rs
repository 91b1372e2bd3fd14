//! Room `signatures`: tests of the message template, as its callers see it.

use proptest::prelude::*;
use vrl::value::Value;

use super::*;
use crate::{
    model::{RawRequest, strict_json},
    signatures::{SignatureError, View},
};

pub(super) fn request(headers: &[(&str, &str)], body: &str) -> RawRequest {
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

pub(super) fn public_url() -> PublicUrl {
    PublicUrl::parse("http://u:p@h.ex/f").expect("an address")
}

pub(super) fn render(template: &str, request: &RawRequest, body: &Value) -> Result<String, SignatureError> {
    let view = View { request, body, item: body };
    let template = Template::parse(template, None).expect("a template").at(Some(public_url()));
    template
        .render(&view, Some("17".into()))
        .map(|message| String::from_utf8(message.to_vec()).expect("text"))
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

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[{}a-z.\"\\[\\]0-9 é|:;]{0,40}|[\\[]?[a:]?(\\{(body|url|form|method|header\\.a)\\}|[;.\\]]){0,6}") {
        let request = request(&[("a", "b")], "{}");
        if let Ok(template) = Template::parse(&text, None) {
            let view = View { request: &request, body: &Value::Null, item: &Value::Null };
            let _ = template.at(Some(public_url())).render(&view, Some("1".into()));
        }
    }
}
