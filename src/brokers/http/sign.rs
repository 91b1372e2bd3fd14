//! Room `brokers`: signs as Standard Webhooks 1.0 says. The verifier of `signatures` has no way to sign, so this stands apart.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::Secret;

/// `v1,<base64>`: HMAC-SHA256 over `id.timestamp.body`. The secret is base64, with or without `whsec_` before it.
pub(super) fn signature(
    secret: &Secret,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<String, &'static str> {
    const WRONG: &str = "a signing secret of this broker is no whsec_ key: it is base64 of 24 to 64 bytes";
    let text = std::str::from_utf8(secret.expose()).map_err(|_| WRONG)?;
    let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_err(|_| WRONG)?;
    let key = Secret::new(key);
    if !(24..=64).contains(&key.expose().len()) {
        return Err(WRONG);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).map_err(|_| WRONG)?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_of_standard_webhooks() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn what_is_no_key_is_told_without_showing_it() {
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "not base64 at all!"] {
            let why = signature(&Secret::new(bad), "id", 0, b"").expect_err("refused");
            assert!(bad.len() < 7 || !why.contains(bad));
        }
    }
}
