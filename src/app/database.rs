//! Room `app`: the way to the database of a ledger that several processes share: settings and secrets become connections.

use std::fs;

use anyhow::{Context, anyhow, bail};

use crate::{
    config::LedgerConfig,
    keys::{SecretSource, seal::Sealer},
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

/// What seals credentials in a ledger that several processes share.
pub(super) fn sealing_key(config: &LedgerConfig) -> anyhow::Result<Sealer> {
    let source = config.sealing_key.as_deref().ok_or_else(|| {
        anyhow!(
            "ledger.sealing_key is not set: all processes of a ledger in PostgreSQL seal credentials with one key; \
             make it with `openssl rand -hex 32`, once for all of them, and keep it with the backups' keys"
        )
    })?;
    let sealer = secret(source).and_then(|digits| Ok(Sealer::from_hex(&digits)?));
    sealer.context("ledger.sealing_key")
}
