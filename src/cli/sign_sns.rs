//! Room `cli`: writes the signature of a message of Amazon SNS (version 2) into its body, as SNS would.

use base64::{Engine, engine::general_purpose::STANDARD};

use vrl::value::Value;

use super::{sign::SignError, sign_places::put, signing_key::SigningKey};
use crate::{
    model::{RawRequest, strict_json},
    signatures::{Message, Scheme},
};

/// Signs a message of SNS; `None` where the scheme is another one.
pub(super) fn sign_sns(
    scheme: &Scheme,
    key: &SigningKey<'_>,
    request: &mut RawRequest,
) -> Option<Result<(), SignError>> {
    let body = strict_json::read(&request.body).unwrap_or(Value::Null);
    let lines = scheme.sns_lines_of(&body)?;
    Some(lines.map_err(SignError::Message).and_then(|lines| {
        let algorithm = scheme.key_algorithm();
        let signature = key.sign(algorithm, &Message::from(lines.as_slice()));
        let signature = signature.ok_or_else(|| SignError::Key(algorithm.to_string()))?;
        put(scheme, request, &scheme.value().place, &STANDARD.encode(signature))
    }))
}
