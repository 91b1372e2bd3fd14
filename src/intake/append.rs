//! Room `intake`: step 3, keeping a verified request in the intake log.

use metrics::counter;

use super::{PublicDoor, Refusal, credentials};
use crate::{
    ledger::AppendError,
    model::{DeliveryId, DeliveryMeta, EntryMeta, NewEntry, RawRequest, Verification, VerifiedRequest},
    partners::Endpoint,
    telemetry::metrics::{DELIVERIES_ACCEPTED, DELIVERY_BYTES},
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

    let name = &endpoint.name;
    let (partner, endpoint) = (name.partner.clone(), name.endpoint.clone());
    counter!(DELIVERIES_ACCEPTED, "partner" => partner.clone(), "endpoint" => endpoint.clone()).increment(1);
    counter!(DELIVERY_BYTES, "partner" => partner, "endpoint" => endpoint).increment(bytes);
    tracing::debug!(delivery = %id, number = %appended.first, partner = %name.partner, endpoint = %name.endpoint, "accepted");
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
        AppendError::NotWritten(why) | AppendError::Unknown(why) => Refusal::CannotCommit { why },
        AppendError::Closed => Refusal::ShuttingDown,
    }
}
