//! Tokens (RFC 7515, RFC 7519): whatever is sent as one, nobody is believed without the key.
#![no_main]

use std::sync::LazyLock;

use douane::{
    model::{Headers, RawRequest, Secret, Timestamp},
    signatures::{Key, Schemes},
};
use libfuzzer_sys::fuzz_target;

static DOORS: LazyLock<Vec<(Schemes, Key)>> = LazyLock::new(|| {
    let inside = ["path = \"header.authorization\", prefix = \"Bearer \"", "path = \"body\""];
    let doors = inside.into_iter().map(|place| {
        let schemes = Schemes::parse(&format!(
            "algorithm = \"jwt\"\nsecret = {{ as = \"text\" }}\nvalue = {{ {place} }}\nassurance = \"{}\"\n\
             jwt = {{ algorithms = [\"HS256\", \"HS512\"], claims = {{ iss = \"acme\" }}, endless = true }}",
            if place.contains("body") { "full" } else { "origin" },
        ));
        let schemes = schemes.expect("a scheme");
        let key = schemes.branches()[0].scheme.key("k", &Secret::new("a secret that is not guessed"));
        (schemes, key.expect("a key"))
    });
    doors.collect()
});

fuzz_target!(|token: &[u8]| {
    for (schemes, key) in &*DOORS {
        let mut headers = Headers::default();
        headers.push("authorization", [b"Bearer ", token].concat());
        let request = RawRequest {
            method: "POST".to_owned(),
            target: "/in/acme".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers,
            body: token.to_vec().into(),
            peer: None,
        };
        let now = Timestamp::from_seconds(1_762_420_801).expect("a time");
        assert!(schemes.verify(std::slice::from_ref(key), request, now).is_err(), "believed without the key");
    }
});
