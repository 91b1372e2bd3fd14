//! Every preset: whatever a request shows, nobody is believed without the key.
#![no_main]

use std::sync::LazyLock;

use douane::{
    model::{Headers, PublicUrl, RawRequest, Secret, Timestamp},
    signatures::{Key, Schemes, presets},
};
use libfuzzer_sys::fuzz_target;

struct Door {
    schemes: Schemes,
    keys: Vec<Key>,
    headers: Vec<String>,
}

static DOORS: LazyLock<Vec<Door>> = LazyLock::new(|| presets::all().iter().filter_map(door).collect());

/// The door of a preset whose keys are the endpoint's own.
fn door(preset: &presets::Preset) -> Option<Door> {
    let sample = preset.sample().ok()?;
    let fill = |text: String, (name, value): (&String, &String)| text.replace(&format!("{{param.{name}}}"), value);
    let text = sample.parameters.iter().fold(preset.text.to_owned(), fill);
    let file: toml::Table = toml::from_str(&text).ok()?;
    let schemes = Schemes::parse(&toml::to_string(file.get("signature")?).ok()?).ok()?;
    let url = PublicUrl::parse("https://hooks.example.com").ok();
    let schemes = schemes.at(url.as_ref());
    let mut keys = Vec::new();
    for secret in &sample.secrets {
        let text = secret.public_key.as_ref().unwrap_or(&secret.development);
        let whole = secret.purposes.is_empty().then_some(None);
        let purposes = secret.purposes.iter().map(|purpose| Some(purpose.as_str())).chain(whole);
        for at in purposes.filter_map(|purpose| schemes.branch_for(purpose)) {
            let key = schemes.branches()[at].scheme.key(&secret.id, &Secret::new(text.as_str())).ok()?;
            keys.push(key.in_branch(at));
        }
    }
    keys.sort_by_key(Key::branch);
    let words = text.split(['"', '{', '}', '|', ':']).filter_map(|word| word.strip_prefix("header."));
    let headers = words.map(str::to_ascii_lowercase).collect();
    (!keys.is_empty()).then_some(Door { schemes, keys, headers })
}

fuzz_target!(|input: (u8, bool, &str, Vec<(u8, &[u8])>, &[u8])| {
    let (preset, form, query, values, body) = input;
    let door = &DOORS[usize::from(preset) % DOORS.len()];
    let mut headers = Headers::default();
    headers.push("content-type", if form { "application/x-www-form-urlencoded" } else { "application/json" });
    for (name, value) in values.into_iter().take(8) {
        let name = &door.headers[usize::from(name) % door.headers.len().max(1)..];
        if let Some(name) = name.first() {
            headers.push(name, value.to_vec());
        }
    }
    let request = RawRequest {
        method: "POST".to_owned(),
        target: format!("/in/acme?{query}"),
        version: "HTTP/1.1".to_owned(),
        headers,
        body: body.to_vec().into(),
        peer: None,
    };
    let now = Timestamp::from_seconds(1_762_420_801).expect("a time");
    assert!(door.schemes.verify(&door.keys, request, now).is_err(), "believed without the key");
});
