//! Room `cli`: `douane test`: every case through the whole house, stepped by hand, each on a ledger of its own.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use clap::Args;
use serde::Serialize;

use super::{
    Common, Verdict, block_on,
    cases::{self, Case, ExpectedEvent, ExpectedOutcome, ExpectedRequest, Sign},
    output::{self, Format, counted},
    signer,
};
use crate::{
    app::Rehearsal,
    config::{Config, LedgerConfig},
    ledger::EventRow,
    model::{Diagnostic, StoredEvent, Timestamp},
    partners::{MappingsFolder, Registry, SecretsFrom},
};

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Only this partner's cases
    partner: Option<String>,
    /// The folder of cases
    #[arg(long, default_value = "fixtures", value_name = "FOLDER")]
    fixtures: PathBuf,
    /// Accept what is found as what is expected, by writing expected.json anew where they differ
    #[arg(long)]
    bless: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a case went.
#[derive(Debug, Serialize)]
struct Tested {
    case: String,
    as_expected: bool,
    #[serde(skip)]
    blessed: bool,
    /// What differs, one line or several each.
    differences: Vec<String>,
}

/// When the first request of a case is sent: 2026-11-23T12:00:00Z. Each next one comes a minute later.
const BEGIN: Timestamp = Timestamp::from_micros(1_795_435_200_000_000);
const BETWEEN: std::time::Duration = std::time::Duration::from_mins(1);

pub(super) fn run(common: &Common, args: &TestArgs) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    let read = if args.bless { cases::all_to_bless } else { cases::all };
    let cases = read(&args.fixtures, args.partner.as_deref())?;
    let bar = output::progress(cases.len() as u64, "testing");
    let player = Player::new(config);
    let broken = player.broken(&cases)?;
    if args.format == Format::Table {
        broken.values().flatten().for_each(|problem| output::say(&format!("error: {problem}\n")));
    }
    let mut tested = Vec::new();
    for case in &cases {
        let this = match broken.get(&case.partner) {
            Some(problems) => Tested::not_played(case, problems),
            None => Tested::played(case, block_on(player.play(case))?, args.bless)?,
        };
        bar.inc(1);
        if args.format == Format::Table {
            bar.suspend(|| show(&this));
        }
        tested.push(this);
    }
    bar.finish_and_clear();
    let wrong = tested.iter().filter(|tested| !tested.as_expected).count();
    match args.format {
        Format::Json => output::json(&tested)?,
        Format::Table => output::say(&summary(&tested, wrong, args.bless)),
    }
    Ok(if wrong == 0 { Verdict::Fine } else { Verdict::FoundWrong })
}

impl Tested {
    /// A case that was played; `bless` makes what was found what is expected.
    fn played(case: &Case, found: Vec<ExpectedRequest>, bless: bool) -> anyhow::Result<Self> {
        let differences = differences(case, &found);
        let blessed = bless && !differences.is_empty();
        if blessed {
            case.bless(found)?;
        }
        let as_expected = blessed || differences.is_empty();
        let differences = if blessed { Vec::new() } else { differences };
        Ok(Self { case: case.path(), as_expected, blessed, differences })
    }

    /// A case of a partner that does not load.
    fn not_played(case: &Case, problems: &[Diagnostic]) -> Self {
        let first_line = |problem: &Diagnostic| problem.to_string().lines().next().map(str::to_owned);
        let why = problems.iter().filter_map(first_line).map(|line| format!("not played: {line}"));
        Self { case: case.path(), as_expected: false, blessed: false, differences: why.collect() }
    }
}

fn summary(tested: &[Tested], wrong: usize, bless: bool) -> String {
    let blessed = tested.iter().filter(|tested| tested.blessed).count();
    let what = match (bless, wrong) {
        (true, 0) => format!("{blessed} written anew"),
        (true, wrong) => format!("{blessed} written anew, {wrong} not played"),
        (false, wrong) => format!("{wrong} not as expected"),
    };
    format!("{}: {what}", counted(tested.len(), "case", "cases"))
}

fn show(tested: &Tested) {
    let mark = if tested.as_expected { "ok  " } else { "FAIL" };
    output::say(&format!("{mark} {}", tested.case));
    show_differences(&tested.differences);
}

pub(super) fn show_differences(differences: &[String]) {
    for difference in differences {
        output::say(&format!("     {}", difference.replace('\n', "\n     ")));
    }
}

/// Every way in which what was found is not what the case expects.
pub fn differences(case: &Case, found: &[ExpectedRequest]) -> Vec<String> {
    let pairs = case.expected.requests.iter().zip(found).enumerate();
    let differences = pairs.flat_map(|(at, (expected, found))| {
        expected
            .differences(found)
            .into_iter()
            .map(move |difference| format!("request {}: {difference}", at + 1))
    });
    let (entries, requests) = (case.expected.requests.len(), found.len());
    let uneven = (entries != requests).then(|| format!("requests: expected {entries}, found {requests}"));
    differences.chain(uneven).collect()
}

/// Plays cases, each on a ledger of its own. The partners are compiled once.
pub struct Player {
    config: Config,
    registry: Arc<Registry>,
}

impl Player {
    /// Plays by the mappings and the namespace of a configuration.
    pub fn new(config: Config) -> Self {
        Self { config, registry: Arc::default() }
    }

    /// What is wrong with those partners of the cases that do not load: nothing of theirs can be played.
    fn broken(&self, cases: &[Case]) -> anyhow::Result<BTreeMap<String, Vec<Diagnostic>>> {
        let folder = MappingsFolder::read(&self.config.mappings.path)?;
        let mut problems = self.registry.reload(&folder, &BTreeMap::new(), SecretsFrom::TestTables).problems;
        problems.retain(|partner, _| cases.iter().any(|case| case.partner == *partner));
        Ok(problems)
    }

    /// Plays a case and says what became of each request.
    pub async fn play(&self, case: &Case) -> anyhow::Result<Vec<ExpectedRequest>> {
        let mappings = &self.config.mappings.path;
        let house = Rehearsal::begin_with(mappings, BEGIN, Arc::clone(&self.registry)).await?;
        self.play_in(house, case).await
    }

    /// The same on a ledger that is empty, and stays.
    pub async fn play_on(&self, ledger: LedgerConfig, case: &Case) -> anyhow::Result<Vec<ExpectedRequest>> {
        let config = Config { ledger, ..self.config.clone() };
        let house = Rehearsal::on_with(config, BEGIN, Arc::clone(&self.registry)).await?;
        self.play_in(house, case).await
    }

    async fn play_in(&self, mut house: Rehearsal, case: &Case) -> anyhow::Result<Vec<ExpectedRequest>> {
        let mut found = Vec::new();
        for (at, request) in case.requests.iter().enumerate() {
            let sign = case.expected.requests.get(at).map(|expected| expected.sign).unwrap_or_default();
            found.push(play_one(&mut house, &self.config, request, sign).await?);
            house.clock.advance(BETWEEN);
        }
        house.end().await?;
        Ok(found)
    }
}

async fn play_one(
    house: &mut Rehearsal,
    config: &Config,
    request: &crate::model::RawRequest,
    sign: Sign,
) -> anyhow::Result<ExpectedRequest> {
    let snapshot = house.registry().snapshot();
    let now = crate::clock::Clock::now(&*house.clock);
    let signed = signer::signed(&snapshot, request, sign, now)?;
    let answered = house.deliver(&signed).await?;
    house.settle().await?;
    let published = house.published().await?;
    let reply_body = answered.delivery.is_none() && answered.refusal.is_none();
    let events = match answered.delivery {
        Some(id) => house.outcome_of(id).await?.external_events,
        None => Vec::new(),
    };
    Ok(ExpectedRequest {
        sign,
        status: answered.status,
        refusal: answered.refusal,
        reply_body: reply_body.then_some(answered.body),
        outcomes: outcomes(&events, &published, &config.events.namespace),
    })
}

/// What became of the events of a delivery, as a case would expect it.
pub(super) fn outcomes(
    events: &[EventRow],
    published: &[StoredEvent],
    namespace: &str,
) -> Vec<ExpectedOutcome> {
    events.iter().map(|event| outcome(event, published, namespace)).collect()
}

fn outcome(event: &EventRow, published: &[StoredEvent], namespace: &str) -> ExpectedOutcome {
    let made_from_it = published.iter().filter(|stored| stored.made_from == event.at);
    ExpectedOutcome {
        external_id: event.external_id.clone(),
        event_type: event.event_type.clone(),
        outcome: event.outcome.to_string(),
        reason: event.reason.clone(),
        events: made_from_it.map(|stored| domain_event(stored, namespace)).collect(),
    }
}

fn domain_event(stored: &StoredEvent, namespace: &str) -> ExpectedEvent {
    let event: serde_json::Value = serde_json::from_slice(&stored.body).unwrap_or_default();
    let without_namespace = stored.event_type.strip_prefix(namespace).unwrap_or(&stored.event_type);
    ExpectedEvent {
        event_type: without_namespace.trim_start_matches('.').to_owned(),
        subject: event["subject"].as_str().map(str::to_owned),
        data: event["data"].clone(),
    }
}
