//! Room `brokers`: from an address template to the address of one event: topic, subject, stream, routing key or path. Each
//! broker says which characters its addresses can have; the rest is replaced so that two values never become one.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::model::{AddressField, AddressTemplate, Part, StoredEvent};

/// What a broker's addresses can have in place of a field. Each byte of a value that is not allowed, and the escape
/// itself, becomes the escape and two hex digits, so that two values never become one address.
#[derive(Clone, Copy, Debug)]
pub struct Alphabet {
    /// ASCII letters and digits are always allowed; of all other characters, these.
    pub others: &'static str,
    /// What begins a replaced byte.
    pub escape: char,
}

/// Where a broker puts events.
#[derive(Clone, Debug)]
pub struct Address {
    template: AddressTemplate,
    alphabet: Alphabet,
    shards: u32,
}

impl Address {
    /// Addresses by this template; `{shard}` counts from 0 up to `shards`, which is at least 1.
    pub fn new(template: AddressTemplate, alphabet: Alphabet, shards: u32) -> Self {
        Self { template, alphabet, shards: shards.max(1) }
    }

    /// Where an event goes. Events of one partition key have one `{shard}`, always.
    pub fn of(&self, event: &StoredEvent) -> String {
        let mut address = String::new();
        for part in self.template.parts() {
            match part {
                Part::Text(text) => address.push_str(text),
                Part::Field(AddressField::Shard) => {
                    let _ = write!(address, "{}", shard(&event.partition_key, self.shards));
                }
                Part::Field(field) => self.alphabet.write(field.of(event), &mut address),
            }
        }
        address
    }
}

impl Alphabet {
    fn write(&self, value: &str, address: &mut String) {
        for byte in value.bytes() {
            let letter = char::from(byte);
            let allowed =
                letter.is_ascii_alphanumeric() || (letter != self.escape && self.others.contains(letter));
            if byte.is_ascii() && allowed {
                address.push(letter);
            } else {
                let _ = write!(address, "{}{byte:02X}", self.escape);
            }
        }
    }
}

/// The shard of a partition key: the first 8 bytes of its SHA-256, as a big-endian number, modulo `shards`. Consumers may
/// count on it.
fn shard(partition_key: &str, shards: u32) -> u64 {
    let digest: [u8; 32] = Sha256::digest(partition_key.as_bytes()).into();
    let first = digest[..8].iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    first % u64::from(shards)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{EndpointName, EntryNumber, EventNumber, EventRef, Revision};

    const SUBJECT: Alphabet = Alphabet { others: ".-_", escape: '%' };

    fn event(event_type: &str, partner: &str, key: &str) -> StoredEvent {
        StoredEvent {
            number: EventNumber(1),
            id: "x".to_owned(),
            event_type: event_type.to_owned(),
            partition_key: key.to_owned(),
            endpoint: EndpointName::new(partner, "default"),
            made_from: EventRef { number: EntryNumber(1), ordinal: 0 },
            revision: Revision("r".into()),
            brokers: Vec::new(),
            body: "{}".into(),
        }
    }

    fn address(template: &str, event: &StoredEvent, shards: u32) -> String {
        Address::new(AddressTemplate::parse(template).expect("a template"), SUBJECT, shards).of(event)
    }

    #[test]
    fn fields_are_what_the_event_says() {
        let event = event("com.example.payments.PaymentCaptured.v1", "acme", "k");
        let every = "{type}|{context}|{event}|{version}|{partner}|{endpoint}";
        assert_eq!(
            address(every, &event, 1),
            "payments.PaymentCaptured.v1|payments|PaymentCaptured|v1|acme|default"
        );
    }

    #[test]
    fn what_an_address_cannot_have_is_replaced() {
        let event = event("com.example.payments.PaymentCaptured.v1", "a*b c%", "k");
        assert_eq!(address("{partner}", &event, 1), "a%2Ab%20c%25");
    }

    #[test]
    fn the_shard_of_a_key_is_the_documented_one() {
        let event = event("t", "p", "acme/default/42");
        assert_eq!(address("s{shard}", &event, 16), "s1");
        assert_eq!(address("s{shard}", &event, 1), "s0");
    }

    proptest! {
        #[test]
        fn two_partners_never_share_an_address(one in "\\PC{0,8}", other in "\\PC{0,8}") {
            let at = |partner: &str| address("{partner}", &event("t", partner, "k"), 1);
            prop_assert_eq!(at(&one) == at(&other), one == other);
            prop_assert!(at(&one).chars().all(|c| c.is_ascii_alphanumeric() || ".-_%".contains(c)));
        }

        #[test]
        fn one_key_has_one_shard_within_bounds(key in "\\PC{0,20}", shards in 1_u32..64) {
            let at = |event_type: &str| address("{shard}", &event(event_type, "p", &key), shards);
            prop_assert_eq!(at("a"), at("b"));
            prop_assert!(at("a").parse::<u32>().expect("a number") < shards);
        }
    }
}
