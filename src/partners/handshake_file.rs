//! Room `partners`: one `[[handshake]]` of a preset or a partner file. Whatever would swallow deliveries, sign them for a
//! stranger or send a stranger's markup to a browser is refused here, at its place.

use std::{collections::BTreeMap, time::Duration};

use super::{
    handshake::{AnswerBody, AnswerValue, Condition, ConfirmRule, Handshake},
    reading::{Entry, Table},
    rules,
};
use crate::{
    model::{Diagnostic, FieldPath, Root},
    signatures::{Guard, GuardUse},
};

const KEYS: [&str; 19] = [
    "signed",
    "method",
    "when",
    "present",
    "only_key",
    "token",
    "one_of",
    "guard",
    "status",
    "content_type",
    "echo",
    "text",
    "json",
    "headers",
    "learn",
    "reveal",
    "confirm",
    "confirm_host",
    "confirm_within",
];
/// The methods a handshake can come with.
const METHODS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "POST"];
/// What a stranger's text may be sent back as: no browser makes a page of either.
const CONTENT_TYPES: [&str; 4] =
    ["text/plain", "text/plain; charset=utf-8", "application/json", "application/json; charset=utf-8"];
/// Headers that say what an answer is, where a client goes next or what it may keep.
const NOT_TO_ANSWER: [&str; 9] = [
    "content-",
    "access-control-",
    "set-cookie",
    "location",
    "refresh",
    "link",
    "transfer-encoding",
    "connection",
    "x-content-type-options",
];

/// The longest that a link is tried.
const LONGEST_LINK: Duration = Duration::from_hours(30 * 24);

/// What a handshake may refer to in its endpoint.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// The endpoint's parameters.
    pub(super) parameters: &'a BTreeMap<String, String>,
    /// The names that its secrets are for (`for = "…"`).
    pub(super) secrets: &'a [&'a str],
    /// Whether there is a signature whose secret could sign a challenge.
    pub(super) has_key: bool,
}

/// Reads a `[[handshake]]`; `None` when a mistake stands in the way.
pub(super) fn read(table: &Table<'_>, known: Known<'_>, problems: &mut Vec<Diagnostic>) -> Option<Handshake> {
    let before = problems.len();
    table.only(&KEYS, problems);
    let mut reader = Reader { table, known, problems };
    let method = reader.method();
    let body = reader.body();
    let headers = reader.headers();
    let mut handshake = Handshake {
        signed: table.truth("signed", reader.problems),
        method: method?,
        condition: reader.condition(),
        token: reader.token(),
        one_of: reader.one_of(),
        guard: Guard::standard(GuardUse::Sent),
        status: reader.status(),
        body: body?,
        headers,
        reveal: table.truth("reveal", reader.problems),
        learn: table.get("learn").and_then(|entry| path(&entry, reader.problems)),
        confirm: reader.confirm(),
    };
    reader.guard(&mut handshake);
    if reader.problems.len() == before {
        reader.check(&handshake);
    }
    (problems.len() == before).then_some(handshake)
}

/// A `[[handshake]]` being read.
pub(super) struct Reader<'r, 't> {
    pub(super) table: &'r Table<'t>,
    pub(super) known: Known<'r>,
    pub(super) problems: &'r mut Vec<Diagnostic>,
}

impl Reader<'_, '_> {
    fn method(&mut self) -> Option<String> {
        let method = self.table.required("method", self.problems)?;
        if METHODS.contains(&method) {
            return Some(method.to_owned());
        }
        let entry = self.table.get("method")?;
        let message = format!("no handshake comes with {method:?}");
        self.problems.push(entry.problem(
            "handshake_method",
            message,
            "write one of GET, HEAD, OPTIONS, POST",
        ));
        None
    }

    fn status(&mut self) -> u16 {
        let status = self.table.number("status", 200..=299, self.problems).unwrap_or(200);
        u16::try_from(status).unwrap_or(200)
    }

    fn condition(&mut self) -> Condition {
        let when = self.table.table("when", self.problems);
        let when = when.iter().flat_map(Table::iter);
        let when = when.filter_map(|entry| text_at(entry, self.problems)).collect();
        let present = self.table.get("present").map(|entry| paths(&entry, self.problems)).unwrap_or_default();
        let only_key = self.table.required_if_there("only_key", self.problems);
        Condition { when, present, only_key }
    }

    /// `token = { path = "query.hub.verify_token", secret = "verify" }`
    fn token(&mut self) -> Option<(FieldPath, String)> {
        let token = self.table.table("token", self.problems)?;
        token.only(&["path", "secret"], self.problems);
        let at = required_path(&token, "path", self.problems);
        let name = token.required("secret", self.problems)?;
        self.secret(&token, name);
        Some((at?, name.to_owned()))
    }

    pub(super) fn secret(&mut self, table: &Table<'_>, name: &str) {
        if !self.known.secrets.contains(&name) {
            let message = format!("the endpoint has no secret for {name:?}, which a handshake needs");
            let help = format!("add {{ id = \"…\", from = \"env:NAME\", for = {name:?} }} to its secrets");
            self.problems.push(table.problem("handshake_secret", message, help));
        }
    }

    /// `one_of = { path = "query.hub.topic", parameter = "topics" }`; the parameter holds them with spaces between.
    fn one_of(&mut self) -> Option<(FieldPath, Vec<String>)> {
        let one_of = self.table.table("one_of", self.problems)?;
        one_of.only(&["path", "parameter"], self.problems);
        let at = required_path(&one_of, "path", self.problems);
        one_of.required("parameter", self.problems)?;
        let texts = self.parameter_of(&one_of.get("parameter")?)?;
        Some((at?, texts.split_whitespace().map(str::to_owned).collect()))
    }

    fn parameter_of(&mut self, entry: &Entry<'_>) -> Option<String> {
        let name = entry.text(self.problems)?;
        self.parameter(entry, name)
    }

    pub(super) fn parameter(&mut self, entry: &Entry<'_>, name: &str) -> Option<String> {
        let found = self.known.parameters.get(name).filter(|text| !text.trim().is_empty()).cloned();
        if found.is_none() {
            let message =
                format!("the endpoint does not give the parameter {name:?}, which a handshake needs");
            let help = format!("add `parameters = {{ {name} = \"…\" }}` to the [[endpoint]]");
            self.problems.push(entry.problem("missing_parameter", message, help));
        }
        found
    }

    fn body(&mut self) -> Option<AnswerBody> {
        let given: Vec<_> = ["echo", "text", "json"].iter().filter_map(|key| self.table.get(key)).collect();
        let ([] | [_]) = given.as_slice() else {
            let help = "keep one of `echo`, `text` and `json`";
            self.problems.push(self.table.problem("handshake_body", "a handshake has one body", help));
            return None;
        };
        let Some(entry) = given.first() else {
            return Some(AnswerBody::Text(self.content_type()?, Vec::new()));
        };
        match entry.key {
            "json" => {
                if let Some(content_type) = self.table.get("content_type") {
                    let message = "`json` is always application/json";
                    self.problems.push(content_type.problem(
                        "handshake_body",
                        message,
                        "remove `content_type`",
                    ));
                }
                let table = entry.table(self.problems)?;
                let pairs = table.iter().filter_map(|entry| Some((entry.key.to_owned(), self.value(entry)?)));
                Some(AnswerBody::Json(pairs.collect()))
            }
            "echo" => {
                let echo = path(entry, self.problems)?;
                Some(AnswerBody::Text(self.content_type()?, vec![AnswerValue::Echo(echo)]))
            }
            _ if entry.value.is_table() => {
                let value = self.value(entry)?;
                Some(AnswerBody::Text(self.content_type()?, vec![value]))
            }
            _ => {
                let values = self.template(entry)?;
                Some(AnswerBody::Text(self.content_type()?, values))
            }
        }
    }

    fn content_type(&mut self) -> Option<String> {
        let Some(entry) = self.table.get("content_type") else { return Some("text/plain".to_owned()) };
        let text = entry.text(self.problems)?;
        if CONTENT_TYPES.contains(&text) {
            return Some(text.to_owned());
        }
        let message =
            format!("a stranger's text is not sent back as {text:?}: a browser could make a page of it");
        let help = "write \"text/plain\" or \"application/json\"";
        self.problems.push(entry.problem("handshake_content_type", message, help));
        None
    }

    /// `headers = { "X-Hook-Secret" = { echo = "header.x-hook-secret" } }`
    fn headers(&mut self) -> Vec<(String, AnswerValue)> {
        let Some(table) = self.table.table("headers", self.problems) else { return Vec::new() };
        table.iter().filter_map(|entry| Some((self.header_name(entry)?, self.value(entry)?))).collect()
    }

    fn header_name(&mut self, entry: &Entry<'_>) -> Option<String> {
        let name = entry.key.to_ascii_lowercase();
        let sound = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let forbidden = NOT_TO_ANSWER.iter().any(|taken| name.starts_with(taken));
        if sound && !forbidden {
            return Some(name);
        }
        let message = format!("{:?} is no header that a handshake answers", entry.key);
        let help = "write a name as \"X-Hook-Secret\"; what an answer is and where it leads is not a stranger's to say";
        self.problems.push(entry.problem("handshake_header", message, help));
        None
    }

    /// `confirm = "body.SubscribeURL"` and `confirm_host = "body.SigningCertURL"`
    fn confirm(&mut self) -> Option<ConfirmRule> {
        let path = path(&self.table.get("confirm")?, self.problems);
        let Some(host) = self.table.get("confirm_host") else {
            let message = "nothing says which host the link may have";
            let help = "add `confirm_host = \"body.SigningCertURL\"`: an address that the signature was verified with";
            self.problems.push(self.table.problem("handshake_confirm", message, help));
            return None;
        };
        let host_of = not_of_an_item(&host, rules::path(&host, self.problems)?, self.problems);
        Some(ConfirmRule { path: path?, host_of: host_of?, valid: self.confirm_within()? })
    }

    /// `confirm_within = "3d"`: a link is tried again and again, so its time must be said.
    fn confirm_within(&mut self) -> Option<Duration> {
        let Some(entry) = self.table.get("confirm_within") else {
            let message = "nothing says for how long the link is good";
            let help =
                "add `confirm_within = \"3d\"`: a link that cannot be visited is tried again for so long";
            self.problems.push(self.table.problem("handshake_confirm", message, help));
            return None;
        };
        let within = entry.duration(self.problems)?;
        if within > LONGEST_LINK {
            let message = "no link is tried for longer than 30 days";
            self.problems.push(entry.problem(
                "out_of_bounds",
                message,
                "write it as the partner documents it",
            ));
            return None;
        }
        Some(within)
    }

    fn guard(&mut self, handshake: &mut Handshake) {
        let signs =
            handshake.values().any(|value| !matches!(value, AnswerValue::Fixed(_) | AnswerValue::Echo(_)));
        let of = if signs { GuardUse::Signed } else { GuardUse::Sent };
        handshake.guard = Guard::standard(of);
        let Some(entry) = self.table.get("guard") else { return };
        let Some(text) = entry.text(self.problems) else { return };
        match Guard::parse(text, of) {
            Ok(guard) => handshake.guard = guard,
            Err(error) => {
                let help = "write \"^[a-f0-9]{20,32}$\": a guard narrows what is safe, it never widens it";
                self.problems.push(entry.problem("handshake_guard", error.to_string(), help));
            }
        }
    }

    /// What each key says well and together makes no sense.
    fn check(&mut self, handshake: &Handshake) {
        let mut wrong = |code, message: &str, help: &str| {
            self.problems.push(self.table.problem(code, message, help));
        };
        if handshake.method == "POST" && handshake.condition.is_empty() {
            let help = "add `when`, `present` or `only_key`: what tells it from a delivery";
            wrong(
                "handshake_swallows",
                "every delivery would be this handshake, and none would be kept",
                help,
            );
        }
        let has_body = match &handshake.body {
            AnswerBody::Text(_, values) => !values.is_empty(),
            AnswerBody::Json(_) => true,
        };
        if has_body && (handshake.method == "HEAD" || handshake.status == 204) {
            let help = "remove `echo`, `text` or `json`, or change the method or the status";
            wrong("handshake_body", "an answer to HEAD, or one of status 204, has no body", help);
        }
        if handshake.confirm.is_some() && !handshake.signed {
            let help = "add `signed = true`: anyone could have us visit a link of theirs";
            wrong("handshake_confirm", "a link is visited although nobody signed for it", help);
        }
        if handshake.reveal && handshake.learn.is_none() {
            let help = "remove `reveal`, or say what is learnt with `learn`";
            wrong("handshake_reveal", "a secret is shown that nobody teaches", help);
        }
        if handshake.learn.is_some() && !self.known.has_key {
            let help = "remove `learn`, or say how requests are verified with [signature]";
            wrong("handshake_key", "a secret is taught to an endpoint that verifies nothing", help);
        }
    }
}

fn text_at(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<(FieldPath, String)> {
    let path = path_of(entry, entry.key, problems)?;
    Some((path, entry.text(problems)?.to_owned()))
}

pub(super) fn paths(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Vec<FieldPath> {
    entry.elements(problems).iter().filter_map(|element| path(element, problems)).collect()
}

fn required_path(table: &Table<'_>, key: &str, problems: &mut Vec<Diagnostic>) -> Option<FieldPath> {
    table.required(key, problems)?;
    path(&table.get(key)?, problems)
}

pub(super) fn path(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<FieldPath> {
    rules::path(entry, problems).and_then(|path| not_of_an_item(entry, path, problems))
}

pub(super) fn path_of(entry: &Entry<'_>, text: &str, problems: &mut Vec<Diagnostic>) -> Option<FieldPath> {
    match FieldPath::parse(text) {
        Ok(path) => not_of_an_item(entry, path, problems),
        Err(error) => {
            let help = "start with body, header or query, as \"query.hub.challenge\"";
            problems.push(entry.problem("bad_path", error.to_string(), help));
            None
        }
    }
}

fn not_of_an_item(entry: &Entry<'_>, path: FieldPath, problems: &mut Vec<Diagnostic>) -> Option<FieldPath> {
    if path.root() != Root::Item {
        return Some(path);
    }
    problems.push(entry.problem("bad_path", "a handshake has no items", "start with body, header or query"));
    None
}

/// The handshakes of a text, at an endpoint that gives some parameters and has a secret for `verify`; or the codes of what
/// is wrong with them.
#[cfg(test)]
pub(crate) fn handshakes_of(text: &str) -> Result<Vec<Handshake>, Vec<&'static str>> {
    use super::reading::{Source, parse};

    let source = Source { file: "presets/acme.toml", text };
    let (toml, mut problems) = parse(source);
    let parameters = [
        ("topics", "https://blog.example/feed https://blog.example/other"),
        ("public_key", "pub_123"),
        ("url", "https://hooks.example/in/acme"),
    ];
    let parameters = parameters.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let known = Known { parameters: &parameters, secrets: &["verify"], has_key: true };
    let tables = Table::of(source, 0, toml.get_ref()).tables("handshake", &mut problems);
    let read: Vec<_> = tables.iter().filter_map(|table| read(table, known, &mut problems)).collect();
    if problems.is_empty() { Ok(read) } else { Err(problems.iter().map(|problem| problem.code).collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_checked_at_its_place() {
        for (text, code) in [
            (
                "method = 'GET'
colour = 1",
                "unknown_key",
            ),
            ("status = 200", "missing_key"),
            ("method = 'DELETE'", "handshake_method"),
            ("method = 'get'", "handshake_method"),
            ("method = 'GET'\nstatus = 302", "out_of_bounds"),
            ("method = 'POST'", "handshake_swallows"),
            ("method = 'POST'\nwhen = {}", "handshake_swallows"),
            ("method = 'POST'\nonly_key = ''", "empty"),
            ("method = 'HEAD'\necho = 'query.c'", "handshake_body"),
            ("method = 'GET'\nstatus = 204\ntext = 'x'", "handshake_body"),
            ("method = 'GET'\necho = 'query.c'\ntext = 'x'", "handshake_body"),
            ("method = 'GET'\ncontent_type = 'text/plain'\njson = { a = 1 }", "handshake_body"),
            ("method = 'GET'\njson = { a = [1] }", "handshake_value"),
            ("method = 'GET'\njson = { a = { echo = 'query.c', hmac = 'sha256' } }", "handshake_value"),
            ("method = 'GET'\njson = { a = { hmac = 'md5', of = ['query.c'] } }", "handshake_value"),
            ("method = 'GET'\njson = { a = { hmac = 'sha256' } }", "missing_key"),
            ("method = 'GET'\njson = { a = { sha256 = [] } }", "handshake_value"),
            ("method = 'GET'\njson = { a = { sha256 = ['secret.other'] } }", "handshake_secret"),
            (
                "method = 'GET'\njson = { a = { hmac = 'sha256', of = ['query.c'], as = 'raw' } }",
                "handshake_value",
            ),
            (
                "method = 'GET'\ntext = { hmac = 'sha256', of = ['query.c'], prefix = '{query.c}|' }",
                "handshake_value",
            ),
            ("method = 'GET'\ntext = '{param.nothing}'", "missing_parameter"),
            ("method = 'GET'\ntext = '{query.c'", "handshake_value"),
            ("method = 'GET'\ntoken = { path = 'query.t', secret = 'other' }", "handshake_secret"),
            ("method = 'GET'\ntoken = { path = 'query.t' }", "missing_key"),
            ("method = 'GET'\none_of = { path = 'query.t', parameter = 'nothing' }", "missing_parameter"),
            ("method = 'GET'\nsigned = true\nconfirm = 'body.u'", "handshake_confirm"),
            (
                "method = 'GET'\nsigned = true\nconfirm = 'body.u'\nconfirm_host = 'body.c'",
                "handshake_confirm",
            ),
            (
                "method = 'GET'\nsigned = true\nconfirm = 'body.u'\nconfirm_host = 'body.c'\nconfirm_within = '31d'",
                "out_of_bounds",
            ),
            (
                "method = 'GET'\nconfirm = 'body.u'\nconfirm_host = 'body.c'\nconfirm_within = '3d'",
                "handshake_confirm",
            ),
            ("method = 'GET'\nreveal = true", "handshake_reveal"),
            ("method = 'GET'\necho = 'item.c'", "bad_path"),
            ("method = 'GET'\nwhen = { 'challenge' = 'x' }", "bad_path"),
            ("method = 'GET'\nguard = 'a-z'", "handshake_guard"),
        ] {
            let found = handshakes_of(&format!("[[handshake]]\n{text}"));
            assert_eq!(found.expect_err(text), [code], "{text}");
        }
    }

    #[test]
    fn a_person_reads_what_it_is() {
        let text = "[[handshake]]\nmethod = 'GET'\nwhen = { 'query.mode' = 'subscribe' }\n\
                    token = { path = 'query.t', secret = 'verify' }\ntext = '{param.public_key}|{query.c}'";
        let told = handshakes_of(text).expect("a handshake")[0].to_string();
        let due = "unsigned GET where query.mode = \"subscribe\", with the secret \"verify\" as query.t, \
                   answered 200 with \"pub_123|\" and the text of query.c";
        assert_eq!(told, due);
    }
}
