//! Gateways over the engines: this binary again, each a process of its own.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use douane::{
    app::{Gateway, Options},
    config,
};

use crate::{
    engines::{Engines, STREAM},
    process::{self, Server},
    stripe,
};

/// Credentials of the load are sealed with it.
const SEALING_KEY: &str = "6f1d2c3b4a5968778695a4b3c2d1e0f00112233445566778899aabbccddeeff0";

/// Starts one for each of these sets of roles, on the ledger in this schema.
pub fn start(engines: &Engines, schema: &str, roles: &[&str], folder: &Path) -> Result<Vec<Server>> {
    fs::write(folder.join("sealing-key"), SEALING_KEY)?;
    let mut servers = Vec::new();
    for (place, roles) in roles.iter().enumerate() {
        let own = folder.join(place.to_string());
        fs::create_dir_all(&own)?;
        let text = settings(engines, schema, folder, &own)?;
        fs::write(own.join("douane.toml"), format!("{text}\n[process]\nroles = \"{roles}\"\n"))?;
        servers.push(Server::start("gateway", &own)?);
    }
    Ok(servers)
}

fn settings(engines: &Engines, schema: &str, shared: &Path, own: &Path) -> Result<String> {
    Ok(format!(
        r#"
[listen]
public = "127.0.0.1:0"
private = "127.0.0.1:0"

[mappings]
path = "{mappings}"

[ledger]
data_dir = "{data}"
url = "{postgres}"
schema = "{schema}"
sealing_key = "file:{key}"

[dedupe]
url = "{redis}"

[[broker]]
name = "nats"
kind = "nats"
from = "beginning"
servers = ["{nats}"]
stream = "{STREAM}"
"#,
        mappings = stripe::mappings(own)?.display(),
        data = own.join("data").display(),
        postgres = engines.postgres.url(),
        key = shared.join("sealing-key").display(),
        redis = engines.redis(schema),
        nats = engines.nats.url(),
    ))
}

/// Runs one until it is killed.
pub async fn serve(folder: &Path) -> Result<()> {
    let config = config::load(Some(&folder.join("douane.toml")), &BTreeMap::new(), &Vec::new())?;
    let gateway = Gateway::start(config, Options::for_development()).await?;
    let kept = gateway.ledger().log.durable().0;
    let public = gateway.public().context("the public door is open")?;
    process::announce(public, gateway.private(), gateway.local_token(), kept)?;
    gateway.run(std::future::pending()).await
}
