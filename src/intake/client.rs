//! Room `intake`: who is at the other end: the peer of the connection, or whom a trusted proxy says it speaks for. What a
//! header says is believed of a trusted peer only, and read from its end: everything before what the nearest proxy wrote
//! may be a stranger's.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header::FORWARDED};
use ipnet::IpNet;

use super::Refusal;
use crate::{
    config::{ClientAddressHeader, IntakeConfig},
    partners::Endpoint,
};

/// So many proxies may stand in a row.
const MAX_HOPS: usize = 32;
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Who is at the other end of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// The address; `None` when a trusted proxy names none that can be read.
    pub(super) address: Option<IpAddr>,
    /// Whether the peer of the connection is a trusted proxy, so that its headers are believed.
    pub(super) by_trusted_proxy: bool,
}

impl Client {
    /// Of a request that came over a connection with this peer.
    pub(super) fn of(peer: Option<IpAddr>, headers: &HeaderMap, config: &IntakeConfig) -> Self {
        let peer = peer.map(|peer| peer.to_canonical());
        let is_trusted = |address: IpAddr| config.trusted_proxies.iter().any(|net| net.contains(&address));
        if !peer.is_some_and(is_trusted) {
            return Self { address: peer, by_trusted_proxy: false };
        }
        let mut nearest = peer;
        for hop in hops(headers, config.client_address_header).into_iter().rev().take(MAX_HOPS) {
            nearest = hop;
            if !hop.is_some_and(is_trusted) {
                break;
            }
        }
        Self { address: nearest, by_trusted_proxy: true }
    }

    /// Refuses whoever comes from elsewhere than an endpoint allows. Beside a signature, never instead of one.
    pub(super) fn admit(self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let allowed = &endpoint.allow_from;
        let within = |address: IpAddr| allowed.iter().any(|net: &IpNet| net.contains(&address));
        if allowed.is_empty() || self.address.is_some_and(within) {
            return Ok(());
        }
        Err(Refusal::AddressNotAllowed { address: self.address })
    }

    /// Refuses whoever does not show the client certificate that an endpoint wants, as a trusted proxy checked it.
    pub(super) fn admit_certificate(self, endpoint: &Endpoint, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(wanted) = &endpoint.client_certificate else { return Ok(()) };
        let mut shown = headers.get_all(wanted.header.as_str()).iter();
        let one = shown.next().filter(|_| shown.next().is_none());
        let text = one.and_then(|value| value.to_str().ok()).filter(|_| self.by_trusted_proxy);
        if text.is_some_and(|text| wanted.one_of.iter().any(|known| known == text)) {
            return Ok(());
        }
        Err(Refusal::ClientCertificate { header: wanted.header.clone(), trusted: self.by_trusted_proxy })
    }
}

/// The addresses that proxies wrote, the client's first; `None` where one is no address.
fn hops(headers: &HeaderMap, header: ClientAddressHeader) -> Vec<Option<IpAddr>> {
    let name = match header {
        ClientAddressHeader::XForwardedFor => X_FORWARDED_FOR,
        ClientAddressHeader::Forwarded => FORWARDED.as_str(),
    };
    let mut hops = Vec::new();
    for line in headers.get_all(name) {
        match (line.to_str(), header) {
            (Err(_), _) => hops.push(None),
            (Ok(line), ClientAddressHeader::XForwardedFor) => hops.extend(line.split(',').map(address)),
            (Ok(line), ClientAddressHeader::Forwarded) => {
                hops.extend(elements(line).into_iter().map(named_for));
            }
        }
    }
    hops
}

/// `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]` or `[2001:db8::7]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse::<IpAddr>().ok();
    let parsed = parsed.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    parsed.map(|address| address.to_canonical())
}

/// The elements of a `Forwarded` line (RFC 7239); commas in quotes separate nothing.
fn elements(line: &str) -> Vec<&str> {
    split_outside_quotes(line, ',')
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|letter| {
        quoted ^= letter == '"';
        !quoted && letter == separator
    })
    .collect()
}

fn named_for(element: &str) -> Option<IpAddr> {
    let mut pairs = split_outside_quotes(element, ';').into_iter().filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::handshake::tests::endpoint, *};

    fn config(header: ClientAddressHeader) -> IntakeConfig {
        let trusted_proxies = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network")).to_vec();
        IntakeConfig { trusted_proxies, client_address_header: header, ..IntakeConfig::default() }
    }

    fn client(peer: &str, header: ClientAddressHeader, lines: &[&str]) -> Client {
        let mut headers = HeaderMap::new();
        let name = if header == ClientAddressHeader::Forwarded { "forwarded" } else { X_FORWARDED_FOR };
        for line in lines {
            headers.append(name, line.parse().expect("a value"));
        }
        Client::of(Some(peer.parse().expect("an address")), &headers, &config(header))
    }

    fn told(peer: &str, lines: &[&str]) -> Option<String> {
        client(peer, ClientAddressHeader::XForwardedFor, lines).address.map(|address| address.to_string())
    }

    #[test]
    fn a_stranger_is_whom_the_connection_shows() {
        assert_eq!(told("203.0.113.9", &["192.0.2.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(told("::ffff:203.0.113.9", &[]).as_deref(), Some("203.0.113.9"));
        assert_eq!(told("10.1.2.3", &[]).as_deref(), Some("10.1.2.3"), "the proxy itself");
    }

    #[test]
    fn proxies_are_read_from_the_right_and_only_while_they_are_trusted() {
        for (lines, address) in [
            (&["198.51.100.7"][..], Some("198.51.100.7")),
            (&["192.0.2.66, 198.51.100.7"], Some("198.51.100.7")),
            (&["192.0.2.66", "198.51.100.7, 10.9.9.9"], Some("198.51.100.7")),
            (&["198.51.100.7:4711, [fd00::1]:443"], Some("198.51.100.7")),
            (&["2001:db8::7"], Some("2001:db8::7")),
            (&["10.0.0.1, 10.0.0.2"], Some("10.0.0.1")),
            (&["198.51.100.7, unknown"], None),
            (&["198.51.100.7,"], None),
        ] {
            assert_eq!(told("10.1.2.3", lines).as_deref(), address, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_where_it_is_the_one_that_is_set() {
        let of = |lines: &[&str]| {
            client("10.1.2.3", ClientAddressHeader::Forwarded, lines)
                .address
                .map(|address| address.to_string())
        };
        assert_eq!(of(&["for=192.0.2.66, for=198.51.100.7;proto=https"]).as_deref(), Some("198.51.100.7"));
        assert_eq!(of(&[r#"proto=https;For="[2001:db8::7]:4711""#]).as_deref(), Some("2001:db8::7"));
        assert_eq!(of(&[r#"for="evil, for=198.51.100.7"#]), None, "a quote that a stranger left open");
        assert_eq!(of(&["for=_hidden"]), None);
        assert_eq!(told("10.1.2.3", &["for=192.0.2.66"]), None, "and the other header is not read so");
    }

    #[test]
    fn an_endpoint_can_want_an_address_and_a_certificate_as_well() {
        let mut bank = endpoint("bank", Vec::new());
        bank.allow_from = vec!["198.51.100.0/24".parse().expect("a network")];
        let of = |peer, lines| client(peer, ClientAddressHeader::XForwardedFor, lines);
        assert_eq!(of("10.1.2.3", &["198.51.100.7"]).admit(&bank), Ok(()));
        for stranger in
            [of("10.1.2.3", &["192.0.2.1"]), of("10.1.2.3", &["?"]), of("203.0.113.9", &["198.51.100.7"])]
        {
            assert!(stranger.admit(&bank).is_err(), "{stranger:?}");
        }

        let header = "x-client-cert-subject".to_owned();
        let one_of = vec!["CN=hooks.bank.example".to_owned()];
        bank.client_certificate = Some(crate::partners::ClientCertificate { header, one_of });
        let mut shown = HeaderMap::new();
        let by_proxy = of("10.1.2.3", &["198.51.100.7"]);
        assert!(by_proxy.admit_certificate(&bank, &shown).is_err(), "none was shown");
        shown.append("x-client-cert-subject", "CN=hooks.bank.example".parse().expect("a value"));
        assert_eq!(by_proxy.admit_certificate(&bank, &shown), Ok(()));
        let direct = of("198.51.100.7", &[]);
        assert!(direct.admit_certificate(&bank, &shown).is_err(), "anyone can write a header");
        shown.append("x-client-cert-subject", "CN=other".parse().expect("a value"));
        assert!(by_proxy.admit_certificate(&bank, &shown).is_err(), "which of two counts is not guessed");
    }

    proptest! {
        #[test]
        fn whatever_a_stranger_writes_the_nearest_proxy_has_the_last_word(lines in "[0-9a-f:.,\\[\\] ;=\"for]{0,60}") {
            let told = told("10.1.2.3", &[&lines, "198.51.100.7"]);
            prop_assert_eq!(told.as_deref(), Some("198.51.100.7"));
        }
    }
}
