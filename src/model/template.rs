//! Room `model`: address templates: where on a broker an event goes, as `events.{context}.{event}`. May not know any
//! broker: which characters an address may have is the broker's to say.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::StoredEvent;

/// An address with places for what an event says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTemplate {
    text: String,
    parts: Vec<Part>,
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Stands as it is.
    Text(String),
    /// Differs from event to event.
    Field(AddressField),
}

/// What an address can take from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressField {
    /// `payments.PaymentCaptured.v1`: the type without our namespace.
    Type,
    /// `payments`.
    Context,
    /// `PaymentCaptured`.
    Event,
    /// `v1`.
    Version,
    /// The partner whose delivery it was made from.
    Partner,
    /// That partner's endpoint.
    Endpoint,
    /// From 0: which of the broker's shards the partition key belongs to.
    Shard,
}

/// Every field with its name.
const FIELDS: [(&str, AddressField); 7] = [
    ("type", AddressField::Type),
    ("context", AddressField::Context),
    ("event", AddressField::Event),
    ("version", AddressField::Version),
    ("partner", AddressField::Partner),
    ("endpoint", AddressField::Endpoint),
    ("shard", AddressField::Shard),
];

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is nothing to address.
    #[error("an address is empty")]
    Empty,
    /// A brace without its other half.
    #[error("a brace in {0:?} has no other half; fields stand as {{type}}")]
    Brace(String),
    /// No such field.
    #[error(
        "there is no field {{{0}}}; there are {{type}}, {{context}}, {{event}}, {{version}}, {{partner}}, {{endpoint}} and {{shard}}"
    )]
    Unknown(String),
}

impl AddressTemplate {
    /// Takes a template as the configuration writes it. Braces stand around fields and nowhere else.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let brace = || TemplateError::Brace(text.to_owned());
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(brace)?;
            let field = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
            parts.extend(literal(before).map_err(|()| brace())?);
            parts.push(Part::Field(field.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?));
            rest = behind;
        }
        parts.extend(literal(rest).map_err(|()| brace())?);
        if parts.is_empty() { Err(TemplateError::Empty) } else { Ok(Self { text: text.to_owned(), parts }) }
    }

    /// The template that is the type alone.
    pub fn of_type() -> Self {
        Self { text: "{type}".to_owned(), parts: vec![Part::Field(AddressField::Type)] }
    }

    /// Its pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has this field.
    pub fn has(&self, field: AddressField) -> bool {
        self.parts.contains(&Part::Field(field))
    }
}

fn literal(text: &str) -> Result<Option<Part>, ()> {
    if text.contains('}') {
        return Err(());
    }
    Ok((!text.is_empty()).then(|| Part::Text(text.to_owned())))
}

impl AddressField {
    /// What the event has there; nothing for [`AddressField::Shard`], which is the broker's.
    pub fn of(self, event: &StoredEvent) -> &str {
        let contract = event.contract();
        let mut words = contract.split('.');
        match self {
            Self::Type => contract,
            Self::Context => words.next().unwrap_or_default(),
            Self::Event => words.nth(1).unwrap_or_default(),
            Self::Version => words.nth(2).unwrap_or_default(),
            Self::Partner => &event.endpoint.partner,
            Self::Endpoint => &event.endpoint.endpoint,
            Self::Shard => "",
        }
    }
}

impl fmt::Display for AddressTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for AddressTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for AddressTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_stand_between_text() {
        let template = AddressTemplate::parse("events.{context}.{event}").expect("a template");
        let text = |text: &str| Part::Text(text.to_owned());
        let fields = [
            text("events."),
            Part::Field(AddressField::Context),
            text("."),
            Part::Field(AddressField::Event),
        ];
        assert_eq!(template.parts(), fields);
        assert!(template.has(AddressField::Event) && !template.has(AddressField::Shard));
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_there_is() {
        let error = AddressTemplate::parse("events.{contxt}").expect_err("refused").to_string();
        assert!(error.starts_with("there is no field {contxt}; there are {type}, {context}"), "{error}");
        for brace in ["{", "}", "a{type", "a}b", "{type}}", "{{type}}", "}{type}"] {
            assert!(AddressTemplate::parse(brace).is_err(), "{brace}");
        }
        assert_eq!(AddressTemplate::parse(""), Err(TemplateError::Empty));
        assert_eq!(AddressTemplate::parse("{type}"), Ok(AddressTemplate::of_type()));
    }

    proptest! {
        #[test]
        fn a_template_is_its_pieces_again(text in "([a-z.]{0,3}(\\{(type|event|shard)\\})?){1,5}") {
            prop_assume!(!text.is_empty());
            let template = AddressTemplate::parse(&text).expect("a template");
            let again: String = template.parts().iter().map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Field(field) => {
                    let name = FIELDS.iter().find(|(_, known)| known == field).expect("known").0;
                    format!("{{{name}}}")
                }
            }).collect();
            prop_assert_eq!(&again, &text);
            prop_assert_eq!(template.as_str(), text);
        }

        #[test]
        fn any_text_is_a_template_or_refused(text in "\\PC{0,20}") {
            let _ = AddressTemplate::parse(&text);
        }
    }
}
