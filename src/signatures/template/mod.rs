//! Room `signatures`: the message template: which bytes of a request are signed, written as
//! `"{header.webhook-id}.{timestamp}.{body}"`. `parts` are what stands in it, `parse` reads them, `render` fills them from a
//! request, `borders` sees to it that a message comes apart in one way only.

mod borders;
mod form;
mod parse;
mod parts;
mod render;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use borders::Piece;
pub(super) use form::{begins_another, fields_of};
pub use parts::JsonType;
use parts::{Border, Part, Slot, Source};

use crate::model::{FieldPath, PathError, PublicUrl};

/// A message template, checked when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    free: usize,
    url: Option<PublicUrl>,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace or bracket is not closed.
    #[error("a brace or bracket is opened and not closed")]
    Open,
    /// What stands in the braces is no part of a request.
    #[error("{0}")]
    Path(#[from] PathError),
    /// Nothing of this name can be done to a part.
    #[error(
        "{0:?} is no filter; there are base64, sha256, sha256_base64, crc32, json, lower and pair:<name>"
    )]
    Filter(String),
    /// A segment that may be left out has more or less than one field with text around it.
    #[error("in brackets stands one header or field, with text before and behind it")]
    Optional,
    /// A part that counts once stands twice.
    #[error("{{{0}}} stands in it twice")]
    Twice(&'static str),
    /// The free field is not part of the message, or has no business there.
    #[error("the free field is not part of the message, or the raw body is, which is free itself")]
    Free,
    /// A part that is a whole message has something beside it, or is filtered.
    #[error("this part is a whole message: nothing stands beside it, and nothing is done to it")]
    Whole,
    /// Two fields stand side by side.
    #[error("two fields stand side by side, and nothing says where one ends and the other begins")]
    Border,
    /// A segment that may be left out could be taken for what follows it, or what stands before it for the segment.
    #[error(
        "where the segment in brackets is left out, nothing says so: a text stands before it, another one than it begins with \
         behind it, and right of the free part a field with a text of its own comes first"
    )]
    OptionalBorder,
}

/// The bytes that are signed, in pieces, so that a body is never copied.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pieces: Vec<Piece<'a>>,
    /// Which piece is the secret; it is empty here.
    secret: Option<usize>,
}

impl Message<'_> {
    /// The pieces in their order; the secret, where it is one of them, is left out.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| piece.bytes.as_ref())
    }

    /// The pieces in their order with the secret in its place, for plain keyed hashes.
    pub fn pieces_with<'m>(&'m self, secret: &'m [u8]) -> impl Iterator<Item = &'m [u8]> {
        let piece = move |(number, piece): (usize, &'m [u8])| -> &'m [u8] {
            if self.secret == Some(number) { secret } else { piece }
        };
        self.pieces().enumerate().map(piece)
    }

    /// The whole without the secret, copied only where it is in several pieces.
    pub fn whole(&self) -> Cow<'_, [u8]> {
        match self.pieces.as_slice() {
            [one] => Cow::Borrowed(&one.bytes),
            _ => Cow::Owned(self.to_vec()),
        }
    }

    /// The whole without the secret, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().collect::<Vec<_>>().concat()
    }

    /// The same, of its own.
    pub(super) fn into_owned(self) -> Message<'static> {
        let pieces = self.pieces.into_iter().map(Piece::into_owned).collect();
        Message { pieces, secret: self.secret }
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { pieces: vec![Piece::raw(bytes)], secret: None }
    }
}

/// As it is written in a `[signature]` table.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |text: &str| text.replace('{', "{{").replace('[', "[[");
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(&escaped(text)),
            // It stands in `{url}` with what is before it.
            Part::Slot(slot) if slot.source == Source::Target => Ok(()),
            Part::Slot(slot) => write!(f, "{slot}"),
            Part::Optional { before, slot, after } => write!(f, "[{before}{slot}{after}]"),
        })
    }
}

impl Template {
    /// Parses a template. `free` names the one field that may contain the text around it; without it that is the raw body,
    /// or else the last field.
    pub fn parse(text: &str, free: Option<&FieldPath>) -> Result<Self, TemplateError> {
        let parts = parse::parts(text)?;
        let raw_body = Slot::of(Source::Body);
        for (slot, name) in [
            (&raw_body, "body"),
            (&Slot::of(Source::Timestamp), "timestamp"),
            (&Slot::of(Source::Secret), "secret"),
            (&Slot::of(Source::Form), "form"),
        ] {
            if parts.iter().filter(|part| part.slot() == Some(slot)).count() > 1 {
                return Err(TemplateError::Twice(name));
            }
        }
        let body = parts.iter().position(|part| part.slot().is_some_and(Slot::is_raw_body));
        let uncertain = |part: &Part| part.slot().is_some_and(|slot| slot.border() == Border::Uncertain);
        let last = parts.iter().rposition(uncertain).unwrap_or(0);
        let named = |path: &FieldPath| {
            parts
                .iter()
                .position(|part| part.slot().and_then(Slot::path) == Some(path))
                .filter(|_| body.is_none())
        };
        let free = free.map_or(Some(body.unwrap_or(last)), named).ok_or(TemplateError::Free)?;
        borders::check_parts(&parts, free)?;
        // What says all of a message by itself has nothing beside it.
        let whole = |slot: &Slot| matches!(slot.source, Source::PlivoV3 | Source::BodyWithSecret(_));
        let is_whole = |part: &Part| part.slot().is_some_and(|slot| whole(slot) && slot.filters.is_empty());
        if parts.iter().filter_map(Part::slot).any(whole) && !(parts.len() == 1 && is_whole(&parts[0])) {
            return Err(TemplateError::Whole);
        }
        Ok(Self { parts, free, url: None })
    }

    /// Whether all of the body is part of the message, as it is or in a form that stands for it.
    pub fn has_body(&self) -> bool {
        self.has_secret_in_body() || self.slots().any(|slot| slot.source == Source::Body && slot.is_binding())
    }

    /// Whether the timestamp is part of the message.
    pub fn has_timestamp(&self) -> bool {
        self.has(&Source::Timestamp)
    }

    /// Whether the secret is part of the message.
    pub fn has_secret(&self) -> bool {
        self.has(&Source::Secret) || self.has_secret_in_body()
    }

    /// Whether the body is part of the message with the secret in it, in the place of the signature.
    pub fn has_secret_in_body(&self) -> bool {
        self.slots().any(|slot| matches!(slot.source, Source::BodyWithSecret(_)))
    }

    /// Whether the form's fields are part of the message.
    pub fn has_form(&self) -> bool {
        self.slots().any(|slot| matches!(slot.source, Source::Form | Source::Pairs(_) | Source::PlivoV3))
    }

    /// Whether a CRC of the body is part of the message: it tells one body from another, and vouches for none.
    pub fn has_checksum(&self) -> bool {
        self.slots().any(|slot| slot.source == Source::Body && !slot.is_binding())
    }

    /// Whether a signed list says which headers are part of the message.
    pub fn has_signed_headers(&self) -> bool {
        self.has(&Source::SignedHeaders)
    }

    /// Whether TrueLayer's token says which headers are part of the message.
    pub fn has_tl_headers(&self) -> bool {
        self.has(&Source::TlHeaders)
    }

    /// Whether the endpoint's public address is part of the message.
    pub fn has_url(&self) -> bool {
        self.has(&Source::Base) || self.has(&Source::PlivoV3)
    }

    /// Whether the query is part of the message.
    pub fn has_query(&self) -> bool {
        [Source::Target, Source::PathAndQuery, Source::RawQuery].iter().any(|source| self.has(source))
    }

    /// The headers and fields that are part of the message, whole.
    pub fn fields(&self) -> impl Iterator<Item = &FieldPath> {
        self.slots().filter(|slot| slot.is_binding()).filter_map(Slot::path)
    }

    /// The headers and fields that the message is made of, whole or in part.
    pub fn reads(&self) -> impl Iterator<Item = &FieldPath> {
        self.slots().filter_map(Slot::path)
    }

    /// What is part of the message, in words: `body`, `timestamp`, `method`, `url`, and paths.
    pub fn covers(&self) -> Vec<String> {
        self.slots().filter_map(Slot::name).collect()
    }

    /// The template for an endpoint whose public address is this.
    #[must_use]
    pub fn at(self, url: Option<PublicUrl>) -> Self {
        Self { url, ..self }
    }

    /// The public address it is for.
    pub fn url(&self) -> Option<&PublicUrl> {
        self.url.as_ref()
    }

    /// The template whose form is without these fields, as those that hold the signature.
    #[must_use]
    pub fn without(mut self, names: &[String]) -> Self {
        for part in &mut self.parts {
            if let Part::Slot(Slot { source: Source::Pairs(without), .. }) = part {
                without
                    .extend(names.iter().filter(|name| !without.contains(name)).cloned().collect::<Vec<_>>());
            }
        }
        self
    }

    fn has(&self, source: &Source) -> bool {
        self.slots().any(|slot| slot.source == *source)
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.parts.iter().filter_map(Part::slot)
    }
}
