//! Room `keys`: where a host is. A name is resolved once, and what was looked at is what is connected to: a second
//! resolution could say something else.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::{config::KeysConfig, model::is_public};

/// A host that has an address which is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has an address that is not public")]
pub(super) struct NotPublic(String);

/// Resolves by the system, and hands on public addresses only; hosts of `keys.connect_to` are where that says.
#[derive(Clone, Debug)]
pub(super) struct PublicHosts {
    known: Arc<HashMap<String, SocketAddr>>,
}

impl PublicHosts {
    pub(super) fn new(config: &KeysConfig) -> Self {
        let known = config.connections().map(|(host, address)| (host.to_owned(), address));
        Self { known: Arc::new(known.collect()) }
    }
}

impl Resolve for PublicHosts {
    fn resolve(&self, name: Name) -> Resolving {
        let known = self.known.get(name.as_str()).copied();
        Box::pin(async move {
            let found = match known {
                Some(address) => vec![address],
                None => public(name.as_str(), tokio::net::lookup_host((name.as_str(), 0)).await?.collect())?,
            };
            if found.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The addresses, if all are public: a name that mixes the world's with ours is up to something.
fn public(host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
    if found.iter().all(|address| is_public(address.ip())) {
        Ok(found)
    } else {
        Err(NotPublic(host.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn found(addresses: &[&str]) -> bool {
        let addresses = addresses.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 0));
        public("a.example.com", addresses.collect()).is_ok()
    }

    #[test]
    fn one_private_address_among_public_ones_is_enough_to_refuse() {
        assert!(found(&["1.1.1.1", "2606:4700::1111"]));
        for private in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:a00:1::",
        ] {
            assert!(
                !found(&[private]) && !found(&["1.1.1.1", private]) && !found(&[private, "1.1.1.1"]),
                "{private}"
            );
        }
    }
    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_unless_it_is_known() {
        let resolve = |connect_to: &[&str]| {
            let connect_to = connect_to.iter().map(|text| (*text).to_owned()).collect();
            let hosts = PublicHosts::new(&KeysConfig { connect_to, ..KeysConfig::default() });
            hosts.resolve(Name::from_str("localhost").expect("a name"))
        };
        let refused = resolve(&[]).await.err().expect("must be refused");
        assert!(refused.is::<NotPublic>(), "{refused}");
        assert!(resolve(&["other.example.com=127.0.0.1:8443"]).await.is_err());
    }
}
