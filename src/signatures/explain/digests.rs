//! Room `signatures`: a digest of the body that is another than the one that should stand there: of which body, by which
//! algorithm, and how it is written.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::{bodies::bodies, mistakes::all_of};

/// Writes a digest.
type Writes = fn(&[u8]) -> Vec<u8>;

/// How a digest is written.
const FORMS: [(&str, Writes); 8] = [
    ("bytes", <[u8]>::to_vec),
    ("hex", |digest| hex::encode(digest).into_bytes()),
    ("hex in upper case", |digest| hex::encode_upper(digest).into_bytes()),
    ("base64", |digest| STANDARD.encode(digest).into_bytes()),
    ("base64 without padding", |digest| STANDARD_NO_PAD.encode(digest).into_bytes()),
    ("base64url with padding", |digest| URL_SAFE.encode(digest).into_bytes()),
    ("base64url", |digest| URL_SAFE_NO_PAD.encode(digest).into_bytes()),
    ("base64 of hex", |digest| STANDARD.encode(hex::encode(digest)).into_bytes()),
];

/// What a digest is of, and how it is written, if it is one of the body or of what the body may have been.
pub(super) fn named(said: &[u8], body: &[u8]) -> Option<String> {
    let said = said.trim_ascii();
    let of_body = [("", body.to_vec())].into_iter().chain(bodies(body));
    of_body.into_iter().find_map(|(how, body)| {
        let (algorithm, form) = written(said, &body)?;
        Some(all_of(&[&format!("it is the {algorithm} of the body in {form}"), &of_which(how)]))
    })
}

fn of_which(how: &str) -> String {
    if how.is_empty() { String::new() } else { format!("of another body: {how}") }
}

fn written(said: &[u8], body: &[u8]) -> Option<(&'static str, &'static str)> {
    let digests: [(&str, Vec<u8>); 5] = [
        ("SHA-256", Sha256::digest(body).to_vec()),
        ("SHA-512", Sha512::digest(body).to_vec()),
        ("SHA-384", Sha384::digest(body).to_vec()),
        ("SHA-1", Sha1::digest(body).to_vec()),
        ("MD5", Md5::digest(body).to_vec()),
    ];
    digests.into_iter().find_map(|(algorithm, digest)| {
        let form = FORMS.into_iter().find(|(_, form)| form(&digest) == said)?;
        Some((algorithm, form.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_named_by_body_algorithm_and_form() {
        let body = b"{\"a\": 1}\n";
        let told = |said: &[u8]| named(said, body).unwrap_or_default();
        let sha256 = Sha256::digest(body).to_vec();
        assert_eq!(told(&sha256), "it is the SHA-256 of the body in bytes");
        assert_eq!(told(STANDARD.encode(&sha256).as_bytes()), "it is the SHA-256 of the body in base64");
        assert_eq!(
            told(hex::encode_upper(&sha256).as_bytes()),
            "it is the SHA-256 of the body in hex in upper case"
        );
        assert_eq!(told(hex::encode(Md5::digest(body)).as_bytes()), "it is the MD5 of the body in hex");
        let compact = hex::encode(Sha256::digest("{\"a\":1}"));
        let found = told(compact.as_bytes());
        assert!(found.contains("of another body") && found.contains("no white space"), "{found}");
        assert_eq!(told(b"something else"), "");
    }
}
