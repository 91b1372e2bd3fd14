//! Room `signatures`: JSON Web Key Sets (RFC 7517). Of a set only the keys count that can have made the signature: of the
//! algorithm's kind, meant for signing, with the id that the token names. Two of them are none.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use vrl::value::{ObjectMap, Value};

use super::{
    JwsAlgorithm,
    algorithm::{KeyKind, spki_of_point, spki_of_rsa},
};
use crate::model::strict_json;

/// Most keys of a set. Providers have fewer than twenty.
const MAX_KEYS: usize = 200;

/// Why a set of keys has none for a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum NoKey {
    /// What was fetched is no set of keys, or has two keys of one id: the provider's fault.
    Unusable(&'static str),
    /// No key of the set is the one.
    Absent,
}

/// A set of keys, read and not yet believed: each is looked at when a signature asks for it.
#[derive(Debug)]
pub(in super::super) struct Set(Vec<ObjectMap>);

impl Set {
    /// Reads a set. What is no object in it is no key.
    pub(in super::super) fn read(set: &[u8]) -> Result<Self, NoKey> {
        let set = strict_json::read(set).map_err(|_| NoKey::Unusable("it is not JSON"))?;
        let keys = set
            .as_object()
            .and_then(|set| set.get("keys"))
            .and_then(Value::as_array)
            .ok_or(NoKey::Unusable("it is no set of keys"))?;
        if keys.len() > MAX_KEYS {
            return Err(NoKey::Unusable("it has more than 200 keys"));
        }
        Ok(Self(keys.iter().filter_map(Value::as_object).cloned().collect()))
    }

    /// The SubjectPublicKeyInfo of the key that a token names. A token that names none means the only one there is.
    pub(in super::super) fn find(
        &self,
        key_id: Option<&str>,
        algorithm: JwsAlgorithm,
    ) -> Result<Vec<u8>, NoKey> {
        let mut meant = self
            .0
            .iter()
            .filter(|key| key_id.is_none_or(|id| text(key, "kid").is_some_and(|kid| kid == id)))
            .filter(|key| is_for(key, algorithm));
        let key = meant.next().ok_or(NoKey::Absent)?;
        if meant.next().is_some() {
            return Err(match key_id {
                Some(_) => NoKey::Unusable("it has two keys of one id"),
                None => NoKey::Absent,
            });
        }
        spki(key, algorithm.kind()).ok_or(NoKey::Unusable("a key of it is malformed, too small or too large"))
    }
}

/// The SubjectPublicKeyInfo of one key that was asked for by its id: it must have that id, and be one of this algorithm's.
pub(in super::super) fn single(
    key: &ObjectMap,
    key_id: &str,
    algorithm: JwsAlgorithm,
) -> Result<Vec<u8>, NoKey> {
    if text(key, "kid") != Some(key_id) || !is_for(key, algorithm) {
        return Err(NoKey::Absent);
    }
    spki(key, algorithm.kind()).ok_or(NoKey::Unusable("the key in it is malformed, too small or too large"))
}

/// The keys of a set, each by what it says of itself; `None` when it is no set.
pub(in super::super) fn listed(set: &[u8]) -> Option<Vec<String>> {
    let set = strict_json::read(set).ok()?;
    let keys = set.as_object()?.get("keys")?.as_array()?;
    let described = |key: &ObjectMap| {
        let says = ["kty", "crv", "alg", "use"].into_iter().filter_map(|name| text(key, name));
        let id = text(key, "kid").map_or_else(|| "one without an id".to_owned(), |id| format!("{id:?}"));
        format!("{id} ({})", says.collect::<Vec<_>>().join(" "))
    };
    Some(keys.iter().filter_map(Value::as_object).map(described).collect())
}

/// Whether a key can be one of this algorithm's. What it says of itself must agree; symmetric keys never count.
fn is_for(key: &ObjectMap, algorithm: JwsAlgorithm) -> bool {
    let (kind, curve) = match algorithm.kind() {
        KeyKind::Secret => return false,
        KeyKind::Rsa => ("RSA", None),
        KeyKind::P256 => ("EC", Some("P-256")),
        KeyKind::P384 => ("EC", Some("P-384")),
        KeyKind::P521 => ("EC", Some("P-521")),
        KeyKind::Ed25519 => ("OKP", Some("Ed25519")),
    };
    let says = |name: &str, expected: &str| !key.contains_key(name) || text(key, name) == Some(expected);
    let operations = key.get("key_ops").is_none_or(|operations| {
        let verify = |operation: &Value| operation.as_bytes().is_some_and(|text| text == "verify".as_bytes());
        operations.as_array().is_some_and(|operations| operations.iter().any(verify))
    });
    text(key, "kty") == Some(kind)
        && text(key, "crv") == curve
        && says("use", "sig")
        && says("alg", algorithm.name())
        && operations
        && !key.contains_key("d")
        && !key.contains_key("k")
}

fn spki(key: &ObjectMap, kind: KeyKind) -> Option<Vec<u8>> {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(text(key, name)?).ok();
    match kind {
        KeyKind::Secret => None,
        KeyKind::Rsa => spki_of_rsa(&part("n")?, &part("e")?),
        KeyKind::Ed25519 => spki_of_point(kind, &part("x")?, &[]),
        curve => spki_of_point(curve, &part("x")?, &part("y")?),
    }
}

fn text<'k>(key: &'k ObjectMap, name: &str) -> Option<&'k str> {
    std::str::from_utf8(key.get(name)?.as_bytes()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(set: &[u8], key_id: Option<&str>, algorithm: JwsAlgorithm) -> Result<Vec<u8>, NoKey> {
        Set::read(set)?.find(key_id, algorithm)
    }

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn ec(rest: &str) -> String {
        format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"{rest}}}"#)
    }

    fn found(keys: &[String], key_id: Option<&str>) -> Result<usize, NoKey> {
        let set = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        find(set.as_bytes(), key_id, JwsAlgorithm::ES256).map(|spki| spki.len())
    }

    #[test]
    fn the_key_that_a_token_names_is_found_among_others() {
        let oct = r#"{"kty":"oct","kid":"a","k":"AAAA"}"#.to_owned();
        let other = ec(r#","kid":"b""#);
        let good = ec(r#","kid":"a","use":"sig","alg":"ES256","key_ops":["verify"]"#);
        assert_eq!(found(&[oct.clone(), other.clone(), good.clone()], Some("a")), Ok(91));
        assert_eq!(found(&[other.clone(), good.clone()], Some("c")), Err(NoKey::Absent));
        assert_eq!(found(std::slice::from_ref(&good), None), Ok(91));
        assert_eq!(found(&[other, good.clone()], None), Err(NoKey::Absent), "which of them is not told");
        assert_eq!(found(&[oct], Some("a")), Err(NoKey::Absent));
        assert!(matches!(found(&[good.clone(), good], Some("a")), Err(NoKey::Unusable(_))));
    }

    #[test]
    fn keys_are_listed_by_what_they_say_of_themselves() {
        let (oct, ours) = (r#"{"kty":"oct","k":"AAAA"}"#, ec(r#","kid":"a","alg":"ES256","use":"sig""#));
        let set = format!(r#"{{"keys":[{oct},{ours},7]}}"#);
        let told = listed(set.as_bytes()).expect("a set");
        assert_eq!(told, ["one without an id (oct)", "\"a\" (EC P-256 ES256 sig)"]);
        assert_eq!((listed(b"{}"), listed(b"<html>")), (None, None));
    }

    #[test]
    fn keys_for_something_else_do_not_count() {
        for rest in [
            r#","kid":"a","use":"enc""#,
            r#","kid":"a","use":7"#,
            r#","kid":"a","alg":"ES384""#,
            r#","kid":"a","alg":"HS256""#,
            r#","kid":"a","alg":"none""#,
            r#","kid":"a","key_ops":["sign"]"#,
            r#","kid":"a","key_ops":[]"#,
            r#","kid":"a","key_ops":"verify""#,
            r#","kid":"a","d":"AAAA""#,
            r#","kid":"a","k":"AAAA""#,
            r#","kid":7"#,
            r#","kid":"A""#,
        ] {
            assert_eq!(found(&[ec(rest)], Some("a")), Err(NoKey::Absent), "{rest}");
        }
        let curve = ec(r#","kid":"a""#).replace("P-256", "P-384");
        assert_eq!(found(&[curve], Some("a")), Err(NoKey::Absent));
    }

    #[test]
    fn poisoned_sets_are_of_no_use() {
        let unusable = |set: &str| {
            matches!(find(set.as_bytes(), Some("a"), JwsAlgorithm::ES256), Err(NoKey::Unusable(_)))
        };
        let twice = format!(r#"{{"keys":[{0}],"keys":[{0}]}}"#, ec(r#","kid":"a""#));
        let member = format!(r#"{{"keys":[{}]}}"#, ec(r#","kid":"a","kid":"b""#));
        let many = format!(r#"{{"keys":[{}]}}"#, vec![ec(""); 201].join(","));
        for set in ["", "{}", "[]", "null", r#"{"keys":{}}"#, "<html>", &twice, &member, &many] {
            assert!(unusable(set), "{}", &set[..set.len().min(80)]);
        }
        let short = ec(r#","kid":"a""#).replace(X, "AAAA");
        assert!(matches!(found(&[short], Some("a")), Err(NoKey::Unusable(_))));
        let rsa = |n: &str, e: &str| {
            let set = format!(r#"{{"keys":[{{"kty":"RSA","kid":"a","n":"{n}","e":"{e}"}}]}}"#);
            find(set.as_bytes(), Some("a"), JwsAlgorithm::RS256)
        };
        let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
        assert!(rsa(&n, "AQAB").is_ok());
        for (n, e) in [
            (URL_SAFE_NO_PAD.encode([0xff; 128]), "AQAB"),
            (URL_SAFE_NO_PAD.encode([0xff; 2_048]), "AQAB"),
            (format!("AAAA{n}"), "AQAB"),
            (n.clone(), "AQ"),
            (n.clone(), "Ag"),
            (n.clone(), ""),
            (n, "AAEAAQ"),
        ] {
            assert!(matches!(rsa(&n, e), Err(NoKey::Unusable(_))), "{e}");
        }
    }

    proptest! {
        #[test]
        fn no_set_makes_the_reader_panic(bytes in any::<Vec<u8>>(), inner in "[ -~]{0,80}") {
            let _ = find(&bytes, Some("a"), JwsAlgorithm::RS256);
            let _ = find(format!("{{\"keys\":[{{{inner}}}]}}").as_bytes(), None, JwsAlgorithm::EdDsa);
        }
    }
}
