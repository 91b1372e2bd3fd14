//! Room `cli`: `douane token create|ls|revoke`. Through the private door when a server runs, else on the records.

use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::{
    Common, Verdict, block_on, data,
    output::{self, Format},
    private_door::PrivateDoor,
};
use crate::{
    app,
    config::Config,
    console::{
        Role,
        tokens::{NewToken, TokenRequest, mint},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Make a token; it is shown once
    Create {
        /// Who or what will use it
        name: String,
        /// consumer (the feed), auditor (reads everything) or operator (replays, tokens)
        #[arg(long, value_parser = clap::builder::ValueParser::new(|text: &str| text.parse::<Role>()))]
        role: Role,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List tokens
    Ls {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Revoke a token at once
    Revoke {
        /// Its name
        name: String,
    },
}

pub(super) fn run(common: &Common, verb: &TokenVerb) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    block_on(async {
        match verb {
            TokenVerb::Create { name, role, format } => {
                create(&config, &TokenRequest { name: name.clone(), role: *role }, *format).await
            }
            TokenVerb::Ls { format } => list(&config, *format).await,
            TokenVerb::Revoke { name } => revoke(&config, name).await,
        }
    })
}

async fn create(config: &Config, request: &TokenRequest, format: Format) -> anyhow::Result<Verdict> {
    let token: NewToken = match PrivateDoor::find(&config.ledger.data_dir)? {
        Some(door) => {
            let token = door.ask(Method::POST, "/tokens", Some(request)).await?;
            token.context("the server made no token")?
        }
        None => create_offline(config, request).await?,
    };
    match format {
        Format::Json => output::json(&token)?,
        Format::Table => output::say(&token.token),
    }
    output::complain(&format!("this is the only time the token of {} is shown", token.name));
    Ok(Verdict::Fine)
}

async fn create_offline(config: &Config, request: &TokenRequest) -> anyhow::Result<NewToken> {
    let ledger = app::open_for_acts(config).await?;
    let now = app::now();
    let (row, token) = mint(request, now)?;
    if ledger.records.tokens().await?.iter().any(|known| known.name == row.name) {
        anyhow::bail!("there is or was a token named {:?}; choose another name", row.name);
    }
    let detail = json!({ "role": row.role });
    let journal = data::act(now, "token.created", &row.name, detail);
    ledger.records.create_token(row, journal).await?;
    Ok(token)
}

async fn list(config: &Config, format: Format) -> anyhow::Result<Verdict> {
    let tokens = app::open_read_only(config).await?.records.tokens().await?;
    if format == Format::Json {
        output::json(&tokens)?;
        return Ok(Verdict::Fine);
    }
    let rows = tokens.into_iter().map(|token| {
        let revoked = token.revoked_at.map_or_else(|| "valid".to_owned(), |at| format!("revoked {at}"));
        vec![token.name, token.role, token.created_at.to_string(), revoked]
    });
    output::table(&["name", "role", "created", "state"], rows.collect(), "there are no tokens");
    Ok(Verdict::Fine)
}

async fn revoke(config: &Config, name: &str) -> anyhow::Result<Verdict> {
    if let Some(door) = PrivateDoor::find(&config.ledger.data_dir)? {
        let path = format!("/tokens/{name}");
        door.ask::<serde_json::Value>(Method::DELETE, &path, None::<&()>).await?;
    } else {
        // Without a ledger there is no token, and none is begun for it.
        drop(app::open_read_only(config).await?);
        let ledger = app::open_for_acts(config).await?;
        let journal = data::act(app::now(), "token.revoked", name, json!({}));
        if !ledger.records.revoke_token(name, journal).await? {
            anyhow::bail!("no valid token is named {name:?}");
        }
    }
    output::say(&format!("{name} is revoked"));
    Ok(Verdict::Fine)
}
