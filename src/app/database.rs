//! Room `app`: the way to the database of a ledger that several processes share: settings and secrets become connections.

use std::fs;

use anyhow::{Context, bail};

use crate::{
    config::LedgerConfig,
    keys::SecretSource,
    ledger::postgres::{Access, Database, DatabaseSettings},
    model::Secret,
};

/// The database that `ledger.url` names. Nothing is connected to yet.
pub fn database(config: &LedgerConfig) -> anyhow::Result<Database> {
    let Some(url) = &config.url else { bail!("ledger.url is not set") };
    let authorities = match &config.tls_authorities {
        Some(path) => {
            Some(fs::read(path).with_context(|| format!("ledger.tls_authorities: {}", path.display()))?)
        }
        None => None,
    };
    let password = config.password.as_deref().map(|source| secret(source).context("ledger.password"));
    let access = Access { url: address(url)?, password: password.transpose()?, authorities };
    Ok(Database::new(DatabaseSettings::new(config, &access)?)?)
}

/// A URL in the open, or what stands where the setting points.
fn address(url: &str) -> anyhow::Result<Secret> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Secret::new(url));
    }
    secret(url).context("ledger.url")
}

fn secret(source: &str) -> anyhow::Result<Secret> {
    Ok(SecretSource::parse(source)?.resolve()?)
}

/// Refuses to take the data folder for the ledger when the ledger is said to be elsewhere.
pub(super) fn embedded_only(config: &LedgerConfig) -> anyhow::Result<()> {
    if config.url.is_some() {
        bail!("ledger.url is set, and this release works with the embedded ledger only; remove ledger.url");
    }
    Ok(())
}
