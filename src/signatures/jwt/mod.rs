//! Room `signatures`: tokens that vouch for a request (RFC 7519, RFC 7515). Four kinds: a claim repeats a digest of the body;
//! the token only says who sends; the body is the token; or the signature is detached and its payload is a message made of
//! the request. Which algorithms count is the scheme's to say, never the token's.

mod to_sign;

pub use to_sign::UnsignedToken;

use super::{
    JwsAlgorithm, Place, SignatureError, View,
    jose::{
        algorithm::Material,
        claims::{Bound, Claim, Claims},
        compact::{Compact, MAX_TOKEN_BYTES},
    },
    template::Template,
};
use vrl::value::Value;

use crate::model::{FieldPath, Timestamp};

/// A scheme by tokens.
#[derive(Clone, Debug)]
pub(super) struct Jwt {
    /// Where the token stands.
    pub(super) at: TokenAt,
    /// The algorithms that count: all MACs, or none.
    pub(super) algorithms: Vec<JwsAlgorithm>,
    /// What the token is about.
    pub(super) about: About,
    /// Where the sender thinks we are: scheme and authority, with what stands before the path.
    pub(super) public_url: Option<String>,
    /// The address of the set of keys, which a token may repeat.
    pub(super) key_set: Option<String>,
}

/// Where a token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenAt {
    /// In a header or a field.
    Place(Box<Place>),
    /// The body is the token.
    Body,
    /// In a field of the body: a text, or an array with one.
    Field(FieldPath),
}

/// What a token is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum About {
    /// Its payload are claims.
    Claims(Claims),
    /// It is detached from this message.
    Message(Template),
}

impl Jwt {
    /// Whether a claim has our own address in it.
    pub(super) fn signs_url(&self) -> bool {
        let of_address =
            |(_, claim): &(String, Claim)| matches!(claim, Claim::Bound(Bound::Url | Bound::UrlSha256));
        matches!(&self.about, About::Claims(claims) if claims.rules.iter().any(of_address))
    }

    /// Whether a token vouches for the body, and not only for the sender.
    pub(super) fn binds_body(&self) -> bool {
        let bound = |(_, claim): &(String, Claim)| matches!(claim, Claim::Bound(bound) if bound.is_of_body());
        self.at == TokenAt::Body
            || match &self.about {
                About::Claims(claims) => claims.rules.iter().any(bound),
                About::Message(message) => message.has_body(),
            }
    }

    /// Whether the body is the token.
    pub(super) fn is_body(&self) -> bool {
        self.at == TokenAt::Body
    }

    /// Whether the token stands in a field of the body.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.at, TokenAt::Field(_))
    }

    /// What a token covers, in words.
    pub(super) fn covers(&self) -> Vec<String> {
        match &self.about {
            About::Message(message) => message.covers(),
            About::Claims(_) if self.binds_body() => vec!["body".to_owned()],
            About::Claims(claims) => claims.rules.iter().filter_map(|(_, claim)| covered(claim)).collect(),
        }
    }

    /// The algorithm and the key's id that the token names, if it is one that could count.
    pub(super) fn named(&self, view: &View<'_>) -> Result<(JwsAlgorithm, Option<String>), SignatureError> {
        let text = self.text(view)?;
        let token = self.parse(&text)?;
        Ok((self.algorithm(&token)?, token.key_id))
    }

    /// The verdict: the place among `keys` of the one that made the token.
    pub(super) fn judge(
        &self,
        keys: &[Material],
        view: &View<'_>,
        now: Timestamp,
    ) -> Result<usize, SignatureError> {
        let text = self.text(view)?;
        let token = self.parse(&text)?;
        let algorithm = self.algorithm(&token)?;
        let detached = match &self.about {
            About::Claims(_) => None,
            About::Message(message) => Some(message.render(view, None)?.to_vec()),
        };
        let signed = token.signed(detached.as_deref());
        // Every key is tried, whatever was found before.
        let held: Vec<bool> =
            keys.iter().map(|key| algorithm.verifies(key, &signed, &token.signature)).collect();
        let key = held.iter().position(|held| *held).ok_or(SignatureError::Mismatch)?;
        if let (About::Claims(claims), Some(payload)) = (&self.about, &token.payload) {
            claims.check(payload, view.request, self.public_url.as_deref(), now)?;
        }
        Ok(key)
    }

    pub(super) fn text(&self, view: &View<'_>) -> Result<String, SignatureError> {
        let text = match &self.at {
            TokenAt::Field(path) => sole_text(view, path)?,
            TokenAt::Body => {
                let text = std::str::from_utf8(&view.request.body);
                return text
                    .map(str::to_owned)
                    .map_err(|_| SignatureError::Malformed("the body is no token"));
            }
            TokenAt::Place(place) => view.sole_piece(place)?,
        };
        if text.len() > MAX_TOKEN_BYTES {
            return Err(SignatureError::Malformed("the token is longer than 16 KiB"));
        }
        Ok(text)
    }

    pub(super) fn parse<'t>(&self, text: &'t str) -> Result<Compact<'t>, SignatureError> {
        Compact::parse(text, matches!(self.about, About::Message(_)), self.key_set.as_deref())
    }

    pub(super) fn algorithm(&self, token: &Compact<'_>) -> Result<JwsAlgorithm, SignatureError> {
        let known = self.algorithms.iter().find(|known| known.name() == token.algorithm);
        known.copied().ok_or(SignatureError::Malformed("the token's algorithm is not one of the scheme's"))
    }
}

/// The text at a path, or the only one of the array that stands there.
fn sole_text(view: &View<'_>, path: &FieldPath) -> Result<String, SignatureError> {
    let found = view.body.get(path.value_path()).ok_or(SignatureError::Missing)?;
    let text = match found {
        Value::Array(tokens) => match tokens.as_slice() {
            [] => return Err(SignatureError::Missing),
            [one] => one,
            _ => return Err(SignatureError::Duplicated),
        },
        one => one,
    };
    let text = text.as_bytes().and_then(|text| std::str::from_utf8(text).ok());
    text.map(str::to_owned).ok_or(SignatureError::Malformed("the token is no text"))
}

fn covered(claim: &Claim) -> Option<String> {
    match claim {
        Claim::Bound(Bound::Url | Bound::UrlSha256) => Some("url".to_owned()),
        Claim::Bound(Bound::QueryStringHash) => Some("method, path and query".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
