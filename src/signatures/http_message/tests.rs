//! Room `signatures`: HTTP message signatures: those of RFC 9421, Appendix B.2, and what is made of them.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;
use crate::{model::Secret, signatures::tests::request};

const NOW: i64 = 1_618_884_473;
const TARGET: &str = "/foo?param=Value&Pet=dog";
const BODY: &str = "{\"hello\": \"world\"}";
const DIGEST: &str =
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
const HMAC_KEY: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
const ED25519_KEY: &str = "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=";
const RSA_KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHqgDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5WUtzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI2wIDAQAB";
const P256_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==";

const HMAC: [&str; 2] = [
    r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
    "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
];
const ED25519: [&str; 2] = [
    r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
    "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
];
const RSA: [&str; 2] = [
    r#"sig-b22=("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#,
    "sig-b22=:LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==:",
];

fn seconds(at: i64) -> Timestamp {
    Timestamp::from_seconds(at).expect("in range")
}

fn public(key: &str) -> Material {
    Material::Public(STANDARD.decode(key).expect("base64"))
}

fn hmac_key() -> Material {
    Material::Secret(Secret::new(STANDARD.decode(HMAC_KEY).expect("base64")))
}

fn scheme(algorithm: JwsAlgorithm, components: &[&str]) -> HttpMessage {
    HttpMessage {
        components: components.iter().map(|text| input::spelled(text).expect("a component")).collect(),
        label: None,
        tag: None,
        algorithm,
        tolerance: Duration::from_mins(5),
        public_url: Some("https://EXAMPLE.com:443".to_owned()),
    }
}

fn signed([input, signature]: [&str; 2]) -> RawRequest {
    let headers = [
        ("host", "somebody.else.example"),
        ("date", " Tue, 20 Apr 2021 02:07:55 GMT\t"),
        ("content-type", "application/json"),
        ("content-digest", DIGEST),
        ("content-length", "18"),
        ("signature-input", input),
        ("signature", signature),
    ];
    request("POST", TARGET, &headers, BODY)
}

fn replaced(mut request: RawRequest, name: &str, value: &str) -> RawRequest {
    request.headers.0.retain(|(known, _)| known != name);
    request.headers.push(name, value.to_owned());
    request
}

/// What the HMAC scheme, and its key, say of a request.
fn told(request: &RawRequest) -> Result<usize, SignatureError> {
    let keys = [("test-shared-secret", hmac_key())];
    scheme(JwsAlgorithm::HS256, &["date"]).judge(&keys, request, seconds(NOW))
}

#[test]
fn the_published_signatures_hold() {
    for (algorithm, keys, request, components) in [
        (JwsAlgorithm::HS256, ("test-shared-secret", hmac_key()), signed(HMAC), &["date", "@authority"][..]),
        (
            JwsAlgorithm::EdDsa,
            ("test-key-ed25519", public(ED25519_KEY)),
            signed(ED25519),
            &["@method", "@path"],
        ),
        (
            JwsAlgorithm::PS512,
            ("test-key-rsa-pss", public(RSA_KEY)),
            signed(RSA),
            &["content-digest", "@query-param;name=\"Pet\""],
        ),
    ] {
        let scheme = scheme(algorithm, components);
        assert_eq!(scheme.judge(std::slice::from_ref(&keys), &request, seconds(NOW)), Ok(0), "{algorithm:?}");
        let others = [("another", keys.1.clone()), keys];
        assert_eq!(scheme.judge(&others, &request, seconds(NOW)), Ok(1), "keyid selects");
        assert_eq!(scheme.judge(&others[..1], &request, seconds(NOW)), Err(SignatureError::Mismatch));
        let mut moved = request.clone();
        moved.method = "PUT".to_owned();
        moved.target = "/bar?Pet=cat".to_owned();
        let moved = replaced(moved, "date", "Tue, 20 Apr 2021 02:07:56 GMT");
        assert_eq!(
            scheme.judge(&others, &moved, seconds(NOW)),
            Err(SignatureError::Mismatch),
            "{algorithm:?}"
        );
    }
}

#[test]
fn the_published_signature_of_a_response_is_one_of_its_key() {
    let base = "\"@status\": 200\n\"content-type\": application/json\n\"content-digest\": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:\n\"content-length\": 23\n\"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"test-key-ecc-p256\"";
    let signature =
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==";
    let signature = STANDARD.decode(signature).expect("base64");
    assert!(JwsAlgorithm::ES256.verifies(&public(P256_KEY), base.as_bytes(), &signature));
    assert!(!JwsAlgorithm::ES256.verifies(&public(P256_KEY), &base.as_bytes()[1..], &signature));
}

#[test]
fn the_body_is_what_its_digest_says() {
    let scheme = scheme(JwsAlgorithm::PS512, &["content-digest"]);
    assert!(scheme.binds_body());
    let keys = [("test-key-rsa-pss", public(RSA_KEY))];
    let mut other = signed(RSA);
    other.body = "{\"hello\": \"World\"}".into();
    assert_eq!(scheme.judge(&keys, &other, seconds(NOW)), Err(SignatureError::Mismatch));
    let weak = replaced(signed(RSA), "content-digest", "md5=:Sd/dVLAcvNLSq16eXua5uQ==:");
    assert!(matches!(scheme.judge(&keys, &weak, seconds(NOW)), Err(SignatureError::Malformed(_))));
    let two = format!("{DIGEST}, sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
    let one_wrong = replaced(signed(RSA), "content-digest", &two.replace("X48E", "Y48E"));
    assert_eq!(scheme.judge(&keys, &one_wrong, seconds(NOW)), Err(SignatureError::Mismatch));
    assert_eq!(digest::check(&replaced(signed(RSA), "content-digest", &two)), Ok(()));
}

#[test]
fn a_signature_without_what_it_must_cover_is_refused() {
    for missing in ["content-digest", "@target-uri", "@method"] {
        let scheme = scheme(JwsAlgorithm::HS256, &["date", missing]);
        let keys = [("test-shared-secret", hmac_key())];
        let refused = scheme.judge(&keys, &signed(HMAC), seconds(NOW));
        assert!(matches!(refused, Err(SignatureError::Malformed(_))), "{missing}");
    }
    assert_eq!(told(&signed(HMAC)), Ok(0));
}

#[test]
fn where_we_are_is_not_the_senders_to_say() {
    let keys = [("test-shared-secret", hmac_key())];
    let mut elsewhere = scheme(JwsAlgorithm::HS256, &["@authority"]);
    elsewhere.public_url = Some("https://other.example".to_owned());
    let named = replaced(signed(HMAC), "host", "example.com");
    assert_eq!(elsewhere.judge(&keys, &named, seconds(NOW)), Err(SignatureError::Mismatch));
    elsewhere.public_url = None;
    assert_eq!(elsewhere.judge(&keys, &named, seconds(NOW)), Err(SignatureError::NoKey));
}

#[test]
fn a_signature_is_of_its_time_and_of_its_algorithm() {
    let keys = [("test-shared-secret", hmac_key())];
    let scheme = scheme(JwsAlgorithm::HS256, &["date"]);
    let at = |request: &RawRequest, now| scheme.judge(&keys, request, seconds(now));
    assert_eq!(at(&signed(HMAC), NOW + 300), Ok(0));
    assert_eq!(at(&signed(HMAC), NOW + 301), Err(SignatureError::Stale));
    assert_eq!(at(&signed(HMAC), NOW - 300), Ok(0));
    assert_eq!(at(&signed(HMAC), NOW - 301), Err(SignatureError::Future));
    let input = |parameters: &str| {
        let (list, _) = HMAC[0].split_once(";created").expect("parameters");
        let text = format!("{list}{parameters}");
        let scheme = HttpMessage { public_url: Some("https://example.com".to_owned()), ..scheme.clone() };
        let unsigned = replaced(signed(HMAC), "signature-input", &text);
        let Signed { input, .. } = scheme.signature(&unsigned).expect("an input");
        let base = scheme.base(&input, &unsigned).expect("a base");
        let key = aws_lc_rs::hmac::Key::new(
            aws_lc_rs::hmac::HMAC_SHA256,
            &STANDARD.decode(HMAC_KEY).expect("base64"),
        );
        let signature = STANDARD.encode(aws_lc_rs::hmac::sign(&key, &base));
        at(&replaced(unsigned, "signature", &format!("sig-b25=:{signature}:")), NOW)
    };
    assert_eq!(input(";created=1618884473;alg=\"hmac-sha256\";nonce=\"n\""), Ok(0));
    assert_eq!(input(";created=1618884473;expires=1618884473"), Ok(0));
    assert_eq!(input(";created=1618884473;expires=1618884472"), Err(SignatureError::Stale));
    for wrong in [
        "",
        ";expires=1618884999",
        ";created=\"1618884473\"",
        ";created=1618884473.5",
        ";created=-1",
        ";created=1618884473;alg=\"ed25519\"",
        ";created=1618884473;alg=\"none\"",
    ] {
        assert!(
            matches!(
                told(&replaced(
                    signed(HMAC),
                    "signature-input",
                    &format!("{}{wrong}", HMAC[0].split_once(";created").expect("parameters").0)
                )),
                Err(SignatureError::Malformed(_) | SignatureError::Mismatch)
            ),
            "{wrong}"
        );
    }
    assert!(matches!(input(";created=1618884473;alg=\"ed25519\""), Err(SignatureError::Malformed(_))));
    assert!(matches!(input(""), Err(SignatureError::Malformed(_))));
}

#[test]
fn of_several_signatures_the_label_or_the_tag_tells_which() {
    let both = |one: [&str; 2], other: [&str; 2]| {
        let joined: Vec<String> =
            one.iter().zip(other).map(|(one, other)| format!("{one}, {other}")).collect();
        signed([&joined[0], &joined[1]])
    };
    let request = both(RSA, HMAC);
    let keys = [("test-shared-secret", hmac_key()), ("test-key-rsa-pss", public(RSA_KEY))];
    let mut scheme = scheme(JwsAlgorithm::PS512, &["content-digest"]);
    assert_eq!(scheme.judge(&keys, &request, seconds(NOW)), Err(SignatureError::Duplicated));
    scheme.tag = Some("header-example".to_owned());
    assert_eq!(scheme.judge(&keys, &request, seconds(NOW)), Ok(1));
    scheme.tag = Some("another".to_owned());
    assert_eq!(scheme.judge(&keys, &request, seconds(NOW)), Err(SignatureError::Missing));
    scheme.tag = None;
    scheme.label = Some("sig-b22".to_owned());
    assert_eq!(scheme.judge(&keys, &request, seconds(NOW)), Ok(1));
}

#[test]
fn inputs_that_can_be_read_in_two_ways_are_refused() {
    let malformed = |input: &str| {
        let refused = told(&replaced(signed(HMAC), "signature-input", input));
        assert!(
            matches!(refused, Err(SignatureError::Malformed(_) | SignatureError::Missing)),
            "{input}: {refused:?}"
        );
    };
    for list in [
        r#"("date" "date")"#,
        r#"("Date")"#,
        r#"("date";sf)"#,
        r#"("date";req)"#,
        r#"("date";tr)"#,
        r#"("date";bs;key="a")"#,
        r#"("date";bs=?0)"#,
        r#"("@status")"#,
        r#"("@method";bs)"#,
        r#"("@query-param")"#,
        r#"("@query-param";name=Pet)"#,
        r#"("@nothing" "date")"#,
        r#"("")"#,
        "(date)",
        "(1)",
        r#""date""#,
        "",
        r#"("date" "x-absent")"#,
    ] {
        malformed(&format!("sig-b25={list};created=1618884473"));
    }
    for whole in ["", "sig-b25", "sig-b25=(", "other=(\"date\");created=1618884473", "\u{e9}=1"] {
        malformed(whole);
    }
    let many: Vec<String> = (0..65).map(|number| format!("\"x-{number}\"")).collect();
    malformed(&format!("sig-b25=({});created=1618884473", many.join(" ")));
    for signature in ["", "sig-b25=\"a\"", "sig-b25=(:YQ==:)", "other=:YQ==:", "sig-b25=:*:"] {
        assert!(told(&replaced(signed(HMAC), "signature", signature)).is_err(), "{signature}");
    }
}

#[test]
fn components_are_read_as_the_standard_has_them() {
    let request = signed(HMAC);
    let read = |component: &str, public_url: &str| {
        let text = input::spelled(component).expect("a component");
        let unsigned = replaced(request.clone(), "signature-input", &format!("sig-b25=({text});created=1"));
        let mut read = input::read(&unsigned).expect("an input");
        let input = read.remove("sig-b25").expect("the label").input;
        value(&input.components[0], &request, Some(public_url))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let base = "https://Example.com:443/hooks";
    for (component, expected) in [
        ("@method", "POST"),
        ("@authority", "example.com"),
        ("@scheme", "https"),
        ("@path", "/hooks/foo"),
        ("@query", "?param=Value&Pet=dog"),
        ("@request-target", "/hooks/foo?param=Value&Pet=dog"),
        ("@target-uri", "https://Example.com:443/hooks/foo?param=Value&Pet=dog"),
        ("@query-param;name=\"param\"", "Value"),
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-length;bs", ":MTg=:"),
        ("content-digest;key=\"sha-512\"", &DIGEST[8..]),
    ] {
        assert_eq!(read(component, base).as_deref(), Ok(expected), "{component}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        input in any::<Vec<u8>>(),
        signature in any::<Vec<u8>>(),
        digest in any::<Vec<u8>>(),
        list in "[ -~]{0,60}",
    ) {
        let mut request = signed(HMAC);
        request.headers.0.retain(|(name, _)| !["signature-input", "signature", "content-digest"].contains(&name.as_str()));
        let mut other = request.clone();
        request.headers.push("signature-input", input);
        request.headers.push("signature", signature);
        request.headers.push("content-digest", digest);
        let _ = told(&request);
        let _ = digest::check(&request);
        other.headers.push("signature-input", format!("s=({list});created=1618884473"));
        other.headers.push("signature", "s=:YQ==:");
        let _ = told(&other);
        let _ = input::spelled(&list);
    }
}
