//! Room `partners`: the values of a handshake's answer: fixed, echoed, signed or hashed. May not know which requests are
//! handshakes.

use super::{
    handshake::{AnswerValue, HashPart, Writing},
    handshake_file::{Reader, path, path_of, paths},
    parameters::Parameters,
    reading::{Entry, Table},
    signing::owned,
};
use crate::signatures::ChallengeHash;

impl Reader<'_, '_> {
    /// A value: a fixed text, number or truth, or one way to make one.
    pub(super) fn value(&mut self, entry: &Entry<'_>) -> Option<AnswerValue> {
        const HELP: &str = "write a text, a number, { echo = path }, { hmac = \"sha256\", of = [paths], as = \"hex\" } or { sha256 = [parts] }";
        if !entry.value.is_table() {
            let parameters = Parameters(self.known.parameters.clone());
            let fixed = serde_json::to_value(owned(entry.value, &parameters)).ok();
            let plain = fixed.filter(|value| !value.is_array() && !value.is_object() && !value.is_null());
            if plain.is_none() {
                self.problems.push(entry.problem(
                    "handshake_value",
                    format!("`{}` is no value", entry.key),
                    HELP,
                ));
            }
            return plain.map(AnswerValue::Fixed);
        }
        let table = entry.table(self.problems)?;
        match ["echo", "hmac", "sha256"]
            .iter()
            .filter_map(|way| table.get(way))
            .collect::<Vec<_>>()
            .as_slice()
        {
            [way] if way.key == "echo" => {
                table.only(&["echo"], self.problems);
                path(way, self.problems).map(AnswerValue::Echo)
            }
            [way] if way.key == "hmac" => self.hmac(&table, way),
            [way] => self.sha256(&table, way),
            _ => {
                let message = format!("`{}` must have one of echo, hmac and sha256", entry.key);
                self.problems.push(entry.problem("handshake_value", message, HELP));
                None
            }
        }
    }

    fn hmac(&mut self, table: &Table<'_>, way: &Entry<'_>) -> Option<AnswerValue> {
        table.only(&["hmac", "of", "as", "prefix"], self.problems);
        if !self.known.has_key {
            let help = "a challenge is signed with the secret of [signature]; an endpoint without one cannot";
            self.problems.push(way.problem(
                "handshake_key",
                "there is no secret to sign a challenge with",
                help,
            ));
        }
        let name = way.text(self.problems)?;
        let Some(hash) = ChallengeHash::named(name) else {
            let help = "write one of sha1, sha256, sha384, sha512";
            self.problems.push(way.problem("handshake_value", format!("there is no hash {name:?}"), help));
            return None;
        };
        let of = table.get("of").map(|entry| paths(&entry, self.problems)).unwrap_or_default();
        if of.is_empty() {
            self.problems.push(table.missing("of"));
        }
        let prefix = match table.get("prefix") {
            Some(entry) => self.prefix(&entry)?,
            None => String::new(),
        };
        Some(AnswerValue::Hmac { hash, of, writing: self.writing(table)?, prefix })
    }

    /// A text before a code: literal, or a parameter of the endpoint.
    fn prefix(&mut self, entry: &Entry<'_>) -> Option<String> {
        let mut prefix = String::new();
        for value in self.template(entry)? {
            let AnswerValue::Fixed(serde_json::Value::String(text)) = value else {
                let help = "write text and {param.name} only";
                let message = "a stranger's text cannot stand before a code";
                self.problems.push(entry.problem("handshake_value", message, help));
                return None;
            };
            prefix.push_str(&text);
        }
        Some(prefix)
    }

    fn sha256(&mut self, table: &Table<'_>, way: &Entry<'_>) -> Option<AnswerValue> {
        table.only(&["sha256", "as"], self.problems);
        let elements = way.elements(self.problems);
        let parts: Vec<_> = elements.iter().filter_map(|element| self.part(element)).collect();
        if parts.is_empty() {
            let help = "write paths, \"param.<name>\" and \"secret.<name>\"";
            self.problems.push(way.problem("handshake_value", "nothing is hashed", help));
        }
        Some(AnswerValue::Sha256(parts, self.writing(table)?))
    }

    fn part(&mut self, element: &Entry<'_>) -> Option<HashPart> {
        let text = element.text(self.problems)?;
        if let Some(name) = text.strip_prefix("param.") {
            return self.parameter(element, name).map(HashPart::Fixed);
        }
        if let Some(name) = text.strip_prefix("secret.") {
            let table = self.table;
            self.secret(table, name);
            return Some(HashPart::Secret(name.to_owned()));
        }
        path(element, self.problems).map(HashPart::Field)
    }

    fn writing(&mut self, table: &Table<'_>) -> Option<Writing> {
        let Some(entry) = table.get("as") else { return Some(Writing::Hex) };
        match entry.text(self.problems)? {
            "hex" => Some(Writing::Hex),
            "base64" => Some(Writing::Base64),
            other => {
                let message = format!("a code is not written as {other:?}");
                self.problems.push(entry.problem("handshake_value", message, "write \"hex\" or \"base64\""));
                None
            }
        }
    }

    /// Text with `{path}` and `{param.name}` in it; `{{` is a brace.
    pub(super) fn template(&mut self, entry: &Entry<'_>) -> Option<Vec<AnswerValue>> {
        let mut values = Vec::new();
        let mut literal = String::new();
        let mut rest = entry.text(self.problems)?;
        while let Some((before, after)) = rest.split_once('{') {
            literal.push_str(before);
            if let Some(escaped) = after.strip_prefix('{') {
                literal.push('{');
                rest = escaped;
                continue;
            }
            let Some((name, after)) = after.split_once('}') else {
                let message = "a brace is opened and not closed";
                self.problems.push(entry.problem(
                    "handshake_value",
                    message,
                    "close it, or write {{ for a brace",
                ));
                return None;
            };
            if let Some(name) = name.strip_prefix("param.") {
                literal.push_str(&self.parameter(entry, name)?);
            } else {
                values.extend(
                    (!literal.is_empty()).then(|| AnswerValue::Fixed(std::mem::take(&mut literal).into())),
                );
                values.push(AnswerValue::Echo(path_of(entry, name, self.problems)?));
            }
            rest = after;
        }
        literal.push_str(rest);
        values.extend((!literal.is_empty()).then(|| AnswerValue::Fixed(literal.into())));
        Some(values)
    }
}
