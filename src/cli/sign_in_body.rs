//! Room `cli`: signs a body that is signed with the secret in it, in the place where the signature stands (Unisender Go).

use super::{sign::SignError, signing_key::SigningKey};
use crate::{
    model::{RawRequest, strict_json},
    signatures::{Scheme, View},
};

/// What stands in the body until the signature does: a text that nothing else there is.
const STAND_IN: &str = "0the0signature0will0stand0here00";

/// Writes the body anew, and the signature into it.
pub(super) fn sign_in_body(
    scheme: &Scheme,
    key: &SigningKey<'_>,
    request: &mut RawRequest,
) -> Result<(), SignError> {
    let mut body = strict_json::read(&request.body)?;
    body.insert(scheme.value().place.path.value_path(), STAND_IN);
    request.body = serde_json::to_vec(&body)?.into();
    let signed = {
        let message = scheme.message().render(&View { request, body: &body, item: &body }, None)?;
        key.sign(scheme.algorithm(), &message)
    };
    let signed = signed.ok_or(SignError::Key(scheme.algorithm().to_string()))?;
    let signature = scheme.value().form.encode(&signed);
    let text = String::from_utf8_lossy(&request.body).replace(STAND_IN, &signature);
    request.body = text.into();
    Ok(())
}
