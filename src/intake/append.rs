//! Room `intake`: step 3, keeping a verified request in the intake log.

use metrics::counter;
use uuid::{NoContext, Uuid};

use super::{PublicDoor, Refusal, credentials};
use crate::{
    ledger::AppendError,
    model::{
        DeliveryId, DeliveryMeta, EntryMeta, NewEntry, RawRequest, Timestamp, Verification, VerifiedRequest,
    },
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
    let id = delivery_id(door.clock.now());
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

/// A UUIDv7: its time from the clock, the rest random.
fn delivery_id(now: Timestamp) -> DeliveryId {
    let seconds = u64::try_from(now.seconds()).unwrap_or(0);
    let nanos = u32::try_from(now.micros().rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    DeliveryId(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_ids_carry_the_clocks_time_and_differ() {
        let now = Timestamp::from_rfc3339("2026-11-23T07:41:05.123Z").expect("a time");
        let (a, b) = (delivery_id(now), delivery_id(now));
        assert_ne!(a, b);
        assert_eq!(a.0.get_version_num(), 7);
        assert_eq!(a.0.get_timestamp().expect("v7").to_unix(), (now.seconds().unsigned_abs(), 123_000_000));
        assert!(delivery_id(now.plus(std::time::Duration::from_millis(1))) > a);
    }

    #[test]
    fn a_clock_before_the_epoch_is_no_panic() {
        assert_eq!(delivery_id(Timestamp::from_micros(-1)).0.get_version_num(), 7);
    }
}
