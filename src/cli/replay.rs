//! Room `cli`: `douane replay`. First the plan; then, unless it is a dry run, the request: through the private door
//! when a server runs, else straight into the intake log, to be worked at the next start.

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::{
    Common, Verdict, block_on,
    data::{self, Choice},
    output::{self, Format, counted},
    private_door::PrivateDoor,
};
use crate::{
    app::{self, Entries},
    config::Config,
    console::{
        replays::{self, ReplayPlan, ReplayRequest},
        stored::{self, Named},
    },
    model::DeliveryId,
};

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    choice: Choice,
    /// Only these deliveries, by id or number (may be repeated)
    #[arg(long = "delivery", value_name = "ID")]
    deliveries: Vec<Named>,
    /// Publish a changed result of something already published under a new id (extension `replayof` names the old one)
    #[arg(long)]
    reissue: bool,
    /// Publish to this broker only (may be repeated; default: all). The built-in feed is the records themselves: the feed
    /// always repeats it
    #[arg(long = "broker", value_name = "NAME")]
    brokers: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(common: &Common, args: &ReplayArgs) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    block_on(async {
        let request = ReplayRequest {
            reissue: args.reissue,
            brokers: args.brokers.clone(),
            dry_run: args.dry_run,
            ..request(&config, &args.choice.clone().settled()?, &args.deliveries).await?
        };
        carry_out(&config, &request, args.format).await
    })
}

/// The replay of a choice of deliveries.
pub(super) async fn request(
    config: &Config,
    choice: &Choice,
    deliveries: &[Named],
) -> anyhow::Result<ReplayRequest> {
    let Choice { scope, outcome } = choice;
    Ok(ReplayRequest {
        partner: scope.partner.clone(),
        endpoint: scope.endpoint.clone(),
        outcome: *outcome,
        event_type: scope.event_type.clone(),
        from: scope.from,
        to: scope.to,
        deliveries: ids(config, deliveries).await?,
        external_ids: scope.external_id.iter().cloned().collect(),
        ..ReplayRequest::default()
    })
}

/// The ids of deliveries. Only numbers have to be looked up.
async fn ids(config: &Config, deliveries: &[Named]) -> anyhow::Result<Vec<DeliveryId>> {
    let mut ids = Vec::new();
    for name in deliveries {
        ids.push(match *name {
            Named::Id(id) => id,
            Named::Number(number) => {
                let found = stored::find(&app::open_read_only(config).await?, *name).await?;
                found
                    .with_context(|| format!("there is no delivery number {number} in this ledger"))?
                    .row
                    .delivery
            }
        });
    }
    Ok(ids)
}

/// Requests a replay and shows its plan.
pub(super) async fn carry_out(
    config: &Config,
    request: &ReplayRequest,
    format: Format,
) -> anyhow::Result<Verdict> {
    let server = PrivateDoor::find(&config.ledger.data_dir)?;
    let plan = match &server {
        Some(door) => door.ask(Method::POST, "/replays", Some(request)).await?.unwrap_or_default(),
        None => offline(config, request).await?,
    };
    if plan.by_endpoint.is_empty() {
        let ledger = app::open_read_only(config).await?;
        let names = (request.partner.as_deref(), request.endpoint.as_deref());
        data::must_be_known(config, &ledger, names).await?;
    }
    match format {
        Format::Json => output::json(&plan)?,
        Format::Table => {
            show(&plan);
            output::say(&what_was_requested(&plan, request.dry_run, server.is_some()));
        }
    }
    Ok(Verdict::Fine)
}

async fn offline(config: &Config, request: &ReplayRequest) -> anyhow::Result<ReplayPlan> {
    if request.dry_run {
        let ledger = app::open_read_only(config).await?;
        return Ok(replays::plan(&*ledger.records, request).await?.plan);
    }
    let Entries { ledger, log, .. } = app::open_for_entries(config).await?;
    let planned = replays::plan(&*ledger.records, request).await?;
    if planned.plan.events == 0 {
        return Ok(planned.plan);
    }
    let id = DeliveryId::drawn_at(app::now());
    let (plan, entries) = planned.into_entries(request, &data::operator(), id);
    let detail = json!(request);
    ledger.records.journal(data::act(app::now(), "replay.requested", &id.to_string(), detail)).await?;
    for entry in entries {
        log.append(entry).await?;
    }
    log.close().await;
    Ok(plan)
}

fn show(plan: &ReplayPlan) {
    let rows = plan.by_endpoint.iter().map(|(endpoint, events)| vec![endpoint.clone(), events.to_string()]);
    output::table(&["endpoint", "events"], rows.collect(), "nothing matches");
    output::say(&format!(
        "{}: {} published again as stored, {} translated afresh; {} left alone",
        counted(plan.events, "event", "events"),
        plan.repeated,
        plan.translated_afresh,
        counted(plan.duplicates_left_alone, "duplicate", "duplicates")
    ));
    if plan.may_be_reissued > 0 {
        let events = counted(plan.may_be_reissued, "published event is", "published events are");
        output::say(&format!(
            "{events} translated afresh and may be reissued: under a new id what differs, else as stored"
        ));
    }
    if plan.conflicts_left_alone > 0 {
        let conflicts = counted(plan.conflicts_left_alone, "conflict", "conflicts");
        output::say(&format!(
            "{conflicts} left alone: a person must look; choose by --outcome conflict or --delivery"
        ));
    }
    if plan.damaged_left_alone > 0 {
        let entries = counted(plan.damaged_left_alone, "damaged entry", "damaged entries");
        output::say(&format!("{entries} cannot be worked again: the bytes are gone"));
    }
}

fn what_was_requested(plan: &ReplayPlan, dry_run: bool, served: bool) -> String {
    match plan.replay {
        Some(id) if served => format!("requested as replay {id}"),
        Some(id) => format!("requested as replay {id}: it is worked when a server runs on this folder"),
        None if dry_run => "nothing was requested (dry run)".to_owned(),
        None => "nothing was requested".to_owned(),
    }
}
