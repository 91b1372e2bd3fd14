//! Room `config`: what is wrong with a `[[broker]]`, and where. Serde reads flat keys that depend on `kind` through a buffer
//! that forgets places and passes over what it does not know. So each table is read here first, in two halves that do
//! neither: what every broker has, and what its kind has for itself.

use serde::de::IgnoredAny;
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Error, ValueDeserializer},
};

use super::{
    BrokerConfig, FileConfig, HttpConfig, KafkaConfig, NatsConfig, RabbitmqConfig, RedisStreamsConfig,
};

/// A mistake in a broker.
#[derive(Debug)]
pub(in crate::config) struct Mistake {
    /// What is wrong, in serde's words.
    pub(in crate::config) message: String,
    /// Where it stands in the text.
    pub(in crate::config) at: usize,
}

type Pairs<'a> = DeTable<'a>;

/// The first mistake in the brokers of a configuration.
pub(in crate::config) fn mistake(text: &str) -> Option<Mistake> {
    let root = DeTable::parse(text).ok()?;
    let brokers = root.get_ref().get("broker")?.get_ref().as_array()?;
    brokers.iter().find_map(|broker| in_table(broker.get_ref().as_table()?, broker.span().start).err())
}

fn in_table(table: &DeTable<'_>, at: usize) -> Result<(), Mistake> {
    let kinds = Kinds::read();
    let Some(kind) = table.get("kind") else { return Err(Mistake::new("missing field `kind`", at)) };
    let word = kind.get_ref().as_str().unwrap_or_default();
    let Some(own) = kinds.keys_of(word) else {
        let message = format!("unknown kind {word:?}, expected one of {}", quoted(&kinds.names()));
        return Err(Mistake::new(message, kind.span().start));
    };
    let (mut common, mut settings) = (Pairs::new(), Pairs::new());
    for (key, value) in table {
        if own.iter().any(|known| known == key.get_ref()) {
            settings.insert(key.clone(), value.clone());
        } else if key.get_ref() == "kind" {
            // Read without its own keys, every broker is as simple as this one.
            let plain = Spanned::new(value.span(), DeValue::String("stdout".into()));
            common.insert(key.clone(), plain);
        } else if kinds.common.iter().any(|known| known == key.get_ref()) {
            common.insert(key.clone(), value.clone());
        } else {
            let known = [kinds.common.clone(), vec!["kind".to_owned()], own].concat();
            let message = format!("unknown field `{}`, expected one of {}", key.get_ref(), quoted(&known));
            return Err(Mistake::new(message, key.span().start));
        }
    }
    let missing = kind.span();
    read::<BrokerConfig>(common, missing.clone())?;
    settings_of(word, settings, missing)
}

/// Reads the keys that a kind has for itself. What is missing is told at `kind`, which asks for it.
fn settings_of(kind: &str, settings: Pairs<'_>, at: std::ops::Range<usize>) -> Result<(), Mistake> {
    match kind {
        "file" => read::<FileConfig>(settings, at),
        "http" => read::<HttpConfig>(settings, at),
        "nats" => read::<NatsConfig>(settings, at),
        "redis_streams" => read::<RedisStreamsConfig>(settings, at),
        "kafka" => read::<KafkaConfig>(settings, at),
        "rabbitmq" => read::<RabbitmqConfig>(settings, at),
        _ => read::<IgnoredAny>(settings, at),
    }
}

fn read<'a, T: serde::Deserialize<'a>>(pairs: Pairs<'a>, at: std::ops::Range<usize>) -> Result<(), Mistake> {
    let start = at.start;
    let table = ValueDeserializer::from(Spanned::new(at, DeValue::Table(pairs)));
    let mistake = |error: Error| Mistake::new(error.message(), error.span().map_or(start, |span| span.start));
    T::deserialize(table).map(drop).map_err(mistake)
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The keys there are, as the schema of the types tells them.
struct Kinds {
    schema: Value,
    common: Vec<String>,
}

impl Kinds {
    fn read() -> Self {
        let schema = schemars::schema_for!(BrokerConfig).to_value();
        let common = keys(&schema);
        Self { schema, common }
    }

    fn variants(&self) -> impl Iterator<Item = (&str, &Value)> {
        let variants = self.schema["oneOf"].as_array().into_iter().flatten();
        variants.filter_map(|variant| Some((variant["properties"]["kind"]["const"].as_str()?, variant)))
    }

    fn names(&self) -> Vec<String> {
        self.variants().map(|(name, _)| name.to_owned()).collect()
    }

    fn keys_of(&self, kind: &str) -> Option<Vec<String>> {
        let (_, variant) = self.variants().find(|(name, _)| *name == kind)?;
        Some(keys(variant).into_iter().filter(|key| key != "kind").collect())
    }
}

fn keys(schema: &Value) -> Vec<String> {
    schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

impl Mistake {
    fn new(message: impl Into<String>, at: usize) -> Self {
        Self { message: message.into(), at }
    }
}
