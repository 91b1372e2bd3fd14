//! Room `partners`: whom an endpoint takes requests from, beside what their signature says. May not know who comes.

use ipnet::IpNet;

use super::{
    door::ClientCertificate,
    reading::{Entry, Table},
};
use crate::model::Diagnostic;

/// `allow_from = ["198.51.100.0/24", "2001:db8::/32"]`; an address by itself is a network of one.
pub(super) fn networks(table: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Vec<IpNet> {
    let Some(entry) = table.get("allow_from") else { return Vec::new() };
    let elements = entry.elements(problems);
    if elements.is_empty() && entry.value.is_array() {
        let help = "name a network, or remove `allow_from`: without it, requests may come from anywhere";
        problems.push(entry.problem("empty", "`allow_from` allows nobody", help));
    }
    elements.iter().filter_map(|element| network(element, problems)).collect()
}

fn network(element: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<IpNet> {
    let text = element.text(problems)?;
    let address = text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
    let network = address.or_else(|| text.parse().ok());
    let exact = network.filter(|network: &IpNet| network.trunc() == *network && network.prefix_len() > 0);
    if exact.is_none() {
        let message = match network {
            Some(network) if network.prefix_len() > 0 => format!("{text:?} has bits beyond its prefix"),
            Some(_) => format!("{text:?} is everybody"),
            None => format!("{text:?} is no network"),
        };
        let help = "write \"198.51.100.0/24\", \"2001:db8::/32\" or one address";
        problems.push(element.problem("bad_network", message, help));
    }
    exact
}

/// `client_certificate = { header = "x-client-cert-subject", one_of = ["CN=hooks.bank.example"] }`
pub(super) fn certificate(table: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Option<ClientCertificate> {
    let table = table.table("client_certificate", problems)?;
    table.only(&["header", "one_of"], problems);
    let header = table.required("header", problems)?.to_ascii_lowercase();
    let one_of: Vec<_> =
        table.texts("one_of", problems).into_iter().map(|(text, _)| text.to_owned()).collect();
    if one_of.is_empty() || one_of.iter().any(|text| text.trim().is_empty()) {
        let help = "write what the header says of each certificate that is taken: a subject or a fingerprint";
        problems.push(table.problem("empty", "no client certificate is taken", help));
        return None;
    }
    Some(ClientCertificate { header, one_of })
}

#[cfg(test)]
mod tests {
    use super::{
        super::reading::{Source, parse},
        *,
    };

    fn read(text: &str) -> (Vec<IpNet>, Option<ClientCertificate>, Vec<&'static str>) {
        let source = Source { file: "partner.toml", text };
        let (toml, mut problems) = parse(source);
        let table = Table::of(source, 0, toml.get_ref());
        let (networks, certificate) = (networks(&table, &mut problems), certificate(&table, &mut problems));
        (networks, certificate, problems.iter().map(|problem| problem.code).collect())
    }

    #[test]
    fn networks_are_read_strictly() {
        let (networks, _, problems) = read("allow_from = ['198.51.100.0/24', '2001:db8::7']");
        let written: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(
            (written, problems),
            (vec!["198.51.100.0/24".to_owned(), "2001:db8::7/128".to_owned()], vec![])
        );
        for bad in ["'198.51.100.7/24'", "'0.0.0.0/0'", "'example.com'", "'10.0.0.0/33'"] {
            assert_eq!(read(&format!("allow_from = [{bad}]")).2, ["bad_network"], "{bad}");
        }
        assert_eq!(read("allow_from = []").2, ["empty"]);
        assert_eq!(read("client_certificate = { header = 'x', one_of = [] }").2, ["empty"]);
        assert_eq!(read("client_certificate = { one_of = ['CN=a'] }").2, ["missing_key"]);
    }
}
