//! Room `intake`: the self-test of a sender: `POST /in/<partner>/<endpoint>/self-test` says of a request what would become of
//! it, and keeps nothing: no delivery, no refusal, no secret. May not tell a secret or what a signature should have been.

use serde::Serialize;

use super::{Answer, Arrival, PublicDoor, Refusal, body, handshake, verify};
use crate::{
    model::{Assurance, RawRequest},
    partners::{Endpoint, Reply},
};

/// What stands after the address of an endpoint.
const SUFFIX: &str = "/self-test";

/// What would become of a request that is believed.
#[derive(Debug, Serialize)]
struct Verdict {
    #[serde(rename = "verdict")]
    would_be: &'static str,
    /// What its signature vouches for.
    #[serde(skip_serializing_if = "Option::is_none")]
    assurance: Option<Assurance>,
    /// Always false: nothing of a self-test is.
    kept: bool,
}

/// The endpoint's own address in that of its self-test.
pub(super) fn address_in(path: &str) -> Option<&str> {
    let address = path.strip_suffix(SUFFIX)?;
    // `/in/<partner>/self-test` is an endpoint that has this name.
    (address.matches('/').count() == 3).then_some(address)
}

/// The verdict on a request, as a 200 or with the refusal's own status and its precise cause.
pub(super) async fn answer(
    door: &PublicDoor,
    endpoint: &Endpoint,
    arrival: &mut Arrival,
) -> Result<Answer, Refusal> {
    door.self_test_rates.admit_self_test(endpoint)?;
    let mut request = body::read(door, endpoint, arrival).await?;
    request.target = at_endpoint(&request.target);
    let reply = match verdict(door, endpoint, request) {
        Ok(verdict) => Reply {
            status: 200,
            content_type: Some("application/json".to_owned()),
            // A struct of texts always serialises.
            body: serde_json::to_string(&verdict).unwrap_or_default(),
        },
        Err(refusal) => refusal.told_precisely(),
    };
    Ok(Answer { reply, headers: Vec::new(), delivery: None })
}

fn verdict(door: &PublicDoor, endpoint: &Endpoint, request: RawRequest) -> Result<Verdict, Refusal> {
    if handshake::is_one(endpoint, &request, false) {
        return Ok(Verdict { would_be: "handshake", assurance: None, kept: false });
    }
    let proof = verify::proof(endpoint, &door.learner.learnt)?;
    let verified = verify::verify(endpoint, &proof, request, door.clock.now())?;
    let is_handshake = handshake::is_one(endpoint, verified.request(), true);
    if !is_handshake {
        handshake::refuse_no_delivery(endpoint, verified.request())?;
    }
    let would_be = if is_handshake { "handshake" } else { "delivery" };
    Ok(Verdict { would_be, assurance: Some(verified.verification().assurance), kept: false })
}

/// The target as it would be at the endpoint: some partners sign it.
fn at_endpoint(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let path = path.strip_suffix(SUFFIX).unwrap_or(path);
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_test_stands_below_an_endpoint() {
        assert_eq!(address_in("/in/acme/default/self-test"), Some("/in/acme/default"));
        for other in [
            "/in/acme/self-test",
            "/in/acme/default",
            "/in/acme/default/self-test/",
            "/self-test",
            "/in/a/b/c/self-test",
        ] {
            assert_eq!(address_in(other), None, "{other}");
        }
        assert_eq!(at_endpoint("/in/acme/default/self-test?a=/self-test"), "/in/acme/default?a=/self-test");
    }
}
