//! Room `signatures`: what a genuine HTTP message signature of a request is over, for tools that sign as its sender would. The
//! verifier never makes one.

use base64::{Engine, engine::general_purpose::STANDARD};
use sfv::ListEntry;
use sha2::{Digest, Sha256};

use super::{
    CONTENT_DIGEST, HttpMessage,
    input::{dictionary, input},
    name_of,
};
use crate::{
    model::{RawRequest, Timestamp},
    signatures::{JwsAlgorithm, Scheme, SignatureError, special::Special},
};

/// The label of a signature where the scheme wants none of its own.
const LABEL: &str = "sig1";

/// A message that is not signed yet.
#[derive(Clone, Debug)]
pub struct UnsignedMessage {
    /// The headers that belong to the signature and are signed with it, by their names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The label under which `Signature` must have the signature.
    pub label: String,
    /// How it is signed.
    pub algorithm: JwsAlgorithm,
    /// What is signed (RFC 9421 §2.5).
    pub base: Vec<u8>,
}

impl Scheme {
    /// What a message signature of this request is over, where the scheme is one of message signatures. `key_id` is what it
    /// names its key; one that no structured field can hold is left out.
    pub fn message_of(
        &self,
        request: &RawRequest,
        key_id: Option<&str>,
        now: Timestamp,
    ) -> Option<Result<UnsignedMessage, SignatureError>> {
        match &self.special {
            Some(Special::HttpMessage(message)) => Some(message.unsigned(request, key_id, now)),
            _ => None,
        }
    }
}

impl HttpMessage {
    fn unsigned(
        &self,
        request: &RawRequest,
        key_id: Option<&str>,
        now: Timestamp,
    ) -> Result<UnsignedMessage, SignatureError> {
        const NO_LABEL: SignatureError = SignatureError::Malformed("the scheme's label or tag can be none");
        let label = self.label.as_deref().unwrap_or(LABEL);
        let mut headers = Vec::new();
        if self.binds_body() {
            let digest = STANDARD.encode(Sha256::digest(&request.body));
            headers.push((CONTENT_DIGEST, format!("sha-256=:{digest}:")));
        }
        headers.push(("signature-input", format!("{label}={}", self.input_text(key_id, now))));
        let mut signed = request.clone();
        for (name, value) in &headers {
            signed.headers.0.retain(|(known, _)| known != name);
            signed.headers.push(name, value.clone());
        }
        let inputs = dictionary(&signed, "signature-input")?.ok_or(SignatureError::Missing)?;
        let Some(ListEntry::InnerList(list)) = inputs.get(label) else { return Err(NO_LABEL) };
        let base = self.base(&input(list)?, &signed)?;
        Ok(UnsignedMessage { headers, label: label.to_owned(), algorithm: self.algorithm, base })
    }

    fn input_text(&self, key_id: Option<&str>, now: Timestamp) -> String {
        let text = |name: &str, value: Option<&str>| {
            value.and_then(quoted).map(|value| format!(";{name}={value}")).unwrap_or_default()
        };
        format!(
            "({});created={}{}{}{}",
            self.components.join(" "),
            now.seconds(),
            text("keyid", key_id),
            text("alg", name_of(self.algorithm)),
            text("tag", self.tag.as_deref()),
        )
    }
}

/// A string as structured fields have it (RFC 9651 §3.3.3); `None` for one that they cannot hold.
fn quoted(text: &str) -> Option<String> {
    let fits = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    fits.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}
