//! Room `intake`: handshakes: requests by which a partner's system proves our address, answered and not kept. They fail
//! closed: a handshake that matches but asks for something unsafe is refused, it does not become a delivery.

mod answer;
mod look;

use answer::Answering;
use look::Look;

use super::{Answer, PublicDoor, Refusal};
use crate::{
    model::{RawRequest, VerifiedRequest},
    partners::{Endpoint, Handshake},
    signatures::SignatureError,
};

/// The answer to a handshake that needs no signature; `None` when the request is none.
pub(super) fn unsigned(
    door: &PublicDoor,
    endpoint: &Endpoint,
    request: &RawRequest,
) -> Result<Option<Answer>, Refusal> {
    let look = Look::new(request);
    let Some(handshake) = find(endpoint, &look, false) else { return Ok(None) };
    door.handshake_rates.admit_handshake(endpoint)?;
    let answer = Answering { endpoint, handshake, look: &look }.answer()?;
    door.notes.handshake(endpoint, false, door.clock.now());
    Ok(Some(answer))
}

/// The answer to a handshake whose signature held; `None` when the request is a delivery, which only a POST can be.
pub(super) fn signed(
    door: &PublicDoor,
    endpoint: &Endpoint,
    verified: &VerifiedRequest,
) -> Result<Option<Answer>, Refusal> {
    let request = verified.request();
    let look = Look::new(request);
    let Some(handshake) = find(endpoint, &look, true) else {
        refuse_no_delivery(endpoint, request)?;
        return Ok(None);
    };
    let answer = Answering { endpoint, handshake, look: &look }.answer()?;
    door.notes.handshake(endpoint, true, door.clock.now());
    Ok(Some(answer))
}

fn find<'e>(endpoint: &'e Endpoint, look: &Look<'_>, signed: bool) -> Option<&'e Handshake> {
    endpoint.handshakes.iter().filter(|handshake| handshake.signed == signed).find(|one| look.is(one))
}

/// A request that is signed and no handshake, and can be no delivery either: it is no POST; or its whole body is a text
/// that a handshake of the endpoint would sign for any stranger, so that its signature proves nothing.
fn refuse_no_delivery(endpoint: &Endpoint, request: &RawRequest) -> Result<(), Refusal> {
    const SIGNED_FOR_ANYONE: SignatureError =
        SignatureError::Malformed("the whole body is a text that a handshake signs for anyone");
    if request.method != "POST" {
        return Err(Refusal::NoHandshake);
    }
    let mut signing = endpoint.handshakes.iter().filter(|handshake| handshake.signs());
    if signing.any(|handshake| handshake.guard.could_have_signed(&request.body, handshake.signed_parts())) {
        return Err(Refusal::Signature {
            error: SIGNED_FOR_ANYONE,
            status: endpoint.signature_failure_status,
        });
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
