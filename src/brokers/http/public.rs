//! Room `brokers`: which addresses an HTTP receiver may have. A name is resolved once, and what was looked at is what is
//! connected to: a second resolution could say something else.

use std::{error::Error, io, net::SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::model::is_public;

/// A receiver that is not public, and was not allowed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0} is no public address; allow_private_addresses = true allows it")]
pub(super) struct NotPublic(pub(super) String);

/// Resolves by the system and hands on only what may be connected to.
#[derive(Debug)]
pub(super) struct PublicOnly {
    pub(super) allow_private: bool,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = addresses(name.as_str(), 0, allow_private).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Where a name leads, as far as we may go there.
pub(super) async fn addresses(
    host: &str,
    port: u16,
    allow_private: bool,
) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    }
    let allowed = |address: &SocketAddr| allow_private || is_public(address.ip());
    let may: Vec<_> = found.into_iter().filter(allowed).collect();
    if may.is_empty() { Err(NotPublic(host.to_owned()).into()) } else { Ok(may) }
}
