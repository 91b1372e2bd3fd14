//! Room `signatures`: schemes that are standards of their own, with a way of their own to show a signature: tokens, HTTP
//! message signatures, Amazon SNS. What they share with the others are keys, verdicts and what becomes of them.

use super::{
    Algorithm, JwsAlgorithm, Key, Scheme, SignatureError, View,
    evidence::read_body,
    http_message::HttpMessage,
    jose::algorithm::{KeyKind, Material},
    jwt::{About, Jwt},
    key,
    sns::Sns,
};
use crate::model::{PublicUrl, RawRequest, Timestamp, Verification};

/// A scheme of its own kind.
#[derive(Clone, Debug)]
pub(super) enum Special {
    /// A token.
    Jwt(Box<Jwt>),
    /// An HTTP message signature.
    HttpMessage(HttpMessage),
    /// A message of Amazon SNS.
    Sns(Sns),
}

impl Special {
    /// The same at an endpoint whose public address is this, unless it says so itself.
    pub(super) fn at(mut self, url: Option<&PublicUrl>) -> Self {
        let known = match &mut self {
            Self::Jwt(jwt) => {
                if let About::Message(message) = &mut jwt.about {
                    *message = message.clone().at(url.cloned());
                }
                &mut jwt.public_url
            }
            Self::HttpMessage(message) => &mut message.public_url,
            Self::Sns(_) => return self,
        };
        if known.is_none() {
            *known = url.map(|url| url.as_str().to_owned());
        }
        self
    }

    /// Whether the endpoint's public address is signed and nobody said what it is.
    pub(super) fn lacks_url(&self) -> bool {
        match self {
            Self::Jwt(jwt) => jwt.public_url.is_none() && jwt.signs_url(),
            Self::HttpMessage(message) => message.public_url.is_none() && message.signs_url(),
            Self::Sns(_) => false,
        }
    }

    /// Whether a signature vouches for the body.
    pub(super) fn binds_body(&self) -> bool {
        match self {
            Self::Jwt(jwt) => jwt.binds_body(),
            Self::HttpMessage(message) => message.binds_body(),
            Self::Sns(_) => false,
        }
    }

    /// What a signature covers, in words.
    pub(super) fn covers(&self) -> Vec<String> {
        match self {
            Self::Jwt(jwt) => jwt.covers(),
            Self::HttpMessage(message) => message.covers(),
            Self::Sns(_) => Sns::covers(),
        }
    }

    /// Whether the signature stands in a field of the body.
    pub(super) fn reads_body(&self) -> bool {
        match self {
            Self::Sns(_) => true,
            Self::Jwt(jwt) => jwt.is_in_body(),
            Self::HttpMessage(_) => false,
        }
    }

    /// The algorithm as which the endpoint's own keys are read.
    pub(super) fn key_algorithm(&self) -> Algorithm {
        match self {
            Self::Jwt(jwt) => jwt.algorithms.first().map_or(Algorithm::HmacSha256, |first| parsed_as(*first)),
            Self::HttpMessage(message) => parsed_as(message.algorithm),
            Self::Sns(_) => Algorithm::RsaPkcs1Sha256,
        }
    }

    /// The verdict on a request.
    pub(super) fn judge(
        &self,
        scheme: &Scheme,
        keys: &[Key],
        request: &RawRequest,
        now: Timestamp,
    ) -> Result<Verification, SignatureError> {
        let body = read_body(scheme, request)?;
        let view = View { request, body: &body, item: &body };
        let keys: Vec<&Key> = keys.iter().filter(|key| key.counts_at(now)).collect();
        let material = keys.iter().map(|key| material(key)).collect::<Option<Vec<_>>>();
        let material = material.ok_or(SignatureError::NoKey)?;
        let place = match self {
            Self::Jwt(jwt) => jwt.judge(&material, &view, now),
            Self::HttpMessage(message) => {
                let named: Vec<_> = keys.iter().map(|key| &*key.id).zip(material).collect();
                message.judge(&named, request, now)
            }
            Self::Sns(sns) => sns.judge(&material, &view),
        }?;
        let key = keys.get(place).ok_or(SignatureError::NoKey)?;
        Ok(Verification { assurance: scheme.assurance(), secret_id: Some(key.id.clone()) })
    }
}

pub(super) fn material(key: &Key) -> Option<Material> {
    Some(match key.material() {
        key::Material::Secret(secret) => Material::Secret(secret.clone()),
        key::Material::Public(public) => Material::Public(public.to_spki()?),
        key::Material::Missing => return None,
    })
}

/// The algorithm as which a key of a token's algorithm is read: its kind is what counts.
pub(super) fn parsed_as(algorithm: JwsAlgorithm) -> Algorithm {
    match algorithm.kind() {
        KeyKind::Secret => Algorithm::HmacSha256,
        KeyKind::Rsa => Algorithm::RsaPkcs1Sha256,
        KeyKind::P256 => Algorithm::EcdsaP256Sha256Raw,
        KeyKind::P384 => Algorithm::EcdsaP384Sha384Raw,
        KeyKind::P521 => Algorithm::EcdsaP521Sha512Raw,
        KeyKind::Ed25519 => Algorithm::Ed25519,
    }
}
