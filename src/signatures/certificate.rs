//! Room `signatures`: keys in certificates (RFC 5280) that a provider publishes: of the right name, of now, and vouched for
//! by an authority that we know.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::model::{FieldPath, HttpsRule, Timestamp};

/// Most certificates in one document: the key's own and those between it and an authority.
const MAX_CERTIFICATES: usize = 10;

/// Where a sender names its certificate, and what that must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateSource {
    /// Where its address stands.
    pub(super) at: FieldPath,
    /// Which addresses may stand there.
    pub(super) rule: HttpsRule,
    /// The names, one of which it must have; `*` is one label.
    pub(super) subjects: Vec<String>,
    /// Whether an authority must vouch for it. Without, TLS to the host that it came from does.
    pub(super) chain: bool,
}

/// The authorities that may vouch for a certificate.
#[derive(Clone, Debug)]
pub struct Roots(Vec<TrustAnchor<'static>>);

impl Roots {
    /// Those that browsers trust.
    pub fn public() -> Self {
        Self(webpki_roots::TLS_SERVER_ROOTS.to_vec())
    }

    /// The same and those of a PEM text; what is wrong with it otherwise.
    pub fn with(mut self, pem: &[u8]) -> Result<Self, String> {
        let before = self.0.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            let anchor = anchor_from_trusted_cert(&certificate).map_err(|error| error.to_string())?;
            self.0.push(anchor.to_owned());
        }
        if self.0.len() == before { Err("it holds no certificate".to_owned()) } else { Ok(self) }
    }
}

impl CertificateSource {
    /// The SubjectPublicKeyInfo of the first certificate in a PEM text, if it is what it must be; else why not.
    pub(super) fn key_in(&self, pem: &[u8], roots: &Roots, now: Timestamp) -> Result<Vec<u8>, &'static str> {
        let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
            .take(MAX_CERTIFICATES)
            .collect::<Result<_, _>>()
            .map_err(|_| "it is no PEM")?;
        let (first, between) = certificates.split_first().ok_or("it has no certificate")?;
        let Ok(([], certificate)) = X509Certificate::from_der(first) else {
            return Err("its certificate cannot be read");
        };
        let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
        if now.seconds() < from.timestamp() || now.seconds() > to.timestamp() {
            return Err("its certificate is not yet valid, or no longer");
        }
        if !self.is_subject(&certificate) {
            return Err("its certificate is somebody else's");
        }
        if self.chain {
            vouched_for(first, between, roots, now)?;
        }
        Ok(certificate.public_key().raw.to_vec())
    }

    fn is_subject(&self, certificate: &X509Certificate<'_>) -> bool {
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        names.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) => self.subjects.iter().any(|pattern| matches(pattern, name)),
            _ => false,
        })
    }
}

fn vouched_for(
    certificate: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    roots: &Roots,
    now: Timestamp,
) -> Result<(), &'static str> {
    const NOBODY: &str = "no authority that we know vouches for its certificate";
    let certificate = EndEntityCert::try_from(certificate).map_err(|_| NOBODY)?;
    let seconds = u64::try_from(now.seconds()).map_err(|_| NOBODY)?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    certificate
        .verify_for_usage(ALL_VERIFICATION_ALGS, &roots.0, between, now, KeyUsage::server_auth(), None, None)
        .map(drop)
        .map_err(|_| NOBODY)
}

/// Whether a name is of a pattern, in which `*` is one whole label.
fn matches(pattern: &str, name: &str) -> bool {
    let same = |(pattern, label): (&str, &str)| pattern == "*" || pattern.eq_ignore_ascii_case(label);
    pattern.split('.').count() == name.split('.').count() && pattern.split('.').zip(name.split('.')).all(same)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    };

    use super::*;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        pem: String,
    }

    fn authority() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate with this name, valid for the years 2020 to 2029.
    fn certificate(name: &str, by: &Authority, change: impl Fn(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        change(&mut params);
        params.signed_by(&KeyPair::generate().expect("a key"), &by.issuer).expect("a certificate").pem()
    }

    fn source() -> CertificateSource {
        CertificateSource {
            at: FieldPath::parse("header.paypal-cert-url").expect("a path"),
            rule: HttpsRule::new(&["api.paypal.com".to_owned()], "/v1/notifications/certs/*")
                .expect("a rule"),
            subjects: vec!["*.paypal.com".to_owned()],
            chain: true,
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_rfc3339(text).expect("a time")
    }

    #[test]
    fn only_a_certificate_of_the_name_of_now_and_of_a_known_authority_counts() {
        let (known, stranger) = (authority(), authority());
        let roots = Roots(Vec::new()).with(known.pem.as_bytes()).expect("roots");
        let told = |pem: &str, now: &str| source().key_in(pem.as_bytes(), &roots, at(now)).map(drop);
        let good = certificate("webhooks.paypal.com", &known, |_| {});
        assert_eq!(told(&good, "2026-01-01T00:00:00Z"), Ok(()));
        for (pem, now, why) in [
            (good.clone(), "2019-12-31T00:00:00Z", "not yet valid"),
            (good.clone(), "2030-01-02T00:00:00Z", "no longer"),
            (certificate("paypal.com", &known, |_| {}), "2026-01-01T00:00:00Z", "somebody else's"),
            (certificate("a.b.paypal.com", &known, |_| {}), "2026-01-01T00:00:00Z", "somebody else's"),
            (
                certificate("www.paypal.com.attacker.tld", &known, |_| {}),
                "2026-01-01T00:00:00Z",
                "somebody else's",
            ),
            (certificate("www.paypa1.com", &known, |_| {}), "2026-01-01T00:00:00Z", "somebody else's"),
            (certificate("www.paypal.com", &stranger, |_| {}), "2026-01-01T00:00:00Z", "no authority"),
            (
                certificate("www.paypal.com", &known, |params| {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
                }),
                "2026-01-01T00:00:00Z",
                "no authority",
            ),
            (String::new(), "2026-01-01T00:00:00Z", "no certificate"),
            (good.replace("CERTIFICATE", "PUBLIC KEY"), "2026-01-01T00:00:00Z", "no certificate"),
            ("<html>".to_owned(), "2026-01-01T00:00:00Z", "no certificate"),
        ] {
            let refused = told(&pem, now).expect_err(why);
            assert!(refused.contains(why), "{refused} / {why}");
        }
        // The names of a subject do not count, and a first certificate speaks for itself.
        let unnamed = certificate("www.attacker.tld", &known, |params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, "www.paypal.com");
        });
        assert!(told(&format!("{unnamed}{good}"), "2026-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn where_tls_vouches_the_rest_still_counts() {
        let stranger = authority();
        let source = CertificateSource { chain: false, ..source() };
        let told = |name: &str, now: &str| {
            let pem = certificate(name, &stranger, |_| {});
            source.key_in(pem.as_bytes(), &Roots(Vec::new()), at(now)).is_ok()
        };
        assert!(told("www.paypal.com", "2026-01-01T00:00:00Z"));
        assert!(!told("www.paypal.com", "2031-01-01T00:00:00Z"));
        assert!(!told("www.attacker.tld", "2026-01-01T00:00:00Z"));
    }

    #[test]
    fn a_file_without_authorities_is_none() {
        assert!(Roots::public().0.len() > 50);
        assert!(Roots::public().with(b"").is_err());
        assert!(
            Roots::public().with(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(der in any::<Vec<u8>>(), at_byte in 0_usize..300, other in any::<u8>()) {
            use base64::{Engine, engine::general_purpose::STANDARD};
            let pem = |der: &[u8]| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
            let roots = Roots(Vec::new());
            let now = at("2026-01-01T00:00:00Z");
            let _ = source().key_in(&der, &roots, now);
            let _ = source().key_in(pem(&der).as_bytes(), &roots, now);
            let good = STANDARD.decode(GOOD).expect("base64");
            let mut changed = good;
            if let Some(byte) = changed.get_mut(at_byte) {
                *byte = other;
            }
            let _ = source().key_in(pem(&changed).as_bytes(), &roots, now);
        }
    }

    /// A certificate, to be spoiled.
    const GOOD: &str = "MIIBSzCB/qADAgECAhQBAgMEBQYHCAkKCwwNDg8QERITFDAFBgMrZXAwEDEOMAwGA1UEAwwFb3RoZXIwHhcNMjAwMTAxMDAwMDAwWhcNMzAwMTAxMDAwMDAwWjAQMQ4wDAYDVQQDDAVvdGhlcjAqMAUGAytlcAMhACa0C4+T//PYlxEvfrxYKyMtvXJRfQgv6Dz7MN3OQ9G7";
}
