//! The partner of the simulation: a desk that is compiled once, and a sender that repeats itself, as partners do. Now and
//! then it sends other content under an id it has used.

use bytes::Bytes;
use douane::{
    model::{Assurance, DeliveryId, DeliveryMeta, EndpointName, EntryMeta, Headers, NewEntry},
    partners::{MappingsFolder, Registry, SecretsFrom},
};
use rand::{RngExt, rngs::SmallRng};
use uuid::Uuid;

/// So many things happen at once, each with events of its own: they are the ordering keys.
const ORDERS: u64 = 5;

const PARTNER: &str = r#"
name = "acme"
owner = "sales"

[signature]
unsigned = true

[[endpoint]]
name = "default"

[identify]
external_id = "body.id"
event_type = "body.type"
ordering_key = "body.order"
volatile = ["body.attempt", "body.note"]

[[mapping]]
on = ["paid"]
module = "paid.vrl"
emits = ["sales.OrderPaid.v1"]
"#;

const MODULE: &str = r#"{
    "type": "sales.OrderPaid.v1",
    "data": { "order": string!(.order), "amount": int!(.amount) }
}"#;

const CONTRACT: &str = r#"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "OrderPaid", "description": "An order was paid.", "owner": "sales", "type": "object",
    "properties": {
        "order": { "description": "The order.", "type": "string", "minLength": 1 },
        "amount": { "description": "In minor units.", "type": "integer" }
    },
    "required": ["order", "amount"], "additionalProperties": false,
    "examples": [{ "order": "o-1", "amount": 1998 }]
}"#;

/// A registry with the partner's desk.
pub(super) fn registry() -> Registry {
    let files = [
        ("partners/acme/partner.toml", PARTNER),
        ("partners/acme/paid.vrl", MODULE),
        ("contracts/sales/OrderPaid.v1.0.json", CONTRACT),
    ];
    let folder = MappingsFolder::from_files(files.map(|(path, text)| (path.to_owned(), text.to_owned())));
    let registry = Registry::default();
    let report = registry.reload(&folder, &std::collections::BTreeMap::new(), SecretsFrom::TestTables);
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    registry
}

/// The one endpoint.
pub(super) fn endpoint() -> EndpointName {
    EndpointName::new("acme", "default")
}

/// What one request told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    id: u64,
    /// The same for every repeat of an id; other content makes a conflict.
    pub(super) amount: u64,
}

impl Told {
    /// The external id.
    pub(super) fn id(self) -> String {
        format!("e-{}", self.id)
    }

    /// The ordering key.
    pub(super) fn order(self) -> String {
        format!("o-{}", self.id % ORDERS)
    }
}

/// The sender: it remembers every request it made.
#[derive(Debug, Default)]
pub(super) struct Partner {
    told: Vec<Told>,
    ids: u64,
}

impl Partner {
    /// Makes the next request. No two are alike, so that one can never be taken for another.
    pub(super) fn request(&mut self, rng: &mut SmallRng) -> NewEntry {
        let told = self.tell(rng);
        self.told.push(told);
        let count = self.told.len();
        let mut headers = Headers::default();
        headers.push("X-Count", count.to_string());
        let meta = EntryMeta::Delivery(DeliveryMeta {
            id: DeliveryId(Uuid::from_u128(count as u128)),
            endpoint: endpoint(),
            method: "POST".to_owned(),
            target: "/in/acme".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers,
            assurance: Assurance::None,
            secret_id: None,
        });
        NewEntry { meta, body: body(told, count, rng) }
    }

    /// What a request told.
    pub(super) fn told(&self, delivery: DeliveryId) -> Told {
        let count = usize::try_from(delivery.0.as_u128()).expect("a count");
        self.told[count - 1]
    }

    fn tell(&mut self, rng: &mut SmallRng) -> Told {
        if self.ids > 0 && rng.random_range(0..3) == 0 {
            let id = rng.random_range(self.ids.saturating_sub(20)..self.ids);
            return Told { id, amount: u64::from(rng.random_range(0..8) == 0) };
        }
        self.ids += 1;
        Told { id: self.ids - 1, amount: 0 }
    }
}

fn body(told: Told, count: usize, rng: &mut SmallRng) -> Bytes {
    let most = if rng.random_range(0..10) == 0 { 2_500 } else { 400 };
    let note = format!("{count:08x}").repeat(rng.random_range(1..most));
    let (id, order, amount) = (told.id(), told.order(), told.amount);
    let text = format!(
        r#"{{"id":"{id}","type":"paid","order":"{order}","amount":{amount},"attempt":{count},"note":"{note}"}}"#
    );
    text.into()
}
