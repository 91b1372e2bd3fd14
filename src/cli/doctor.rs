//! Room `cli`: `douane doctor`: looks at everything that would keep the gateway from working, and says what to do. What keeps
//! one endpoint or a shortcut from working, and the gateway goes on, is a warning: a fresh clone has such endpoints.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{
    Common, Verdict, block_on, doctor_memory,
    output::{self, Format, counted},
    ready,
};
use crate::{
    app::{self, Serving},
    config::Config,
    ledger::{BrokerState, Ledger},
    model::{Diagnostic, EventNumber},
    partners::{CheckOptions, EndpointSummary, MappingsFolder, SAMPLE_VALUE, SecretsFrom, check},
};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Also find wrong what is only worth a look: endpoints without their secret, values that a preset made up, a Redis that
    /// evicts
    #[arg(long)]
    strict: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Nothing to do.
    Sound,
    /// The gateway works, and a person should look.
    Warning,
    /// The gateway, or a part that it was given, does not work.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    level: Level,
    what: &'static str,
    found: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    help: String,
}

impl Finding {
    pub(super) fn sound(what: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Sound, what, found: found.into(), help: String::new() }
    }

    pub(super) fn warning(what: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { level: Level::Warning, what, found: found.into(), help: help.into() }
    }

    pub(super) fn wrong(what: &'static str, found: impl Into<String>, help: impl Into<String>) -> Self {
        Self { level: Level::Wrong, what, found: found.into(), help: help.into() }
    }
}

pub(super) fn run(common: &Common, args: &DoctorArgs) -> anyhow::Result<Verdict> {
    let findings = match common.load(Vec::new()) {
        Ok(config) => block_on(examine(&config))?,
        Err(error) => {
            vec![Finding::wrong("configuration", format!("{error:#}"), "`douane config` prints a valid one")]
        }
    };
    match args.format {
        Format::Json => output::json(&findings)?,
        Format::Table => findings.iter().for_each(show),
    }
    Ok(verdict(&findings, args.strict))
}

fn verdict(findings: &[Finding], strict: bool) -> Verdict {
    let wrong = |finding: &Finding| match finding.level {
        Level::Sound => false,
        Level::Warning => strict,
        Level::Wrong => true,
    };
    if findings.iter().any(wrong) { Verdict::FoundWrong } else { Verdict::Fine }
}

fn show(finding: &Finding) {
    let mark = match finding.level {
        Level::Sound => '✓',
        Level::Warning => '!',
        Level::Wrong => '✗',
    };
    output::say(&format!("{mark} {:<16} {}", finding.what, finding.found));
    if !finding.help.is_empty() {
        output::say(&format!("  {:<16} → {}", "", finding.help));
    }
}

async fn examine(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let mut findings = vec![Finding::sound("configuration", "valid")];
    let serving = Serving::read(&config.ledger.data_dir);
    findings.push(match &serving {
        Ok(Some(serving)) => Finding::sound("server", format!("runs; private door {}", serving.private)),
        Ok(None) => Finding::sound("server", "does not run on this data folder"),
        Err(error) => {
            Finding::wrong("server", format!("{error:#}"), "see which process holds the data folder")
        }
    });
    if matches!(serving, Ok(None)) {
        findings.extend(addresses(config).await);
    }
    if config.ledger.url.is_some() {
        findings.extend(database(config).await);
    } else {
        findings.push(space(config));
    }
    findings.extend(ledger(config).await);
    let told = match &serving {
        Ok(Some(serving)) => ready::ask(serving).await.ok().and_then(|answer| not_configured(&answer.text)),
        _ => None,
    };
    findings.extend(partners(config, told.as_deref()).await);
    Ok(findings)
}

/// Tries every door, and holds each until all were tried: as `serve` has them.
async fn addresses(config: &Config) -> Vec<Finding> {
    let (mut held, mut findings) = (Vec::new(), Vec::new());
    for (key, address) in config.listen.doors() {
        findings.push(match app::bind(address).await {
            Ok(socket) => {
                held.push(socket);
                Finding::sound(key, format!("{address} is free"))
            }
            Err(error) => Finding::wrong(key, format!("{error:#}"), "choose another address"),
        });
    }
    findings
}

fn space(config: &Config) -> Finding {
    let mut folder: &Path = &config.ledger.data_dir;
    while !folder.exists() {
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => folder = parent,
            _ => folder = Path::new("."),
        }
    }
    match app::free_bytes(folder) {
        Ok(free) if free > config.ledger.min_free_bytes => {
            Finding::sound("disk", format!("{} MiB free in {}", free / 1_048_576, folder.display()))
        }
        Ok(free) => Finding::wrong(
            "disk",
            format!("{} MiB free, below ledger.min_free_bytes: deliveries are refused", free / 1_048_576),
            "make space, or move ledger.data_dir to a larger disk",
        ),
        Err(error) => Finding::wrong("disk", error.to_string(), "check ledger.data_dir"),
    }
}

/// The PostgreSQL that the ledger is in: whether it keeps what it confirms, and what every process of the ledger needs.
async fn database(config: &Config) -> Vec<Finding> {
    match app::examine_database(&config.ledger).await {
        Ok(found) => {
            let wrong = found.wrong.into_iter().map(|(what, help)| Finding::wrong("database", what, help));
            std::iter::once(Finding::sound("database", found.server)).chain(wrong).collect()
        }
        Err(error) => vec![Finding::wrong(
            "database",
            format!("{error:#}"),
            "see that ledger.url, ledger.password and ledger.tls_authorities are right, and that PostgreSQL runs",
        )],
    }
}

/// What to do about a ledger that does not open. The finding says which part is wrong.
const RESTORE: &str = "restore ledger.json, records.sqlite and log/ from one backup of this data folder: its records were \
                       copied first, then its log";

/// What to do about one in PostgreSQL that does not open or is damaged.
const IN_DATABASE: &str = "see the database, above; `douane ledger status` says whether migrations are missing; what is damaged is \
                           in the database's backup";
/// What begins one in PostgreSQL.
const MIGRATE: &str = "`douane ledger migrate` begins the schema or brings it forward; `douane ledger status` says how far it is";

async fn ledger(config: &Config) -> Vec<Finding> {
    let in_database = config.ledger.url.is_some();
    let help = if in_database { IN_DATABASE } else { RESTORE };
    match app::has_ledger(config).await {
        Ok(true) => {}
        Ok(false) => {
            let begins = if in_database { MIGRATE } else { "the first start begins one" };
            let mut findings = vec![Finding::sound("ledger", format!("none yet; {begins}"))];
            findings.extend(brokers_to_be(config, None).await);
            findings.extend(doctor_memory::examine(config, None).await);
            return findings;
        }
        // Said of the database already.
        Err(_) => return brokers_to_be(config, None).await,
    }
    let ledger = match app::open_read_only(config).await {
        Ok(ledger) => ledger,
        Err(error) if error.is::<app::LogNotBegun>() => {
            return vec![Finding::sound("ledger", error.to_string())];
        }
        Err(error) => return vec![Finding::wrong("ledger", format!("{error:#}"), help)],
    };
    let figures = match ledger.records.conservation().await {
        Ok(figures) => figures,
        Err(error) => return vec![Finding::wrong("ledger", error.to_string(), help)],
    };
    let given = ledger.log.durable().0;
    let waiting = given.saturating_sub(figures.worked);
    let (entries, events) =
        (counted(given, "entry", "entries"), counted(figures.domain_events, "event", "events"));
    let found = format!("{entries}, {waiting} waiting, {events}");
    let mut findings = vec![Finding::sound("ledger", found)];
    findings.extend(intake_log(&ledger, help).await);
    findings.extend(brokers(config, &ledger, figures.last_event).await);
    findings.extend(brokers_to_be(config, Some(&ledger)).await);
    findings.extend(doctor_memory::examine(config, Some(&ledger)).await);
    findings
}

/// Every configured broker that could not take up its work.
async fn brokers_to_be(config: &Config, ledger: Option<&Ledger>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for broker in &config.broker {
        if let Err(error) = app::try_broker(broker, &config.ledger, ledger).await {
            let help = "`serve` would not start, or this broker would wait: mend its [[broker]]";
            findings.push(Finding::wrong("broker", format!("{error:#}"), help));
        }
    }
    findings
}

/// What is missing or damaged, as far as the outside of the segments shows it.
async fn intake_log(ledger: &Ledger, help: &'static str) -> Vec<Finding> {
    let mut wrong = match ledger.log.frame().await {
        Ok(wrong) => wrong,
        Err(error) => vec![error.to_string()],
    };
    match ledger.missing_start().await {
        Ok(None) => {}
        Ok(Some((first, last))) => {
            wrong.push(format!("{first} to {last}: missing, and retention did not drop them"));
        }
        Err(error) => wrong.push(error.to_string()),
    }
    wrong.into_iter().map(|found| Finding::wrong("intake log", found, help)).collect()
}

/// Every broker ever seen; one that is no longer configured is parked, and pins nothing.
async fn brokers(config: &Config, ledger: &Ledger, last: EventNumber) -> Vec<Finding> {
    let known = match ledger.records.brokers().await {
        Ok(known) => known,
        Err(error) => return vec![Finding::wrong("broker", error.to_string(), "see the ledger, above")],
    };
    let told = |broker: BrokerState| {
        let configured = config.broker.iter().any(|configured| configured.name == broker.name);
        let parked = if configured { "" } else { ", parked: it is no longer configured" };
        let place = format!("{} has come to event {} of {last}", broker.name, broker.cursor);
        Finding::sound("broker", format!("{place}, refused {}{parked}", broker.dead_letters))
    };
    known.into_iter().map(told).collect()
}

/// The endpoints that the running server has no secret for, as its `/readyz` says.
fn not_configured(readiness: &str) -> Option<Vec<String>> {
    let readiness: serde_json::Value = serde_json::from_str(readiness).ok()?;
    serde_json::from_value(readiness["not_configured"].clone()).ok()
}

/// Partners as their folders say, and what made up values they still have. Whether an endpoint is configured a running server
/// knows (`told`); without one, this shell's environment is looked into.
async fn partners(config: &Config, told: Option<&[String]>) -> Vec<Finding> {
    let registry = match app::load_partners(config, SecretsFrom::Sources, None).await {
        Ok(registry) => registry,
        Err(error) => {
            return vec![Finding::wrong("mappings", format!("{error:#}"), "set mappings.path or --mappings")];
        }
    };
    let mut findings = Vec::new();
    for partner in registry.snapshot().summaries() {
        for problem in &partner.problems {
            findings.push(Finding::wrong("partner", problem.to_string(), "`douane check` says more"));
        }
        let own = partner.endpoints.iter().map(|endpoint| configured(&partner.partner, endpoint, told));
        findings.extend(own);
    }
    findings.extend(made_up(config));
    findings
}

fn configured(partner: &str, endpoint: &EndpointSummary, told: Option<&[String]>) -> Finding {
    let (address, name) = (&endpoint.address, format!("{partner}/{}: ", endpoint.name));
    let help = format!("see mappings/partners/{partner}/setup.md");
    match (told, &endpoint.not_configured) {
        (Some(told), _) => match told.iter().find_map(|line| line.strip_prefix(&name)) {
            Some(why) => Finding::warning("endpoint", format!("{address} answers 503: {why}"), help),
            None => Finding::sound("endpoint", format!("{address} is configured, says the server")),
        },
        (None, Some(why)) => {
            let found = format!("{address} would answer 503 in this shell's environment: {why}");
            Finding::warning("endpoint", found, help)
        }
        (None, None) => {
            Finding::sound("endpoint", format!("{address} is configured in this shell's environment"))
        }
    }
}

/// Values that nobody has put in the place of a preset's: with them no genuine delivery is believed.
fn made_up(config: &Config) -> Vec<Finding> {
    // A folder that cannot be read is told already.
    let Ok(folder) = MappingsFolder::read(&config.mappings.path) else { return Vec::new() };
    let report = check(&folder, &CheckOptions { secrets: SecretsFrom::Sources, fixtures: None });
    let made_up = report.warnings.into_iter().filter(|warning| warning.code == SAMPLE_VALUE);
    let found = |warning: Diagnostic| {
        Finding::warning("endpoint", format!("{}: {}", warning.place(), warning.message), warning.help)
    };
    made_up.map(found).collect()
}
