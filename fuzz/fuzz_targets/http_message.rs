//! HTTP message signatures (RFC 9421): whatever stands in the three headers, nobody is believed without the key.
#![no_main]

use std::sync::LazyLock;

use douane::{
    model::{Headers, PublicUrl, RawRequest, Secret, Timestamp},
    signatures::{Key, Schemes},
};
use libfuzzer_sys::fuzz_target;

static DOOR: LazyLock<(Schemes, Key)> = LazyLock::new(|| {
    let schemes = Schemes::parse(
        "algorithm = \"http-message-signatures\"\nsecret = { as = \"text\" }\nassurance = \"full\"\n\
         http_message = { algorithm = \"hmac-sha256\", components = [\"@method\", \"@target-uri\", \"content-digest\"] }",
    );
    let url = PublicUrl::parse("https://hooks.example.com").ok();
    let schemes = schemes.expect("a scheme").at(url.as_ref());
    let key = schemes.branches()[0].scheme.key("k", &Secret::new("a secret that is not guessed"));
    (schemes, key.expect("a key"))
});

fuzz_target!(|input: (&[u8], &[u8], Option<&[u8]>, &str, &[u8])| {
    let (signature_input, signature, digest, query, body) = input;
    let mut headers = Headers::default();
    headers.push("content-type", "application/json");
    headers.push("signature-input", signature_input.to_vec());
    headers.push("signature", signature.to_vec());
    if let Some(digest) = digest {
        headers.push("content-digest", digest.to_vec());
    }
    let request = RawRequest {
        method: "POST".to_owned(),
        target: format!("/in/acme?{query}"),
        version: "HTTP/1.1".to_owned(),
        headers,
        body: body.to_vec().into(),
        peer: None,
    };
    let (schemes, key) = &*DOOR;
    let now = Timestamp::from_seconds(1_762_420_801).expect("a time");
    assert!(schemes.verify(std::slice::from_ref(key), request, now).is_err(), "believed without the key");
});
