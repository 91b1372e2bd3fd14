//! Room `intake`: steps 1 to 3, the public door. Reads a request within bounds, verifies it on raw bytes, keeps it, and
//! only then answers 2xx. Needs nothing but the intake log: no mapping, contract, broker or record can hold up a reply.
//! May not parse a body (but for handshakes that look into one), and may not know what becomes of a delivery.

mod activity;
mod address;
mod append;
mod arrival;
mod body;
mod client;
mod counters;
mod credentials;
mod door;
mod handshake;
mod in_flight;
mod learner;
mod listener;
mod notes;
mod open_files;
mod rates;
mod reception;
mod refusal;
mod reply;
mod self_test;
mod verify;

pub use arrival::Arrival;
pub use door::{PublicDoor, Rooms};
pub use learner::LearntSecrets;
pub use listener::{ListenerLimits, serve, serve_partners};
pub use notes::{NoteKeeper, Notes};
pub use open_files::raise_open_files_limit;
pub use refusal::Refusal;
pub use reply::Answer;
pub use verify::wanted;

/// Receives one request. `Ok` is what the partner is told: a delivery that is fsynced, or a handshake answered.
/// A caller that stops waiting leaves a whole delivery in the log, or none.
pub async fn receive(door: &PublicDoor, arrival: &mut Arrival) -> Result<Answer, Refusal> {
    arrival.counted.admit()?;
    let endpoint = address::find(&door.partners.snapshot(), arrival)?;
    arrival.client.admit(&endpoint)?;
    arrival.client.admit_certificate(&endpoint, &arrival.head.headers)?;
    if arrival.is_self_test() {
        return self_test::answer(door, &endpoint, arrival).await;
    }

    // 1 read, within bounds
    let request = body::read(door, &endpoint, arrival).await?;
    if let Some(answer) = handshake::unsigned(door, &endpoint, &request).await? {
        return Ok(answer);
    }

    // 2 verify, on raw bytes
    let proof = verify::proof(&endpoint, &door.learner.learnt)?;
    let proof = verify::with_published(door, &endpoint, proof, &request).await?;
    let verified = verify::verify(&endpoint, &proof, request, door.clock.now())?;
    door.rates.admit(&endpoint)?;
    if let Some(answer) = handshake::signed(door, &endpoint, &verified).await? {
        return Ok(answer);
    }

    // 3 append to the intake log; fsynced when this returns
    let delivery = append::append(door, &endpoint, verified).await?;
    door.ack_seconds.record(arrival.began.elapsed());
    Ok(reply::accepted(&endpoint, delivery))
}
