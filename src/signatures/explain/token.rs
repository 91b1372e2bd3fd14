//! Room `signatures`: a token, step by step: its text, its header, its claims, what is signed and by which key. Of the token
//! itself neither the signature nor more than the beginning of its payload is shown: whoever has it can send it.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use vrl::value::{KeyString, ObjectMap, Value};

use super::{
    Step,
    bodies::bodies,
    claims,
    known_keys::Made,
    shown::{shortened, shown, value, with_hint},
    spelled_out::described,
    tried::{Tried, algorithm_named, is_der},
};
use crate::{
    model::{Timestamp, strict_json},
    signatures::{
        JwsAlgorithm, Key, Place, Scheme, View,
        jose::compact::{Compact, FORBIDDEN},
        jwt::{About, Jwt, TokenAt},
        template::Template,
    },
};

/// How many bytes of a token's payload are shown as they stand there.
const SHOWN_PAYLOAD_BYTES: usize = 16;

/// Reads what a strict reader refuses, to say what it is.
const LOOSE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Everything but the verdict.
pub(super) fn explain(
    jwt: &Jwt,
    scheme: &Scheme,
    keys: &[Key],
    view: &View<'_>,
    now: Timestamp,
) -> Vec<Step> {
    let what = match &jwt.at {
        TokenAt::Body => "token in the body".to_owned(),
        TokenAt::Place(place) => format!("token at {}", described(place)),
        TokenAt::Field(path) => format!("token at {path}"),
    };
    let text = match jwt.text(view) {
        Ok(text) => text,
        Err(error) => return vec![Step::new(false, what, with_hint(error, misplaced(jwt, view)))],
    };
    let loose = Loose::read(&text);
    let mut steps = vec![explain_text(jwt, &loose, &text, what)];
    steps.extend(loose.header.as_ref().map(|header| explain_header(jwt, keys, header)));
    if let About::Claims(rules) = &jwt.about {
        steps.extend(claims::explain(jwt, rules, loose.payload.as_deref(), view.request, now));
    }
    if let Ok(token) = jwt.parse(&text) {
        steps.extend(explain_signature(jwt, scheme, keys, (&token, view), now));
    }
    steps
}

/// A token as far as it can be read at all.
struct Loose<'t> {
    parts: Vec<&'t str>,
    header: Option<ObjectMap>,
    payload: Option<Vec<u8>>,
}

impl<'t> Loose<'t> {
    fn read(text: &'t str) -> Self {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let part = |at: usize| {
            let standard: &str = parts.get(at)?;
            LOOSE.decode(standard.replace('+', "-").replace('/', "_")).ok()
        };
        let header = part(0).and_then(|header| strict_json::read(&header).ok());
        let header = header.and_then(|header| header.as_object().cloned());
        let payload = part(1);
        Self { parts, header, payload }
    }

    /// How its text differs from that of a token.
    fn oddity(&self, text: &str, detached: bool) -> Option<String> {
        let is_there = |byte: &[char]| self.parts.iter().any(|part| part.contains(byte));
        let of_header = self.header.iter().flat_map(|header| header.keys());
        let forbidden: Vec<&str> =
            of_header.map(KeyString::as_str).filter(|name| FORBIDDEN.contains(name)).collect();
        Some(match self.parts.as_slice() {
            _ if text.trim() != text => "white space stands around it".to_owned(),
            [_] => "it has no dots in it, so it is another kind of credential".to_owned(),
            [_, _] => "it has two parts: its signature was cut off".to_owned(),
            [_, _, _, _, _] => "it has five parts: it is encrypted (JWE), not signed".to_owned(),
            [_, _, ""] => "its signature is empty".to_owned(),
            _ if is_there(&['=']) => "its parts end in `=`: base64url in tokens has no padding".to_owned(),
            _ if is_there(&['+', '/']) => "its parts are base64, not base64url".to_owned(),
            [_, "", _] if !detached => {
                "its payload is empty: it is detached, and the scheme has claims".to_owned()
            }
            [_, _, _] if detached && self.payload.as_ref().is_some_and(|payload| !payload.is_empty()) => {
                "it brings its payload, and the scheme says that it is detached".to_owned()
            }
            _ if !forbidden.is_empty() => format!("it has {}", forbidden.join(", ")),
            _ => return None,
        })
    }
}

/// Where the token is, if it is not where it should be.
fn misplaced(jwt: &Jwt, view: &View<'_>) -> Option<String> {
    let TokenAt::Place(place) = &jwt.at else { return None };
    match view.first_text_at(place).ok() {
        Some(text) => without_prefix(place, &text),
        None => elsewhere(view),
    }
}

fn without_prefix(place: &Place, text: &str) -> Option<String> {
    let prefix = place.prefix.as_ref().filter(|prefix| !text.starts_with(prefix.as_str()))?;
    let start = text.get(..prefix.len()).unwrap_or_default();
    Some(if start.eq_ignore_ascii_case(prefix) {
        format!("it stands behind {start:?}")
    } else if Loose::read(text).header.is_some() {
        format!("it stands there without {prefix:?}")
    } else {
        format!("what stands there does not begin with {prefix:?}")
    })
}

/// Another header that has a token.
fn elsewhere(view: &View<'_>) -> Option<String> {
    let has_token = |value: &[u8]| {
        let text = String::from_utf8_lossy(value).into_owned();
        Loose::read(text.rsplit(' ').next().unwrap_or_default()).header.is_some()
    };
    let mut headers = view.request.headers.0.iter();
    headers.find(|(_, value)| has_token(&value.0)).map(|(name, _)| format!("header {name:?} has a token"))
}

fn explain_text(jwt: &Jwt, loose: &Loose<'_>, text: &str, what: String) -> Step {
    match jwt.parse(text) {
        Ok(token) => Step::new(
            true,
            what,
            format!("{} bytes, its signature {} of them", text.len(), token.signature.len()),
        ),
        Err(error) => {
            let detached = matches!(jwt.about, About::Message(_));
            Step::new(false, what, with_hint(error, loose.oddity(text, detached)))
        }
    }
}

/// What the header says of the algorithm and the key.
fn explain_header(jwt: &Jwt, keys: &[Key], header: &ObjectMap) -> Step {
    let said = ["alg", "kid", "typ"].into_iter().filter_map(|name| Some((name, header.get(name)?)));
    let said: Vec<_> = said.map(|(name, said)| format!("{name} {}", value(said))).collect();
    let algorithm = header.get("alg").and_then(Value::as_bytes).map(|name| String::from_utf8_lossy(name));
    let counts = |name: &str| jwt.algorithms.iter().any(|known| known.name() == name);
    let ok = algorithm.as_deref().is_some_and(counts);
    let names: Vec<_> = jwt.algorithms.iter().map(|known| known.name()).collect();
    let found = match (ok, algorithm) {
        (true, _) => said.join(", "),
        (false, None) => {
            format!("{}; it names no algorithm; the scheme has {}", said.join(", "), names.join(", "))
        }
        (false, Some(name)) => {
            let hint = confused(&name, jwt, keys).map(|hint| format!(": {hint}")).unwrap_or_default();
            format!("{}; the scheme has {}{hint}", said.join(", "), names.join(", "))
        }
    };
    Step::new(ok, "token header", found)
}

/// What it means that a token names another algorithm.
fn confused(name: &str, jwt: &Jwt, keys: &[Key]) -> Option<&'static str> {
    let takes_secret = jwt.algorithms.iter().all(|known| known.is_mac());
    let has_public = keys.iter().any(|key| key.public_der().is_some());
    if name.eq_ignore_ascii_case("none") {
        return Some("nothing is signed, anyone could have made it");
    }
    if jwt.algorithms.iter().any(|known| known.name().eq_ignore_ascii_case(name)) {
        return Some("names of algorithms are told apart by case");
    }
    match algorithm_named(name)? {
        named if named.is_mac() && (has_public || !takes_secret) => {
            Some("it takes a secret, and everyone has the public key; no sender should use that as one")
        }
        named if named.is_mac() != takes_secret => {
            Some("it takes a public key, and the endpoint has a secret")
        }
        _ => Some("add it to `algorithms` if the sender documents it"),
    }
}

fn explain_signature(
    jwt: &Jwt,
    scheme: &Scheme,
    keys: &[Key],
    (token, view): (&Compact<'_>, &View<'_>),
    now: Timestamp,
) -> Vec<Step> {
    let messages = match signed_messages(jwt, token, view) {
        Ok(messages) => messages,
        Err(error) => {
            let needs = scheme.covers().join(", ");
            return vec![Step::new(false, "signed message", format!("{error}: needs {needs}"))];
        }
    };
    let mut steps = vec![Step::new(true, "signed message", shown_message(jwt, token, view))];
    let named = algorithm_named(&token.algorithm);
    let Some(algorithm) = jwt.algorithm(token).ok().or(named) else { return steps };
    let Some((_, signed)) = messages.first() else { return steps };
    let made = Made { algorithm, signed, signature: &token.signature };
    steps.extend(made.steps(scheme, keys, now, |_| None));
    if !keys.is_empty() && steps.iter().skip(1).all(|step| !step.ok) {
        let tried = Tried { algorithm, called: JwsAlgorithm::name, messages, signature: &token.signature };
        steps.push(Step::new(false, "common mistakes", mistake(&tried, scheme, keys, token)));
    }
    steps
}

/// What is signed, first as it should be.
fn signed_messages(
    jwt: &Jwt,
    token: &Compact<'_>,
    view: &View<'_>,
) -> Result<Vec<(&'static str, Vec<u8>)>, crate::signatures::SignatureError> {
    let About::Message(template) = &jwt.about else { return Ok(vec![("", token.signed(None))]) };
    let message = template.render(view, None)?.to_vec();
    let mut messages = vec![("", token.signed(Some(&message)))];
    let unencoded = [token.signed(Some(b"")), message].concat();
    messages.push(("the message is signed as it is, not in base64url (RFC 7797)", unencoded));
    messages.extend(other_bodies(template, token, view));
    Ok(messages)
}

fn other_bodies(
    template: &Template,
    token: &Compact<'_>,
    view: &View<'_>,
) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let bodies = if template.has_body() { bodies(&view.request.body) } else { Vec::new() };
    bodies.into_iter().filter_map(|(how, body)| {
        let mut request = view.request.clone();
        request.body = body.into();
        let message = template.render(&View { request: &request, ..*view }, None).ok()?;
        Some((how, token.signed(Some(&message.to_vec()))))
    })
}

fn shown_message(jwt: &Jwt, token: &Compact<'_>, view: &View<'_>) -> String {
    let signed = token.signed(None);
    match &jwt.about {
        About::Claims(_) => {
            let header = signed.iter().position(|byte| *byte == b'.').unwrap_or_default();
            let start = shortened(&signed, header + 1 + SHOWN_PAYLOAD_BYTES);
            format!("header and payload as they stand in the token: {start}")
        }
        About::Message(template) => {
            let message = template.render(view, None).map(|message| shown(&message.to_vec()));
            format!("the token's header, and in base64url: {}", message.unwrap_or_default())
        }
    }
}

/// Why no key made the signature of a token.
fn mistake(tried: &Tried<'_>, scheme: &Scheme, keys: &[Key], token: &Compact<'_>) -> String {
    if is_der(tried.algorithm, tried.signature) {
        return "the signature is DER, and tokens have r and s side by side".to_owned();
    }
    if let Some(found) = tried.found(scheme.secret(), keys) {
        return found;
    }
    let key = match &token.key_id {
        Some(id) => format!("the key that the token calls \"{}\"", shown(id.as_bytes())),
        None => "the sender's key".to_owned(),
    };
    if tried.algorithm.is_mac() {
        return "no common mistake explains it: another secret made it, or the token was changed".to_owned();
    }
    format!(
        "no common mistake explains it: another private key made it (is {key} the one of this environment, test or live?), or \
         what is signed was changed on its way"
    )
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        hmac,
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
            EcdsaSigningAlgorithm, KeyPair,
        },
    };
    use base64::{
        Engine,
        engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
    };
    use serde_json::{Value as Json, json};
    use sha2::{Digest, Sha256};

    use super::super::tests::{all, differences};
    use crate::{
        model::{PublicUrl, RawRequest, Secret, Timestamp},
        signatures::{Key, PublicKey, Scheme, explain::explain, tests::request},
    };

    const SECRET: &str = "a secret of some length";
    const BODY: &str = "{\"id\": \"evt_1\",\n \"type\": \"caf\u{e9}\"}";
    const NOW: i64 = 1_700_000_000;
    const TARGET: &str = "/in/acme?x=1";

    /// Tokens of a secret, which are bound to the body and the address.
    const BOUND: &str = r#"
algorithm = "jwt"
value     = { path = "header.authorization", prefix = "Bearer " }
secret    = { as = "text" }
jwt       = { algorithms = ["HS256"], claims = { iss = "https://acme.example", aud = "us", body = "{body|sha256}", url = "{url}" }, max_age = "5m" }
assurance = "full"
"#;
    /// Tokens of a private key, which say only who sends.
    const ORIGIN: &str = r#"
algorithm = "jwt"
value     = { path = "header.authorization", prefix = "Bearer " }
secret    = { as = "pem" }
jwt       = { algorithms = ["ES256"], claims = { aud = "us", live = true } }
assurance = "origin"
"#;
    const DETACHED: &str = r#"
algorithm = "jwt"
value     = { path = "header.x-jws" }
secret    = { as = "text" }
jwt       = { algorithms = ["HS256"], detached = true }
message   = "{header.x-id}.{body}"
assurance = "full"
"#;

    fn scheme(text: &str) -> Scheme {
        let url = PublicUrl::parse("https://hooks.example").ok();
        Scheme::parse(text).unwrap_or_else(|error| panic!("{error:?}")).at(url)
    }

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn mac(algorithm: hmac::Algorithm, secret: &[u8], signed: &str) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes()).as_ref().to_vec()
    }

    fn joined(header: &Json, claims: &Json) -> String {
        format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
    }

    fn token_by(secret: &[u8], header: &Json, claims: &Json) -> String {
        let signed = joined(header, claims);
        format!("{signed}.{}", encode(mac(hmac::HMAC_SHA256, secret, &signed)))
    }

    fn claims() -> Json {
        json!({
            "iss": "https://acme.example", "aud": ["other", "us"], "sub": "shop-1", "private": "not shown",
            "body": hex::encode(Sha256::digest(BODY)), "url": format!("https://hooks.example{TARGET}"), "iat": NOW - 60,
        })
    }

    fn with(name: &str, value: Json) -> String {
        let mut claims = claims();
        claims[name] = value;
        token_by(SECRET.as_bytes(), &json!({ "alg": "HS256", "typ": "JWT" }), &claims)
    }

    fn good() -> String {
        with("iss", json!("https://acme.example"))
    }

    fn bearing(value: &str) -> RawRequest {
        request("POST", TARGET, &[("authorization", value), ("host", "inside.example")], BODY)
    }

    fn told_of(scheme_text: &str, keys: &[Key], request: &RawRequest) -> Vec<super::Step> {
        explain(&scheme(scheme_text), keys, request, Timestamp::from_seconds(NOW).expect("in range"))
    }

    fn secret_key() -> Key {
        scheme(BOUND).key("main", &Secret::new(SECRET)).expect("a key")
    }

    /// What differs in a request with this token.
    fn told(token: &str) -> String {
        let request = bearing(&format!("Bearer {token}"));
        let steps = told_of(BOUND, &[secret_key()], &request);
        let text = differences(&steps);
        let signature = token.rsplit('.').next().unwrap_or_default();
        assert!(signature.len() < 20 || !text.contains(signature), "{text}");
        assert!(!text.contains("not shown"), "{text}");
        text
    }

    #[test]
    fn a_genuine_token_is_taken_apart() {
        let request = bearing(&format!("Bearer {}", good()));
        insta::assert_snapshot!(all(&told_of(BOUND, &[secret_key()], &request)));
    }

    #[test]
    fn claims_that_differ_are_told_apart() {
        let (digest, address) = (Sha256::digest(BODY), format!("hooks.example{TARGET}"));
        let of = |text: &str| json!(hex::encode(Sha256::digest(text)));
        let stories = [
            ("another issuer", with("iss", json!("https://evil.example"))),
            ("a slash at the end of the issuer", with("iss", json!("https://acme.example/"))),
            ("another audience", with("aud", json!(["other", "eu"]))),
            ("no audience", with("aud", json!(null))),
            ("the digest in base64", with("body", json!(STANDARD.encode(digest)))),
            ("the digest in base64url, padded", with("body", json!(URL_SAFE.encode(digest)))),
            ("the digest of SHA-512", with("body", json!(hex::encode(sha2::Sha512::digest(BODY))))),
            ("a line break at the end", with("body", of(&format!("{BODY}\n")))),
            ("JSON without white space", with("body", of("{\"id\":\"evt_1\",\"type\":\"caf\u{e9}\"}"))),
            ("another body", with("body", of("{}"))),
            ("behind a proxy that ends TLS", with("url", json!(format!("http://{address}")))),
            (
                "the host that the proxy asks for",
                with("url", json!(format!("https://inside.example{TARGET}"))),
            ),
            ("without the query", with("url", json!("https://hooks.example/in/acme"))),
            ("another address", with("url", json!("https://evil.example"))),
            ("too old", with("iat", json!(NOW - 301))),
            ("from the future", with("iat", json!(NOW + 61))),
            ("in milliseconds", with("iat", json!(NOW * 1_000))),
            ("as a text", with("iat", json!(NOW.to_string()))),
            ("no time", with("iat", json!(null))),
            ("expired", with("exp", json!(NOW - 61))),
            ("not yet valid", with("nbf", json!(NOW + 3_600))),
        ];
        insta::assert_snapshot!(
            stories.map(|(title, token)| format!("== {title}\n{}", told(&token))).join("\n")
        );
    }

    #[test]
    fn every_name_of_a_claim_that_a_token_has_is_told() {
        let scheme = BOUND.replace("aud = \"us\"", "\"aud or azp\" = \"us\"");
        let steps = |token: &str| {
            let request = bearing(&format!("Bearer {token}"));
            all(&told_of(&scheme, &[secret_key()], &request))
        };
        let genuine = steps(&good());
        assert!(genuine.contains("✓ claim aud") && !genuine.contains("claim azp"), "{genuine}");
        let both = steps(&with("azp", json!("eu")));
        assert!(both.contains("✓ claim aud") && both.contains("✗ claim azp"), "{both}");
        let mut neither = claims();
        neither.as_object_mut().expect("claims").remove("aud");
        let neither = steps(&token_by(SECRET.as_bytes(), &json!({ "alg": "HS256" }), &neither));
        assert!(neither.contains("✗ claim aud or azp: it is missing"), "{neither}");
    }

    #[test]
    fn signatures_that_differ_are_told_apart() {
        let head = |alg: &str| json!({ "alg": alg });
        let by = |secret: &[u8], alg: &str| token_by(secret, &head(alg), &claims());
        let signed = joined(&head("HS256"), &claims());
        let longer = format!("{signed}.{}", encode(mac(hmac::HMAC_SHA512, SECRET.as_bytes(), &signed)));
        let stories = [
            ("another secret", by(b"another secret of some length", "HS256")),
            ("a line break at the end of the secret", by(format!("{SECRET}\n").as_bytes(), "HS256")),
            ("nothing is signed", by(SECRET.as_bytes(), "none")),
            ("an algorithm that does not count", by(SECRET.as_bytes(), "HS384")),
            ("an algorithm of a public key", by(SECRET.as_bytes(), "RS256")),
            ("the name in lower case", by(SECRET.as_bytes(), "hs256")),
            ("another algorithm than it says", longer),
        ];
        insta::assert_snapshot!(
            stories.map(|(title, token)| format!("== {title}\n{}", told(&token))).join("\n")
        );
    }

    #[test]
    fn tokens_that_are_none_are_told_apart() {
        let good = good();
        let parts: Vec<&str> = good.split('.').collect();
        let brings =
            token_by(SECRET.as_bytes(), &json!({ "alg": "HS256", "jku": "https://evil.example" }), &claims());
        let stories = [
            ("no header at all", request("POST", TARGET, &[], BODY)),
            ("in another header", request("POST", TARGET, &[("x-token", &good)], BODY)),
            ("without Bearer", bearing(&good)),
            ("bearer in lower case", bearing(&format!("bearer {good}"))),
            ("basic credentials", bearing("Basic dXNlcjpwYXNz")),
            ("an opaque token", bearing("Bearer 0123456789")),
            ("the signature cut off", bearing(&format!("Bearer {}.{}", parts[0], parts[1]))),
            ("encrypted", bearing(&format!("Bearer {good}.{}.{}", parts[0], parts[1]))),
            ("padded", bearing(&format!("Bearer {}.{}.{}=", parts[0], parts[1], parts[2]))),
            ("an empty signature", bearing(&format!("Bearer {}.{}.", parts[0], parts[1]))),
            ("a header that brings a key", bearing(&format!("Bearer {brings}"))),
        ];
        let told = |(title, request): (&str, RawRequest)| {
            let lines = differences(&told_of(BOUND, &[secret_key()], &request));
            format!("== {title}\n{lines}")
        };
        insta::assert_snapshot!(stories.map(told).join("\n"));
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> (EcdsaKeyPair, Vec<u8>) {
        use aws_lc_rs::encoding::AsDer;
        let pair = EcdsaKeyPair::generate(algorithm).expect("a key");
        let der = pair.public_key().as_der().expect("a key").as_ref().to_vec();
        (pair, der)
    }

    #[test]
    fn keys_of_another_kind_and_confused_algorithms_are_told() {
        let (pair, der) = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = Key::public(
            "k1",
            PublicKey::from_spki(crate::signatures::Algorithm::EcdsaP256Sha256Raw, &der).expect("a key"),
        );
        let claims = json!({ "aud": "us", "live": "true", "exp": NOW + 60 });
        let header = |alg: &str| json!({ "alg": alg, "kid": "2026-11" });
        let signed = joined(&header("ES256"), &claims);
        let sign =
            |pair: &EcdsaKeyPair| encode(pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signs"));
        let (der_pair, der_spki) = ec(&ECDSA_P256_SHA256_ASN1_SIGNING);
        let der_key = Key::public(
            "k1",
            PublicKey::from_spki(crate::signatures::Algorithm::EcdsaP256Sha256Raw, &der_spki).expect("a key"),
        );
        let (stranger, _) = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let stories = [
            ("genuine, and a truth value as a text", &key, format!("{signed}.{}", sign(&pair))),
            ("a stranger's", &key, format!("{signed}.{}", sign(&stranger))),
            (
                "DER",
                &der_key,
                format!(
                    "{signed}.{}",
                    encode(
                        [&[0x30, 0x45], der_pair.sign(&SystemRandom::new(), b"x").expect("signs").as_ref()]
                            .concat()
                    )
                ),
            ),
            ("the public key as a secret", &key, token_by(&der, &header("HS256"), &claims)),
            ("a secret in the place of the public key", &secret_key(), format!("{signed}.{}", sign(&pair))),
        ];
        let told = |(title, key, token): (&str, &Key, String)| {
            let steps = told_of(ORIGIN, std::slice::from_ref(key), &bearing(&format!("Bearer {token}")));
            format!("== {title}\n{}", differences(&steps))
        };
        insta::assert_snapshot!(stories.map(told).join("\n"));
    }

    #[test]
    fn detached_tokens_are_told_apart() {
        let header = encode(r#"{"alg":"HS256"}"#);
        let token = |message: &[u8]| {
            let signed = [header.as_bytes(), b".", message].concat();
            let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), &signed);
            format!("{header}..{}", encode(signature))
        };
        let of = |message: &str| token(encode(message).as_bytes());
        let genuine = of(&format!("id-1.{BODY}"));
        let stories = [
            ("genuine", genuine.clone(), "id-1"),
            ("a line break at the end", of(&format!("id-1.{BODY}\n")), "id-1"),
            ("not encoded", token(format!("id-1.{BODY}").as_bytes()), "id-1"),
            ("something else", of("x"), "id-1"),
            ("another id", genuine.clone(), "id-2"),
            ("attached", genuine.replace("..", ".e30."), "id-1"),
        ];
        let told = |(title, token, id): (&str, String, &str)| {
            let request = request("POST", TARGET, &[("x-jws", &token), ("x-id", id)], BODY);
            let steps = told_of(DETACHED, &[secret_key()], &request);
            let lines = if title == "genuine" { all(&steps) } else { differences(&steps) };
            format!("== {title}\n{lines}")
        };
        let without = request("POST", TARGET, &[("x-jws", &genuine)], BODY);
        let without = differences(&told_of(DETACHED, &[secret_key()], &without));
        insta::assert_snapshot!(format!(
            "{}\n== a signed header is missing\n{without}",
            stories.map(told).join("\n")
        ));
    }
}
