//! Room `cli`: writes a token as its sender would: header, payload and signature in compact form (RFC 7515).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    sign::SignError,
    sign_places::{put, remove},
    signing_key::SigningKey,
};
use crate::{
    model::RawRequest,
    signatures::{Scheme, UnsignedToken},
};

/// Signs a token and puts it where it belongs.
pub(super) fn sign_token(
    scheme: &Scheme,
    key: &SigningKey<'_>,
    request: &mut RawRequest,
    token: &UnsignedToken,
) -> Result<(), SignError> {
    let name = token.algorithm.name();
    let header = URL_SAFE_NO_PAD.encode(&token.header);
    let payload = URL_SAFE_NO_PAD.encode(&token.payload);
    let signature = key.sign_jws(token.algorithm, format!("{header}.{payload}").as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(signature.ok_or_else(|| SignError::Key(name.to_owned()))?);
    let payload = if token.detached { "" } else { &payload };
    let text = format!("{header}.{payload}.{signature}");
    match &token.at {
        None => request.body = text.into(),
        Some(place) => {
            remove(request, place);
            put(scheme, request, place, &text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::{super::sign::sign, *};
    use crate::{
        model::{Headers, Secret, Timestamp},
        signatures::{Key, verify},
    };

    const KEYS: &str = "https://keys.acme.example/.well-known/jwks";
    const TIME: &str = "x-tl-webhook-timestamp";

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_700_000_000).expect("a time")
    }

    fn scheme(text: &str) -> Scheme {
        let keys = format!("algorithm = 'jwt'\nkeys = {{ jwks = '{KEYS}' }}\n");
        Scheme::parse(&format!("{keys}{text}")).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// A request that was signed with a key made for it, and that key's public half.
    fn signed(scheme: &Scheme, body: &str) -> (RawRequest, Key) {
        let mut headers = Headers::default();
        headers.push("content-type", "application/json".to_owned());
        headers.push(TIME, "2023-11-14T22:13:20Z".to_owned());
        let mut request = RawRequest {
            method: "POST".to_owned(),
            target: "/in/acme".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers,
            body: body.to_owned().into(),
            peer: None,
        };
        let private = SigningKey::generated(scheme.key_algorithm()).expect("a pair");
        let SigningKey::Private { der, .. } = &private else { unreachable!("a pair was made") };
        let half = scheme.development_key("k", &Secret::new(STANDARD.encode(der))).expect("its half");
        sign(scheme, private, &mut request, now()).expect("signed");
        (request, half)
    }

    fn verdict(scheme: &Scheme, key: &Key, request: &RawRequest) -> Result<(), &'static str> {
        let keys = std::slice::from_ref(key);
        verify(scheme, keys, request.clone(), now()).map(drop).map_err(|refused| refused.1.code())
    }

    #[test]
    fn a_token_that_lists_what_it_signs_names_its_keys_too() {
        let scheme = scheme(
            "value = { path = 'header.tl-signature' }\njwt = { algorithms = ['ES512'], detached = true }\n\
             message = \"{method} {path}\\n{tl_headers}{body}\"\nassurance = 'full'",
        );
        let (request, key) = signed(&scheme, "{}");
        let (_, token) =
            request.headers.0.iter().find(|(name, _)| name == "tl-signature").expect("it was signed");
        let text = String::from_utf8_lossy(&token.0);
        let [header, "", _] = text.split('.').collect::<Vec<_>>()[..] else { panic!("not detached: {text}") };
        let said: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
        let listed = "X-Tl-Webhook-Timestamp,Content-Type";
        assert_eq!(said, json!({"alg": "ES512", "jku": KEYS, "tl_version": "2", "tl_headers": listed}));
        assert_eq!(verdict(&scheme, &key, &request), Ok(()));
        for changed in [TIME, "content-type"] {
            let mut request = request.clone();
            request.headers.0.retain(|(name, _)| name != changed);
            request.headers.push(changed, "another".to_owned());
            assert_eq!(verdict(&scheme, &key, &request), Err("signature_mismatch"), "{changed}");
        }
    }

    #[test]
    fn a_token_names_its_key_where_its_sender_would() {
        let published = scheme(
            "value = { path = 'header.t' }\njwt = { algorithms = ['ES256'], claims = { aud = 'us' } }\nassurance = 'origin'",
        );
        let own = Scheme::parse(
            "algorithm = 'jwt'\nsecret = { as = 'pem' }\nvalue = { path = 'header.t' }\njwt = { algorithms = ['ES256'] }\nassurance = 'origin'",
        )
        .expect("a scheme");
        let named = |scheme: &Scheme| {
            let (mut request, _) = signed(scheme, "{}");
            let key = SigningKey::generated(scheme.key_algorithm()).expect("a pair").called("2026-11");
            sign(scheme, key, &mut request, now()).expect("signed");
            let (_, token) = request.headers.0.iter().find(|(name, _)| name == "t").expect("it was signed");
            let text = String::from_utf8_lossy(&token.0);
            let header =
                URL_SAFE_NO_PAD.decode(text.split('.').next().expect("a header")).expect("base64url");
            serde_json::from_slice::<Value>(&header).expect("JSON")["kid"].clone()
        };
        assert_eq!((named(&published), named(&own)), (json!("2026-11"), Value::Null));
    }

    #[test]
    fn a_token_stands_alone_in_the_array_that_is_there_for_it() {
        let scheme = scheme(
            "value = { path = 'body.tokens' }\njwt = { algorithms = ['RS256'], claims = { aud = 'us' } }\nassurance = 'origin'",
        );
        for body in [r#"{"tokens":[]}"#, r#"{"tokens":["an old one","another"]}"#] {
            let (request, key) = signed(&scheme, body);
            let sent: Value = serde_json::from_slice(&request.body).expect("JSON");
            assert!(sent["tokens"].as_array().is_some_and(|tokens| tokens.len() == 1), "{sent}");
            assert_eq!(verdict(&scheme, &key, &request), Ok(()), "{sent}");
        }
        let (request, key) = signed(&scheme, "{}");
        assert_eq!(verdict(&scheme, &key, &request), Ok(()), "where nothing stands, the text alone does");
    }
}
