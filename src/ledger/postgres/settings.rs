//! Room `ledger`, PostgreSQL: what a database is reached with, and whose certificates are believed.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{config::LedgerConfig, model::Secret};

/// Idle connections are looked after so often, so that a peer that is gone is noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// What we are called in `pg_stat_activity`.
const APPLICATION: &str = "douane";

/// The ways in, resolved: what the configuration only names.
#[derive(Clone, Debug)]
pub struct Access {
    /// The URL, perhaps with a password.
    pub url: Secret,
    /// The password, when the URL has none.
    pub password: Option<Secret>,
    /// The authorities that may vouch for the server, as PEM; `None` for the operating system's.
    pub authorities: Option<Vec<u8>>,
}

/// What a database is reached with. Shows no secret when printed.
#[derive(Clone)]
pub struct DatabaseSettings {
    pub(super) server: tokio_postgres::Config,
    pub(super) tls: MakeRustlsConnect,
    pub(super) schema: Arc<str>,
    pub(super) connections: usize,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
    pub(super) lock_timeout: Duration,
    pub(super) idle_in_transaction_timeout: Duration,
}

/// Why there is no way to a database. Repeats neither URL nor password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The URL cannot be read.
    #[error("the URL of the database cannot be read; it is written as postgres://user@host:5432/database")]
    Url,
    /// The URL has a password, and so has the setting.
    #[error("the URL of the database has a password, and ledger.password is set too")]
    TwoPasswords,
    /// The certificates cannot be used.
    #[error("the authorities of the database's certificate cannot be used: {0}")]
    Authorities(String),
}

impl DatabaseSettings {
    /// Reads the URL and prepares TLS. Nothing is connected to.
    pub fn new(config: &LedgerConfig, access: &Access) -> Result<Self, SettingsError> {
        Ok(Self {
            server: server(access)?,
            tls: MakeRustlsConnect::new(tls(access.authorities.as_deref())?),
            schema: config.schema.as_str().into(),
            connections: config.connections,
            connect_timeout: config.connect_timeout.0,
            statement_timeout: config.statement_timeout.0,
            lock_timeout: config.lock_timeout.0,
            idle_in_transaction_timeout: config.idle_in_transaction_timeout.0,
        })
    }
}

impl std::fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts = self.server.get_hosts();
        f.debug_struct("DatabaseSettings")
            .field("hosts", &hosts)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

fn server(access: &Access) -> Result<tokio_postgres::Config, SettingsError> {
    let url = std::str::from_utf8(access.url.expose()).map_err(|_| SettingsError::Url)?;
    // Certificates are always verified whole: what others must ask for.
    let url =
        url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
    let mut server: tokio_postgres::Config = url.parse().map_err(|_| SettingsError::Url)?;
    if server.get_hosts().is_empty() {
        return Err(SettingsError::Url);
    }
    if let Some(password) = &access.password {
        if server.get_password().is_some() {
            return Err(SettingsError::TwoPasswords);
        }
        server.password(password.expose());
    }
    if server.get_ssl_mode() == SslMode::Prefer {
        // Never what the server prefers: whoever stands between could prefer it too.
        let local = server.get_hosts().iter().all(is_this_machine);
        server.ssl_mode(if local { SslMode::Disable } else { SslMode::Require });
    }
    if server.get_application_name().is_none() {
        server.application_name(APPLICATION);
    }
    // Of several servers the one that takes writes: a ledger is nothing to read from a copy that lags.
    server.target_session_attrs(TargetSessionAttrs::ReadWrite);
    server.keepalives_idle(KEEPALIVE);
    Ok(server)
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

fn tls(authorities: Option<&[u8]>) -> Result<ClientConfig, SettingsError> {
    let wrong = |error: &dyn std::fmt::Display| SettingsError::Authorities(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let builder = match authorities {
        None => builder.with_platform_verifier().map_err(|error| wrong(&error))?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"there is no certificate in the file"));
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(url: &str) -> Access {
        Access { url: Secret::new(url), password: None, authorities: None }
    }

    fn mode(url: &str) -> SslMode {
        server(&access(url)).expect("a server").get_ssl_mode()
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_open_unless_the_url_says_so() {
        for local in ["localhost", "127.0.0.1", "%2Ftmp"] {
            assert_eq!(mode(&format!("postgres://u@{local}/d")), SslMode::Disable, "{local}");
        }
        for url in
            ["postgres://u@db/d", "postgres://u@db,localhost/d", "postgres://u@10.0.0.1/d?sslmode=prefer"]
        {
            assert_eq!(mode(url), SslMode::Require, "{url}");
        }
        assert_eq!(mode("postgres://u@db/d?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres://u@localhost/d?sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgres://u@db/d?sslmode=disable"), SslMode::Disable);
    }

    #[test]
    fn a_url_that_cannot_be_read_is_not_repeated() {
        for bad in
            ["postgres://u:hunter2@db:port/d", "hunter2", "postgres://u@h/d?hunter2=1", "postgres:///d"]
        {
            let told = server(&access(bad)).expect_err("must be refused").to_string();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn there_is_one_password() {
        let mut given = access("postgres://u@db/d");
        given.password = Some(Secret::new("hunter2"));
        assert_eq!(server(&given).expect("a server").get_password(), Some(&b"hunter2"[..]));
        given.url = Secret::new("postgres://u:other@db/d");
        assert_eq!(server(&given), Err(SettingsError::TwoPasswords));
        let settings = DatabaseSettings::new(&LedgerConfig::default(), &access("postgres://u:hunter2@db/d"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn authorities_are_certificates() {
        for bad in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(tls(Some(bad.as_bytes())).is_err(), "{bad}");
        }
    }
}
