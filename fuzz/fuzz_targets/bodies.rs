//! Bodies: JSON, forms, multipart forms and tokens are read or refused; and JSON that is read is JSON for others too.
#![no_main]

use douane::model::{BodyRules, Headers, read_body, strict_json};
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 4] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=\"a b\"",
];

fuzz_target!(|input: (u8, bool, bool, &[u8])| {
    let (kind, json_in_form, token, body) = input;
    let mut headers = Headers::default();
    headers.push("content-type", TYPES[usize::from(kind) % TYPES.len()]);
    let form_json = json_in_form.then(|| "payload".to_owned());
    let rules = BodyRules { form_json, token, ..BodyRules::default() };
    let _ = read_body(&headers, &body.to_vec().into(), &rules);
    let _ = strict_json::read(body);
});
