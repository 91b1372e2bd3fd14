//! Room `intake`: addresses. `/in/<partner>/<endpoint>`, and `/in/<partner>` for the endpoint `default`. Names are
//! compared byte for byte: nothing is decoded, folded or normalised, so two spellings never mean one endpoint.

use std::sync::Arc;

use http::Method;

use super::{Arrival, Refusal};
use crate::{
    model::EndpointName,
    partners::{Endpoint, Snapshot},
};

/// The endpoint that `/in/<partner>` means.
const DEFAULT_ENDPOINT: &str = "default";

/// Stands for a partner or an endpoint that does not exist, so that outside input never becomes a name here.
const UNKNOWN: &str = "-";

/// The endpoint a request is for, if it answers the request's method.
pub(super) fn find(partners: &Snapshot, arrival: &Arrival) -> Result<Arc<Endpoint>, Refusal> {
    let (partner, endpoint) = split(arrival.path()).ok_or(Refusal::UnknownAddress)?;
    let open = partners.endpoints.get(&EndpointName::new(partner, endpoint));
    let found = open.ok_or_else(|| {
        if partners.doors.contains_key(partner) { Refusal::UnknownEndpoint } else { Refusal::UnknownPartner }
    })?;
    if arrival.is_self_test() {
        admit_self_test(found, &arrival.head.method)?;
    } else {
        admit_method(found, &arrival.head.method)?;
    }
    Ok(Arc::clone(found))
}

/// The names a path means, as far as they exist.
pub(super) fn known_names(partners: &Snapshot, path: &str) -> EndpointName {
    let Some((partner, endpoint)) = split(path) else { return EndpointName::new(UNKNOWN, UNKNOWN) };
    let name = EndpointName::new(partner, endpoint);
    match partners.doors.get_key_value(partner) {
        _ if partners.endpoints.contains_key(&name) => name,
        Some((partner, _)) => EndpointName::new(Arc::clone(partner), UNKNOWN),
        None => EndpointName::new(UNKNOWN, UNKNOWN),
    }
}

fn split(path: &str) -> Option<(&str, &str)> {
    let names = path.strip_prefix("/in/")?;
    let (partner, endpoint) = names.split_once('/').unwrap_or((names, DEFAULT_ENDPOINT));
    let both = !partner.is_empty() && !endpoint.is_empty() && !endpoint.contains('/');
    both.then_some((partner, endpoint))
}

/// Off unless the endpoint says otherwise; then it takes what a delivery would be.
fn admit_self_test(endpoint: &Endpoint, method: &Method) -> Result<(), Refusal> {
    if !endpoint.self_test {
        return Err(Refusal::UnknownAddress);
    }
    if *method != Method::POST {
        return Err(Refusal::MethodNotAllowed { allow: Method::POST.to_string() });
    }
    Ok(())
}

/// POST always; anything else only where a handshake of the endpoint comes with it.
fn admit_method(endpoint: &Endpoint, method: &Method) -> Result<(), Refusal> {
    let of_handshakes = || endpoint.handshakes.iter().map(|handshake| handshake.method.as_str());
    if *method == Method::POST || of_handshakes().any(|known| known == method.as_str()) {
        return Ok(());
    }
    let mut allow = vec![Method::POST.as_str()];
    for known in of_handshakes() {
        if !allow.contains(&known) {
            allow.push(known);
        }
    }
    Err(Refusal::MethodNotAllowed { allow: allow.join(", ") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_an_address_are_understood() {
        assert_eq!(split("/in/acme"), Some(("acme", "default")));
        assert_eq!(split("/in/acme/default"), Some(("acme", "default")));
        assert_eq!(split("/in/acme/returns"), Some(("acme", "returns")));
    }

    #[test]
    fn tricks_are_not_resolved() {
        for none in [
            "",
            "/",
            "/in",
            "/in/",
            "/in//",
            "/in/acme/",
            "/in//default",
            "/in/a/b/c",
            "/in/acme//x",
            "in/acme",
        ] {
            assert_eq!(split(none), None, "{none}");
        }
        for (path, names) in [
            ("/in/acme/..", ("acme", "..")),
            ("/in/%61cme", ("%61cme", "default")),
            ("/in/acme%2fdefault", ("acme%2fdefault", "default")),
            ("/in/ACME", ("ACME", "default")),
        ] {
            assert_eq!(split(path), Some(names));
        }
        assert_eq!(split("/IN/acme"), None);
    }

    #[test]
    fn unknown_names_collapse() {
        let nobody = Snapshot::default();
        for path in ["/in/attacker-1", "/in/attacker-2/x", "/", "/in/a/b/c"] {
            assert_eq!(known_names(&nobody, path), EndpointName::new("-", "-"));
        }
    }

    proptest! {
        #[test]
        fn an_address_is_only_ever_spelled_one_way(path in "(/in)?/[a-z/.%2fA-F]{0,30}") {
            if let Some((partner, endpoint)) = split(&path) {
                prop_assert!(!partner.contains('/') && !endpoint.contains('/'));
                let full = format!("/in/{partner}/{endpoint}");
                let default = path.clone() + "/default";
                prop_assert!(path == full || full == default);
            }
        }

        #[test]
        fn never_panics(path in ".{0,200}") {
            let _ = (split(&path), known_names(&Snapshot::default(), &path));
        }
    }
}
