//! Room `cli`: `douane partner arm`: an act, by the private door when a server runs, else on the records. And `reveal`, of what was
//! learnt then: by the private door only, which has the key.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use reqwest::Method;
use serde_json::json;

use super::{Verdict, data, output, partner::split, private_door::PrivateDoor};
use crate::{
    app,
    config::Config,
    console::{
        armings::{ArmRequest, Armed},
        reveals::{RevealRequest, Revealed},
    },
    partners::{Endpoint, SecretsFrom},
};

pub(super) async fn arm(config: &Config, named: &str, duration: Duration) -> anyhow::Result<Verdict> {
    let learner = learner(config, named).await?;
    let request = ArmRequest { endpoint: learner.name.to_string(), seconds: duration.as_secs() };
    let armed = match PrivateDoor::find(&config.ledger.data_dir)? {
        Some(door) => {
            let armed: Option<Armed> = door.ask(Method::POST, "/armings", Some(&request)).await?;
            armed.context("the server armed nothing")?
        }
        None => arm_offline(config, &request).await?,
    };
    output::say(&format!(
        "{} is armed until {}: the next handshake that teaches a secret is believed, whoever sends it",
        armed.endpoint, armed.until
    ));
    if learner.reveals() {
        output::say(&format!(
            "the partner's system asks a person for it: `douane partner reveal {}` then shows it, once",
            armed.endpoint
        ));
    }
    Ok(Verdict::Fine)
}

/// Shows the secret that an endpoint learnt last: this once, and alone on its line.
pub(super) async fn reveal(config: &Config, named: &str) -> anyhow::Result<Verdict> {
    let request = RevealRequest { endpoint: learner(config, named).await?.name.to_string() };
    let door = PrivateDoor::find(&config.ledger.data_dir)?.context(
        "no server with a console works on this data folder; a learnt secret is shown by a running one",
    )?;
    let revealed: Option<Revealed> = door.ask(Method::POST, "/reveals", Some(&request)).await?;
    output::say(&revealed.context("the server showed nothing")?.secret);
    Ok(Verdict::Fine)
}

async fn arm_offline(config: &Config, request: &ArmRequest) -> anyhow::Result<Armed> {
    let now = app::now();
    let (name, until) = request.settled(now).map_err(anyhow::Error::msg)?;
    let journal = data::act(now, "endpoint.armed", &name.to_string(), json!({ "until": until }));
    app::open_for_acts(config).await?.records.arm(&name, until, journal).await?;
    Ok(Armed { endpoint: name.to_string(), until })
}

/// The endpoint that is meant, if a handshake teaches it its secret.
async fn learner(config: &Config, named: &str) -> anyhow::Result<Arc<Endpoint>> {
    let (partner, endpoint) = split(named);
    let registry = app::load_partners(config, SecretsFrom::Sources, Some(partner)).await?;
    let snapshot = registry.snapshot();
    let door = snapshot.doors.get(partner);
    let door =
        door.with_context(|| format!("there is no partner {partner:?}; `douane partner ls` lists them"))?;
    let meant = |open: &&Arc<Endpoint>| endpoint.is_none_or(|name| *open.name.endpoint == *name);
    let learners: Vec<_> = door.endpoints.iter().filter(meant).filter(|open| open.learns()).collect();
    match learners.as_slice() {
        [one] => Ok(Arc::clone(one)),
        [] => anyhow::bail!(
            "no handshake teaches {named:?} a secret; `douane partner show {partner}` lists its handshakes"
        ),
        _ => anyhow::bail!(
            "several endpoints of {partner:?} learn their secrets; name one as \"{partner}/<endpoint>\""
        ),
    }
}
