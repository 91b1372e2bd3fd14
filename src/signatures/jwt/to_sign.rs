//! Room `signatures`: what a genuine token of a request says, for tools that sign as its sender would. The verifier never
//! makes one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value as Json, json};

use super::{About, Jwt, TokenAt};
use crate::{
    model::{RawRequest, Timestamp},
    signatures::{
        JwsAlgorithm, Place, Scheme, SignatureError, View,
        jose::claims::{Claim, Claims, OR},
        published::KeyNamed,
        special::Special,
        truelayer,
    },
};

/// How long a token holds, in seconds.
const LIFE: i64 = 300;

/// A token that is not signed yet.
#[derive(Clone, Debug)]
pub struct UnsignedToken {
    /// Where it stands; `None` when it is the body.
    pub at: Option<Place>,
    /// How it is signed.
    pub algorithm: JwsAlgorithm,
    /// What it says of itself, in JSON; it is signed too.
    pub header: String,
    /// What is signed behind its header.
    pub payload: Vec<u8>,
    /// The payload is not sent with it.
    pub detached: bool,
}

impl Scheme {
    /// What a token of this request says, where the scheme is one of tokens. It names its key where the sender would.
    pub fn token_of(
        &self,
        request: &RawRequest,
        key_id: Option<&str>,
        now: Timestamp,
    ) -> Option<Result<UnsignedToken, SignatureError>> {
        let Some(Special::Jwt(jwt)) = &self.special else { return None };
        let key_id = key_id.filter(|_| self.key_named == Some(KeyNamed::InToken));
        Some(jwt.unsigned(request, key_id, now))
    }
}

impl Jwt {
    fn unsigned(
        &self,
        request: &RawRequest,
        key_id: Option<&str>,
        now: Timestamp,
    ) -> Result<UnsignedToken, SignatureError> {
        let algorithm = *self.algorithms.first().ok_or(SignatureError::NoKey)?;
        let header = self.header(algorithm, key_id, request);
        let payload = match &self.about {
            About::Message(message) => {
                let body = vrl::value::Value::Null;
                // Which headers are signed may stand in the token's own, so the message is that of the request with it.
                let listing = message.has_tl_headers().then(|| truelayer::bearing(request, &header));
                let request = listing.as_ref().unwrap_or(request);
                message.render(&View { request, body: &body, item: &body }, None)?.to_vec()
            }
            About::Claims(claims) => {
                let base = if self.is_body() { said(&request.body) } else { Map::new() };
                Json::Object(self.claims(claims, base, request, now)?).to_string().into_bytes()
            }
        };
        let at = match &self.at {
            TokenAt::Place(place) => Some(place.as_ref().clone()),
            TokenAt::Field(path) => Some(Place::whole(path.clone())),
            TokenAt::Body => None,
        };
        let detached = matches!(self.about, About::Message(_));
        Ok(UnsignedToken { at, algorithm, header, payload, detached })
    }

    /// What the token says of itself.
    fn header(&self, algorithm: JwsAlgorithm, key_id: Option<&str>, request: &RawRequest) -> String {
        let mut said = Map::from_iter([("alg".to_owned(), json!(algorithm.name()))]);
        said.extend(key_id.map(|id| ("kid".to_owned(), json!(id))));
        match &self.about {
            About::Message(message) if message.has_tl_headers() => {
                let own = truelayer::said_of(request).map(|(name, text)| (name.to_owned(), json!(text)));
                said.extend(own);
                said.extend(self.key_set.iter().map(|url| ("jku".to_owned(), json!(url))));
            }
            _ => drop(said.insert("typ".to_owned(), json!("JWT"))),
        }
        Json::Object(said).to_string()
    }

    fn claims(
        &self,
        claims: &Claims,
        mut said: Map<String, Json>,
        request: &RawRequest,
        now: Timestamp,
    ) -> Result<Map<String, Json>, SignatureError> {
        for (name, claim) in &claims.rules {
            let value = match claim {
                Claim::Text(text) => json!(text),
                Claim::Truth(truth) => json!(truth),
                Claim::Integer(number) => json!(number),
                Claim::Bound(bound) => json!(bound.of(request, self.public_url.as_deref())?),
            };
            // Of names that stand for one another the first.
            let name = name.split(OR).next().unwrap_or_default();
            said.insert(name.to_owned(), value);
        }
        let seconds = now.seconds();
        said.extend([("iat".to_owned(), json!(seconds)), ("exp".to_owned(), json!(seconds + LIFE))]);
        Ok(said)
    }
}

/// What a body has to say that is to become a token, or is one already.
fn said(body: &[u8]) -> Map<String, Json> {
    let of_token = || URL_SAFE_NO_PAD.decode(body.split(|byte| *byte == b'.').nth(1)?).ok();
    let json = serde_json::from_slice(body).ok();
    json.or_else(|| serde_json::from_slice(&of_token()?).ok()).unwrap_or_default()
}
