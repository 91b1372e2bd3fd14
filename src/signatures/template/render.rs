//! Room `signatures`: a message filled from a request.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{
    Message, Template,
    borders::{self, Piece, Side},
    form,
    parts::{Filter, JsonType, Part, Slot, Source},
};
use crate::{
    model::{FieldPath, Root},
    signatures::{SignatureError, View, plivo, signed_headers, truelayer, unisender, url::Url},
};

/// The methods that webhooks come with. None begins or ends with another, so that a method needs no text beside it.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl Template {
    /// The bytes that are signed. A header must be there; a field of the body that is absent counts as empty. A message that
    /// could come apart in another way is an error.
    pub fn render<'a>(
        &'a self,
        view: &View<'a>,
        timestamp: Option<Cow<'a, str>>,
    ) -> Result<Message<'a>, SignatureError> {
        self.render_at(view, timestamp, None)
    }

    /// The bytes that are signed by a sender who spells the address so.
    pub(in crate::signatures) fn render_at<'a>(
        &'a self,
        view: &View<'a>,
        timestamp: Option<Cow<'a, str>>,
        url: Option<&Url>,
    ) -> Result<Message<'a>, SignatureError> {
        if let [Part::Slot(Slot { source: Source::BodyWithSecret(field), .. })] = self.parts.as_slice() {
            let [before, after] = unisender::around(view, field)?;
            let pieces = [before, &[], after].map(Piece::raw).to_vec();
            return Ok(Message { pieces, secret: Some(1) });
        }
        let filling = Filling { template: self, view, timestamp, url };
        let mut pieces = Vec::with_capacity(self.parts.len());
        let mut secret = None;
        for (number, part) in self.parts.iter().enumerate() {
            if part.slot().is_some_and(|slot| slot.source == Source::Secret) {
                secret = Some(pieces.len());
            }
            filling.part(part, Side::of(number, self.free), &mut pieces)?;
        }
        borders::check(&pieces)?;
        if let Some(segment) = self.parts[self.free..].iter().skip(1).find(|part| part.is_optional()) {
            borders::check_right(&pieces, segment.beginning().unwrap_or_default())?;
        }
        Ok(Message { pieces, secret })
    }
}

/// What a message is filled from.
struct Filling<'f, 'a> {
    template: &'a Template,
    view: &'f View<'a>,
    timestamp: Option<Cow<'a, str>>,
    url: Option<&'f Url>,
}

impl<'a> Filling<'_, 'a> {
    fn part(&self, part: &'a Part, side: Side, pieces: &mut Vec<Piece<'a>>) -> Result<(), SignatureError> {
        match part {
            Part::Literal(text) => pieces.push(Piece::text(text, side)),
            Part::Slot(slot) => pieces.push(Piece::slot(slot, side, self.slot(slot)?)),
            Part::Optional { before, slot, after } => {
                let Source::Field(path, json) = &slot.source else { return Ok(()) };
                let Some(bytes) = self.view.bytes_at(path, *json)? else { return Ok(()) };
                let bytes = filtered(bytes, &slot.filters)?;
                // Its own texts are borders on both sides, whichever side of the free part it stands on.
                pieces.extend([
                    Piece::text(before, side),
                    Piece::slot(slot, side, bytes),
                    Piece::text(after, side),
                ]);
            }
        }
        Ok(())
    }

    fn slot(&self, slot: &Slot) -> Result<Cow<'a, [u8]>, SignatureError> {
        filtered(self.source(&slot.source)?, &slot.filters)
    }

    fn source(&self, source: &Source) -> Result<Cow<'a, [u8]>, SignatureError> {
        let request = self.view.request;
        let owned = |text: &str| Ok(Cow::Owned(text.as_bytes().to_vec()));
        match source {
            Source::Body | Source::BodyWithSecret(_) => Ok(Cow::Borrowed(request.body.as_ref())),
            Source::Timestamp => self.timestamp.clone().map(into_bytes).ok_or(SignatureError::Missing),
            Source::Field(path, json) => field(path, *json, self.view),
            Source::Method if METHODS.contains(&request.method.as_str()) => {
                Ok(Cow::Borrowed(request.method.as_bytes()))
            }
            Source::Method => Err(SignatureError::Malformed("the method is none that webhooks come with")),
            Source::Base => self.base(),
            Source::Target => owned(self.target()?),
            Source::PathAndQuery => owned(&format!("{}{}", self.prefix(), self.target()?)),
            Source::Path => owned(&format!("{}{}", self.prefix(), path_of(self.target()?))),
            Source::RawQuery => Ok(Cow::Borrowed(request.query().as_bytes())),
            Source::Secret => Ok(Cow::Borrowed(&[])),
            Source::Form => Ok(Cow::Owned(form::glued(self.view)?)),
            Source::Pairs(without) => Ok(Cow::Owned(form::pairs(self.view, without)?)),
            Source::SignedHeaders => Ok(Cow::Owned(signed_headers::render(&request.headers)?)),
            Source::TlHeaders => Ok(Cow::Owned(truelayer::render(self.view)?)),
            Source::PlivoV3 => Ok(Cow::Owned(plivo::render(self.view, &*self.url()?)?)),
        }
    }

    fn url(&self) -> Result<Cow<'_, Url>, SignatureError> {
        if let Some(url) = self.url {
            return Ok(Cow::Borrowed(url));
        }
        let configured = self.template.url.as_ref().ok_or(SignatureError::NoKey)?;
        Ok(Cow::Owned(Url { base: configured.as_str().to_owned(), target: self.view.request.target.clone() }))
    }

    fn base(&self) -> Result<Cow<'a, [u8]>, SignatureError> {
        if let Some(url) = self.url {
            return Ok(Cow::Owned(url.base.as_bytes().to_vec()));
        }
        let configured = self.template.url.as_ref().ok_or(SignatureError::NoKey)?;
        Ok(Cow::Borrowed(configured.as_str().as_bytes()))
    }

    /// Path and query; a target in another form than origin-form would have no border to what stands before it.
    fn target(&self) -> Result<&str, SignatureError> {
        let target = self.url.map_or(self.view.request.target.as_str(), |url| url.target.as_str());
        if target.starts_with('/') {
            return Ok(target);
        }
        Err(SignatureError::Malformed("the target is no path"))
    }

    fn prefix(&self) -> &str {
        self.template.url.as_ref().map_or("", |url| url.path())
    }
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn field<'a>(path: &FieldPath, json: JsonType, view: &View<'a>) -> Result<Cow<'a, [u8]>, SignatureError> {
    match view.bytes_at(path, json)? {
        Some(value) => Ok(value),
        None if path.root() == Root::Header => Err(SignatureError::Missing),
        None => Ok(Cow::Borrowed(&[])),
    }
}

fn filtered<'a>(bytes: Cow<'a, [u8]>, filters: &[Filter]) -> Result<Cow<'a, [u8]>, SignatureError> {
    filters.iter().try_fold(bytes, |bytes, filter| Ok(Cow::Owned(apply(filter, &bytes)?)))
}

fn apply(filter: &Filter, bytes: &[u8]) -> Result<Vec<u8>, SignatureError> {
    Ok(match filter {
        Filter::Base64 => STANDARD.encode(bytes).into_bytes(),
        Filter::Sha256 => hex::encode(Sha256::digest(bytes)).into_bytes(),
        Filter::Sha256Base64 => STANDARD.encode(Sha256::digest(bytes)).into_bytes(),
        Filter::Crc32 => crc32fast::hash(bytes).to_string().into_bytes(),
        Filter::Json => json_string(bytes)?.into_bytes(),
        Filter::Lower => bytes.to_ascii_lowercase(),
        Filter::Pair(name) => pair(text(bytes)?, name)?.as_bytes().to_vec(),
    })
}

fn text(bytes: &[u8]) -> Result<&str, SignatureError> {
    std::str::from_utf8(bytes).map_err(|_| SignatureError::Malformed("what is signed as text is no UTF-8"))
}

fn json_string(bytes: &[u8]) -> Result<String, SignatureError> {
    let text = text(bytes)?;
    serde_json::to_string(text).map_err(|_| SignatureError::Malformed("what is signed as text is no UTF-8"))
}

/// The text of the one piece with this name, among pieces such as `sign=…, env=…`.
fn pair<'t>(text: &'t str, name: &str) -> Result<&'t str, SignatureError> {
    let named = |piece: &'t str| piece.trim_matches([' ', '\t']).split_once('=');
    let mut found = text.split(',').filter_map(named).filter(|(known, _)| *known == name);
    let (_, value) = found.next().ok_or(SignatureError::Missing)?;
    if found.next().is_some() { Err(SignatureError::Duplicated) } else { Ok(value) }
}
