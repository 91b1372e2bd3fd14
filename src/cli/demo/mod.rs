//! Room `cli`: `douane demo`: the whole road on a temporary folder, or over real engines: every case delivered over real HTTP,
//! signed as its partner would sign it.

mod engines;

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use reqwest::Url;
use serde_json::Value;

use self::engines::{BROKER, EngineArgs, Engines};
use super::{
    Common, Verdict, block_on,
    cases::{self, Case, ExpectedRequest},
    output::{self, counted},
    send::{Reply, Sent, http_client, problem_code},
    signer::Signer,
    test,
};
use crate::{
    app::{self, Gateway, Options},
    config::{Config, DedupeConfig, Roles},
    ledger::{DeliveryRow, EventFilter, Ledger},
    model::{DeliveryId, EventNumber, StoredEvent},
    partners::SecretsFrom,
};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End when every case was shown; exit code 0 when all went as expected
    #[arg(long)]
    once: bool,
    /// The folder of cases
    #[arg(long, default_value = "fixtures", value_name = "FOLDER")]
    fixtures: PathBuf,
    #[command(flatten)]
    engines: EngineArgs,
}

/// The one code that the public door has for all failures of a signature.
const SIGNATURE_FAILED: &str = "signature_failed";

/// One request of a case, as it went.
struct Shown {
    case: String,
    request: usize,
    status: u16,
    outcomes: Vec<String>,
    events: Vec<String>,
    /// Why there are no events, as far as there is a reason.
    reason: Option<String>,
    /// In which ways it is not what the case expects.
    differences: Vec<String>,
}

pub(super) fn run(common: &Common, args: &DemoArgs) -> anyhow::Result<Verdict> {
    let mut config = common.load(Vec::new())?;
    let folder = tempfile::tempdir()?;
    config.ledger.data_dir = folder.path().join("data");
    config.ledger.url = None;
    config.dedupe = DedupeConfig::default();
    config.process.roles = Roles::ALL;
    config.listen.public = "127.0.0.1:0".parse()?;
    config.listen.private = "127.0.0.1:0".parse()?;
    config.listen.health = None;
    config.broker.clear();
    let cases = cases::all(&args.fixtures, None)?;
    block_on(async {
        let engines = if args.engines.engines {
            Some(Engines::set_up(&args.engines, &mut config, folder.path()).await?)
        } else {
            None
        };
        let registry = app::load_partners(&config, SecretsFrom::TestTables, None).await?;
        let stop = app::asked_to_stop()?;
        let gateway = Gateway::start(config.clone(), Options::for_development()).await?;
        let public = gateway.public().context("the public door is not open")?;
        introduce(&gateway, public, &cases);
        let client = http_client()?;
        let to = Url::parse(&format!("http://{public}"))?;
        let partners = registry.snapshot();
        let signer = Signer { partners: &partners, private_key: None };
        let sent = Sent { signer, client: &client, to: &to };
        let shown = deliver_all(&gateway, &sent, &cases, &config.events.namespace).await?;
        let as_expected = shown.iter().filter(|shown| shown.differences.is_empty()).count();
        explain(&shown);
        one_event_in_full(gateway.ledger()).await?;
        let mut all_well = as_expected == shown.len();
        if let Some(engines) = &engines {
            all_well &= read_back(gateway.ledger(), engines).await?;
        }
        let requests = counted(shown.len(), "request", "requests");
        output::say(&format!("\n{as_expected} of {requests} went as expected."));
        if args.once {
            output::say("`douane demo` without --once stays up for you to look around.");
            gateway.run(std::future::ready(())).await?;
        } else {
            what_next(&gateway, public, &config);
            gateway.run(stop).await?;
        }
        if let Some(engines) = &engines {
            engines.stream.remove().await?;
            if let Some(schema) = &engines.left {
                output::say(&format!("The ledger stays; remove it with: DROP SCHEMA {schema} CASCADE"));
            }
        }
        Ok(if all_well { Verdict::Fine } else { Verdict::FoundWrong })
    })
}

fn introduce(gateway: &Gateway, public: SocketAddr, cases: &[Case]) {
    let partners: std::collections::BTreeSet<_> = cases.iter().map(|case| case.partner.as_str()).collect();
    output::say(&format!(
        "A gateway runs on a temporary folder: public door http://{public}, private door http://{}.\n\
         Posted to it: {} of {} ({}), each signed as its partner would sign it.\n",
        gateway.private(),
        counted(cases.len(), "case", "cases"),
        counted(partners.len(), "partner", "partners"),
        partners.into_iter().collect::<Vec<_>>().join(", "),
    ));
}

async fn deliver_all(
    gateway: &Gateway,
    sent: &Sent<'_>,
    cases: &[Case],
    namespace: &str,
) -> anyhow::Result<Vec<Shown>> {
    let mut shown = Vec::new();
    let widths = Widths::of(cases);
    output::say(&widths.line("case", "status", "outcome", "domain events, or why there are none"));
    output::say(&"─".repeat(100));
    for case in cases {
        for (at, (request, expected)) in case.requests.iter().zip(&case.expected.requests).enumerate() {
            let reply = sent.send(request, expected.sign).await?;
            let row = match reply.delivery {
                Some(id) => Some(worked(gateway.ledger(), id).await?),
                None => None,
            };
            let published = published(gateway.ledger(), row.as_ref()).await?;
            let found = found(expected, &reply, row.as_ref(), &published, namespace);
            let events = found.outcomes.iter().flat_map(|outcome| &outcome.events);
            let line = Shown {
                case: case.path(),
                request: at + 1,
                status: reply.status,
                outcomes: outcomes(&reply.body, row.as_ref()),
                events: events.map(|event| event.event_type.clone()).collect(),
                reason: found.outcomes.iter().find_map(|outcome| outcome.reason.clone()),
                differences: expected.differences(&found),
            };
            output::say(&widths.shown(&line));
            shown.push(line);
        }
    }
    Ok(shown)
}

/// Waits until stage 1 has worked the delivery; it wakes by itself.
async fn worked(ledger: &Ledger, id: DeliveryId) -> anyhow::Result<DeliveryRow> {
    let mut look = tokio::time::interval(Duration::from_millis(2));
    for _ in 0..10_000 {
        look.tick().await;
        if let Some(row) = ledger.records.delivery(id).await? {
            return Ok(row);
        }
    }
    anyhow::bail!("the delivery {id} was not worked within 20 seconds")
}

fn outcomes(body: &str, row: Option<&DeliveryRow>) -> Vec<String> {
    match row {
        Some(row) if row.external_events.is_empty() => vec!["no events".to_owned()],
        Some(row) => row.external_events.iter().map(|event| event.outcome.to_string()).collect(),
        None => {
            vec![problem_code(body).map_or_else(|| "handshake".to_owned(), |code| format!("refused: {code}"))]
        }
    }
}

async fn published(ledger: &Ledger, row: Option<&DeliveryRow>) -> anyhow::Result<Vec<StoredEvent>> {
    let Some(row) = row else { return Ok(Vec::new()) };
    if row.external_events.iter().all(|event| event.domain_events.is_empty()) {
        return Ok(Vec::new());
    }
    let all = ledger.records.events_after(EventNumber(0), 10_000, &EventFilter::default()).await?;
    Ok(all.into_iter().filter(|event| event.made_from.number == row.number).collect())
}

/// What was found, in the words of a case.
fn found(
    expected: &ExpectedRequest,
    reply: &Reply,
    row: Option<&DeliveryRow>,
    published: &[StoredEvent],
    namespace: &str,
) -> ExpectedRequest {
    let refusal = problem_code(&reply.body).filter(|_| row.is_none());
    let handshake = row.is_none() && refusal.is_none();
    ExpectedRequest {
        sign: expected.sign,
        status: reply.status,
        refusal: match (&expected.refusal, refusal) {
            // All that a partner, and so the demo, is told of whichever failure of a signature.
            (Some(cause), Some(code)) if code == SIGNATURE_FAILED => Some(cause.clone()),
            (_, code) => code,
        },
        reply_body: handshake.then(|| reply.body.clone()),
        outcomes: row
            .map(|row| test::outcomes(&row.external_events, published, namespace))
            .unwrap_or_default(),
    }
}

/// Says of each ✗ what was expected and what was found.
fn explain(shown: &[Shown]) {
    for wrong in shown.iter().filter(|shown| !shown.differences.is_empty()) {
        output::say(&format!("\n✗ {} #{}", wrong.case, wrong.request));
        test::show_differences(&wrong.differences);
    }
}

async fn one_event_in_full(ledger: &Ledger) -> anyhow::Result<()> {
    let events = ledger.records.events_after(EventNumber(0), 10_000, &EventFilter::default()).await?;
    let captured = events.iter().find(|event| event.event_type.contains("PaymentCaptured"));
    if let Some(event) = captured.or(events.first()) {
        let json: Value = serde_json::from_slice(&event.body).context("a stored event is JSON")?;
        output::say(&format!("\nDomain event {} in full, as every consumer gets it:\n", event.number));
        output::json(&json)?;
    }
    Ok(())
}

/// Reads back what was published and holds it against the ledger; says what it found.
async fn read_back(ledger: &Ledger, engines: &Engines) -> anyhow::Result<bool> {
    let last = ledger.records.last_event().await?;
    let mut look = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..2_000 {
        look.tick().await;
        if ledger.records.broker(BROKER).await?.is_some_and(|broker| broker.cursor >= last) {
            break;
        }
    }
    let stored = ledger.records.events_after(EventNumber(0), 10_000, &EventFilter::default()).await?;
    let read = engines.stream.messages().await?;
    let missing = stored.iter().filter(|event| !read.contains(&event.body)).count();
    let mark = if missing == 0 { "✓" } else { "✗" };
    output::say(&format!(
        "\n{mark} {} read back from the NATS stream; {} of {} among them, byte for byte.",
        counted(read.len(), "message was", "messages were"),
        stored.len() - missing,
        counted(stored.len(), "domain event is", "domain events are"),
    ));
    Ok(missing == 0)
}

fn what_next(gateway: &Gateway, public: SocketAddr, config: &Config) {
    let (private, token) = (gateway.private(), gateway.local_token());
    let data = config.ledger.data_dir.display();
    let (schema, url) = (&config.ledger.schema, config.ledger.url.as_ref());
    let ledger = url.map(|url| format!("DOUANE_LEDGER_URL={url} DOUANE_LEDGER_SCHEMA={schema} "));
    let ledger = ledger.unwrap_or_default();
    output::say(&format!(
        "\nThe gateway stays up until you press Ctrl-C. Try, in another terminal:\n\n\
         \x20 curl -sH 'Authorization: Bearer {token}' 'http://{private}/api/v1/events?limit=3'      # the feed\n\
         \x20 curl -sH 'Authorization: Bearer {token}' 'http://{private}/api/v1/dead-letters'        # what needs a person\n\
         \x20 curl -sH 'Authorization: Bearer {token}' 'http://{private}/api/v1/refusals'            # who was turned away, and why\n\
         \x20 {ledger}douane deliveries ls --data-dir {data}\n\
         \x20 {ledger}douane reconcile --data-dir {data}\n\
         \x20 douane send stripe/payment-captured --to http://{public}                              # again: a duplicate\n"
    ));
}

/// The columns of the live table.
struct Widths {
    case: usize,
    colours: bool,
}

impl Widths {
    fn of(cases: &[Case]) -> Self {
        let longest = cases.iter().map(|case| case.path().len() + 3).max().unwrap_or(0);
        Self { case: longest.max(20), colours: std::io::stdout().is_terminal() }
    }

    fn line(&self, case: &str, status: &str, outcome: &str, events: &str) -> String {
        format!("  {case:<width$} {status:<7} {outcome:<30} {events}", width = self.case)
    }

    fn shown(&self, shown: &Shown) -> String {
        let case = match shown.request {
            1 => shown.case.clone(),
            more => format!("{} #{more}", shown.case),
        };
        let events = match &shown.reason {
            Some(reason) if shown.events.is_empty() => format!("({})", shortened(reason)),
            _ => grouped(&shown.events),
        };
        let line = self.line(&case, &shown.status.to_string(), &grouped(&shown.outcomes), &events);
        let as_expected = shown.differences.is_empty();
        let mark = if as_expected { '✓' } else { '✗' };
        let colour = match (as_expected, shown.status) {
            _ if !self.colours => return format!("{mark}{}", &line[1..]),
            (false, _) => 31,
            (true, 200..=299) if shown.outcomes.iter().all(|outcome| outcome == "translated") => 32,
            (true, _) => 33,
        };
        format!("\x1b[{colour}m{mark}\x1b[0m{}", &line[1..])
    }
}

/// So many characters of a reason fit beside its case.
const REASON: usize = 72;

fn shortened(reason: &str) -> String {
    if reason.chars().count() <= REASON {
        return reason.to_owned();
    }
    reason.chars().take(REASON - 1).chain(['…']).collect()
}

/// `translated ×3, duplicate`: repeats are counted.
fn grouped(names: &[String]) -> String {
    let mut groups: Vec<(&String, usize)> = Vec::new();
    for name in names {
        match groups.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ => groups.push((name, 1)),
        }
    }
    let texts = groups.into_iter().map(|(name, count)| match count {
        1 => name.clone(),
        count => format!("{name} ×{count}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}
