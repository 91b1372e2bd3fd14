//! Room `intake`: credentials in headers. They are kept like every header, but sealed.

use super::Refusal;
use crate::{
    keys::seal::Sealer,
    model::{HeaderValue, Headers, is_credential_header},
};

/// Seals every credential in place: after verification, which needs them, and before anything is kept.
pub(super) fn seal(sealer: &Sealer, headers: &mut Headers) -> Result<(), Refusal> {
    for (name, value) in &mut headers.0 {
        if is_credential_header(name) {
            let hidden = sealer.seal(name, &value.0).map_err(|error| {
                tracing::error!(%error, "a credential header could not be sealed");
                Refusal::CannotCommit { why: error.to_string() }
            })?;
            *value = HeaderValue(hidden.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_sealed_and_all_else_is_untouched() {
        let sealer = Sealer::with_key(&[7; 32]);
        let mut headers = Headers::default();
        headers.push("X-Event", "ping");
        headers.push("Authorization", "Basic c2VjcmV0");
        headers.push("Cookie", "a=1");
        headers.push("Cookie", "b=2");
        headers.push("X-Auth", "hush");
        headers.push("X-Hub-Signature-256", "sha256=5f");
        seal(&sealer, &mut headers).expect("sealed");

        let text = |index: usize| headers.0[index].1.as_str().expect("text");
        assert_eq!(text(0), "ping");
        assert!(!text(1).contains("c2VjcmV0") && !text(4).contains("hush"));
        assert_eq!(text(5), "sha256=5f");
        let opened = |index: usize, name: &str| {
            sealer.unseal(name, text(index)).map(|secret| secret.expose().to_vec())
        };
        assert_eq!(opened(1, "authorization").as_deref(), Some(&b"Basic c2VjcmV0"[..]));
        assert_eq!(opened(2, "cookie").as_deref(), Some(&b"a=1"[..]));
        assert_eq!(opened(3, "cookie").as_deref(), Some(&b"b=2"[..]));
    }
}
