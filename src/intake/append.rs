//! Room `intake`: step 3, keeping a verified request in the intake log.

use super::{PublicDoor, Refusal, credentials};
use crate::{
    ledger::AppendError,
    model::{
        DeliveryId, DeliveryMeta, EndpointName, EntryMeta, NewEntry, RawRequest, Verification,
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
    let appended = door.log.append(entry(id, endpoint, request, verification)).await.map_err(refusal)?;

    door.counters.accepted(&endpoint.name, bytes);
    let EndpointName { partner, endpoint } = &endpoint.name;
    tracing::debug!(delivery = %id, number = %appended.first, %partner, %endpoint, "accepted");
    Ok(id)
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
        secret_id: verification.secret_id,
    };
    NewEntry { meta: EntryMeta::Delivery(meta), body: request.body }
}

fn refusal(error: AppendError) -> Refusal {
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
