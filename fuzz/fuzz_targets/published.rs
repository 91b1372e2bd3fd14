//! What providers publish: certificates (X.509) and key sets (RFC 7517), and the requests that say which is meant.
#![no_main]

use std::sync::LazyLock;

use douane::{
    model::{Headers, RawRequest, Timestamp},
    signatures::{Published, Roots, Schemes},
};
use libfuzzer_sys::fuzz_target;

static CERTIFICATE: LazyLock<Schemes> = LazyLock::new(|| {
    let schemes = Schemes::parse(
        "algorithm = \"rsa-pkcs1-sha256\"\nvalue = { path = \"header.x-signature\", as = \"base64\" }\n\
         message = \"{body}\"\nassurance = \"full\"\n\
         keys = { certificate = \"header.x-cert\", hosts = [\"api.acme.com\"], path = \"/certs/*\", subjects = [\"*.acme.com\"] }",
    );
    schemes.expect("a scheme")
});
static KEY_SET: LazyLock<Schemes> = LazyLock::new(|| {
    let schemes = Schemes::parse(
        "algorithm = \"jwt\"\nvalue = { path = \"header.authorization\", prefix = \"Bearer \" }\nassurance = \"origin\"\n\
         jwt = { algorithms = [\"RS256\"], claims = { iss = \"acme\", aud = \"us\" } }\n\
         keys = { jwks = \"https://api.acme.com/jwks\" }",
    );
    schemes.expect("a scheme")
});
static ROOTS: LazyLock<Roots> = LazyLock::new(Roots::public);

/// `{"alg":"RS256","kid":"k"}.{"iss":"acme","aud":"us","exp":1762421000}.` and a signature of the right length.
fn token() -> String {
    format!("eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJhY21lIiwiYXVkIjoidXMiLCJleHAiOjE3NjI0MjEwMDB9.{}", "A".repeat(342))
}

fn request(headers: &[(&str, String)]) -> RawRequest {
    let mut all = Headers::default();
    for (name, value) in headers {
        all.push(name, value.clone());
    }
    RawRequest {
        method: "POST".to_owned(),
        target: "/in/acme".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers: all,
        body: "{}".into(),
        peer: None,
    }
}

fuzz_target!(|input: (Option<&str>, &[u8])| {
    let (address, document) = input;
    let now = Timestamp::from_seconds(1_762_420_801).expect("a time");
    let address = address.unwrap_or("https://api.acme.com/certs/1.pem").to_owned();
    let signed = request(&[("x-signature", format!("{}==", "A".repeat(342))), ("x-cert", address)]);
    let bearer = request(&[("authorization", format!("Bearer {}", token()))]);
    assert_eq!(KEY_SET.needs(&[], &bearer).map(|needed| needed.len()), Ok(1));
    for (schemes, request) in [(&*CERTIFICATE, signed), (&*KEY_SET, bearer)] {
        for (at, needed) in schemes.needs(&[], &request).unwrap_or_default() {
            assert!(["https://api.acme.com/certs/", "https://api.acme.com/jwks"]
                .iter()
                .any(|allowed| needed.url.to_string().starts_with(allowed)));
            let published = Published::new(document.to_vec());
            let _ = schemes.branches()[at].scheme.published_key(&needed, &published, &ROOTS, now);
        }
    }
});
