//! Stripe, as every server of a benchmark knows it: the load's secret, the check of a signature, the shipped mappings.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{ENDPOINTS, load::SECRET};

/// Whether the body was signed with the load's secret.
pub fn signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let part = |name: &str| header.split(',').find_map(|part| part.strip_prefix(name));
    let (Some(time), Some(signature)) = (part("t="), part("v1=")) else { return false };
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length is a key");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::decode(signature).is_ok_and(|signature| mac.verify_slice(&signature).is_ok())
}

/// Where Stripe posts what is of one of the accounts, which are as many as there are endpoints.
pub fn address(account: u64) -> String {
    match account.checked_rem(ENDPOINTS) {
        None | Some(0) => "/in/stripe".to_owned(),
        Some(other) => format!("/in/stripe/account-{other}"),
    }
}

/// The shipped mappings, with the load's secret for Stripe, and an endpoint for each account.
pub fn mappings(folder: &Path) -> Result<std::path::PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
    let copy = folder.join("mappings");
    copy_folder(&shipped.join("contracts"), &copy.join("contracts"))?;
    copy_folder(&shipped.join("partners/stripe"), &copy.join("partners/stripe"))?;
    let file = copy.join("partners/stripe/partner.toml");
    let text: Arc<str> = std::fs::read_to_string(&file)?.into();
    let mut partner: toml::Table = toml::from_str(&text)?;
    for (_, secret) in partner["test"]["secrets"].as_table_mut().into_iter().flatten() {
        *secret = SECRET.into();
    }
    if let Some(endpoints) = partner["endpoint"].as_array_mut() {
        let first = endpoints[0].clone();
        endpoints.extend((1..ENDPOINTS).map(|account| another(&first, account)));
    }
    std::fs::write(&file, toml::to_string(&partner)?)?;
    Ok(copy)
}

fn another(endpoint: &toml::Value, account: u64) -> toml::Value {
    let mut endpoint = endpoint.clone();
    endpoint["name"] = format!("account-{account}").into();
    endpoint
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
