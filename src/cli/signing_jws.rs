//! Room `cli`: the algorithms of tokens and of HTTP message signatures (RFC 7518, RFC 8037), of which most are among ours.

use aws_lc_rs::signature::{RSA_PKCS1_SHA384, RSA_PSS_SHA256, RSA_PSS_SHA384};

use super::signing_key::{SigningKey, rsa};
use crate::signatures::{Algorithm, JwsAlgorithm, Message};

impl SigningKey<'_> {
    /// The signature of a text; `None` when the key is of another kind.
    pub fn sign_jws(&self, algorithm: JwsAlgorithm, text: &[u8]) -> Option<Vec<u8>> {
        let ours = match (algorithm, self) {
            (JwsAlgorithm::RS384, Self::Private { der, .. }) => return rsa(&RSA_PKCS1_SHA384, der, text),
            (JwsAlgorithm::PS256, Self::Private { der, .. }) => return rsa(&RSA_PSS_SHA256, der, text),
            (JwsAlgorithm::PS384, Self::Private { der, .. }) => return rsa(&RSA_PSS_SHA384, der, text),
            (JwsAlgorithm::RS384 | JwsAlgorithm::PS256 | JwsAlgorithm::PS384, Self::Secret(_)) => {
                return None;
            }
            (JwsAlgorithm::HS256, _) => Algorithm::HmacSha256,
            (JwsAlgorithm::HS384, _) => Algorithm::HmacSha384,
            (JwsAlgorithm::HS512, _) => Algorithm::HmacSha512,
            (JwsAlgorithm::RS256, _) => Algorithm::RsaPkcs1Sha256,
            (JwsAlgorithm::RS512, _) => Algorithm::RsaPkcs1Sha512,
            (JwsAlgorithm::PS512, _) => Algorithm::RsaPssSha512,
            (JwsAlgorithm::ES256, _) => Algorithm::EcdsaP256Sha256Raw,
            (JwsAlgorithm::ES384, _) => Algorithm::EcdsaP384Sha384Raw,
            (JwsAlgorithm::ES512, _) => Algorithm::EcdsaP521Sha512Raw,
            (JwsAlgorithm::EdDsa, _) => Algorithm::Ed25519,
        };
        self.sign(ours, &Message::from(text))
    }
}
