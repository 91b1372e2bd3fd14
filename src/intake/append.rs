//! Room `intake`: step 3, keeping a verified request in the intake log.

use std::time::Duration;

use bytes::Bytes;

use super::{PublicDoor, Refusal, credentials};
use crate::{
    ledger::AppendError,
    model::{
        ConfirmMeta, DeliveryId, DeliveryMeta, EndpointName, EntryMeta, NewEntry, RawRequest, Verification,
        VerifiedRequest,
    },
    partners::Endpoint,
};

/// Appends the request to the intake log. It is fsynced when this returns `Ok`.
pub(super) async fn append(
    door: &PublicDoor,
    endpoint: &Endpoint,
    verified: VerifiedRequest,
) -> Result<DeliveryId, Refusal> {
    let (mut request, verification) = verified.into_parts();
    credentials::seal(&door.sealer, &mut request.headers)?;
    let id = DeliveryId::drawn_at(door.clock.now());
    let bytes = request.body.len() as u64;
    let secret = verification.secret_id.clone();
    let appended = door.log.append(entry(id, endpoint, request, verification)).await.map_err(refusal)?;

    door.counters.accepted(&endpoint.name, bytes, secret.as_deref());
    let EndpointName { partner, endpoint } = &endpoint.name;
    tracing::debug!(delivery = %id, number = %appended.first, %partner, %endpoint, "accepted");
    Ok(id)
}

/// Appends a link to visit, good for so long from now. It is fsynced when this returns `Ok`.
pub(super) async fn append_link(
    door: &PublicDoor,
    endpoint: &Endpoint,
    (url, valid): (String, Duration),
) -> Result<(), Refusal> {
    let id = DeliveryId::drawn_at(door.clock.now());
    let (endpoint, valid_seconds) = (endpoint.name.clone(), valid.as_secs());
    let meta = EntryMeta::Confirm(ConfirmMeta { id, endpoint, url, valid_seconds });
    let entry = NewEntry { meta, body: Bytes::new() };
    door.log.append(entry).await.map(drop).map_err(refusal)
}

fn entry(id: DeliveryId, endpoint: &Endpoint, request: RawRequest, verification: Verification) -> NewEntry {
    let meta = DeliveryMeta {
        id,
        endpoint: endpoint.name.clone(),
        method: request.method,
        target: request.target,
        version: request.version,
        headers: request.headers,
        assurance: verification.assurance,
        secret_id: verification.secret_id.map(|id| id.to_string()),
    };
    NewEntry { meta: EntryMeta::Delivery(meta), body: request.body }
}

/// What a request is told that could not be kept.
pub(super) fn refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::Busy => {
            Refusal::Overloaded { what: "the queue before the intake log (ledger.queue_entries)" }
        }
        AppendError::LowSpace => Refusal::LowSpace,
        AppendError::NotWritten(why) | AppendError::Unconfirmed(why) | AppendError::Unknown(why) => {
            Refusal::CannotCommit { why }
        }
        AppendError::Closed => Refusal::ShuttingDown,
    }
}
