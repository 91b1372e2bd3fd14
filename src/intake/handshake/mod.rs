//! Room `intake`: handshakes: requests by which a partner's system proves our address, answered and not kept. They fail
//! closed: a handshake that matches but asks for something unsafe is refused, it does not become a delivery.

mod answer;
mod look;

use std::time::Duration;

use answer::Answering;
use look::Look;

use super::{Answer, PublicDoor, Refusal, append};
use crate::{
    model::{RawRequest, Secret, VerifiedRequest},
    partners::{Endpoint, Handshake},
    signatures::SignatureError,
};

/// The answer to a handshake that needs no signature; `None` when the request is none.
pub(super) async fn unsigned(
    door: &PublicDoor,
    endpoint: &Endpoint,
    request: &RawRequest,
) -> Result<Option<Answer>, Refusal> {
    let Some(found) = met(endpoint, request, false) else { return Ok(None) };
    door.handshake_rates.admit_handshake(endpoint)?;
    finish(door, endpoint, request, (found?, false)).await.map(Some)
}

/// The answer to a handshake whose signature held; `None` when the request is a delivery, which only a POST can be.
pub(super) async fn signed(
    door: &PublicDoor,
    endpoint: &Endpoint,
    verified: &VerifiedRequest,
) -> Result<Option<Answer>, Refusal> {
    let request = verified.request();
    let Some(found) = met(endpoint, request, true) else {
        refuse_no_delivery(endpoint, request)?;
        return Ok(None);
    };
    finish(door, endpoint, request, (found?, true)).await.map(Some)
}

/// A handshake, and what it asks for beside an answer.
struct Met {
    answer: Answer,
    /// A secret to learn.
    taught: Option<Secret>,
    /// A link to visit, and for how long it is good.
    link: Option<(String, Duration)>,
}

fn met(endpoint: &Endpoint, request: &RawRequest, signed: bool) -> Option<Result<Met, Refusal>> {
    let look = Look::new(request);
    let handshake = find(endpoint, &look, signed)?;
    let answering = Answering { endpoint, handshake, look: &look };
    let met = || {
        let (answer, taught) = (answering.answer()?, answering.taught()?);
        Ok(Met { answer, taught, link: answering.link()? })
    };
    Some(met())
}

/// What is taught or to be visited is kept before anybody is told that it is.
async fn finish(
    door: &PublicDoor,
    endpoint: &Endpoint,
    request: &RawRequest,
    (met, signed): (Met, bool),
) -> Result<Answer, Refusal> {
    if let Some(secret) = met.taught {
        door.learner.learn(endpoint, secret, request.peer).await?;
    }
    if let Some(link) = met.link {
        append::append_link(door, endpoint, link).await?;
    }
    door.notes.handshake(endpoint, signed, door.clock.now());
    Ok(met.answer)
}

/// Whether a request is a handshake. Answers none.
pub(super) fn is_one(endpoint: &Endpoint, request: &RawRequest, signed: bool) -> bool {
    find(endpoint, &Look::new(request), signed).is_some()
}

fn find<'e>(endpoint: &'e Endpoint, look: &Look<'_>, signed: bool) -> Option<&'e Handshake> {
    endpoint.handshakes.iter().filter(|handshake| handshake.signed == signed).find(|one| look.is(one))
}

/// A request that is signed and no handshake, and can be no delivery either: it is no POST; or its whole body is a text
/// that a handshake of the endpoint would sign for any stranger, so that its signature proves nothing.
pub(super) fn refuse_no_delivery(endpoint: &Endpoint, request: &RawRequest) -> Result<(), Refusal> {
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
