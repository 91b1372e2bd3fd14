//! Room `app`: the house, composed and standing still: every room with its neighbours in hand, nothing running.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::sync::watch;

use super::{
    brokers, confirmer::Confirmer, learning::Learning, ledger, memory, others::Others, reloader::Reloader,
};
use crate::{
    clock::{Clock, SystemClock},
    config::{Config, LedgerConfig},
    intake::{NoteKeeper, Notes, PublicDoor, Rooms},
    keys::remote::RemoteKeys,
    ledger::{
        IntakeLog, Ledger, Records,
        group_commit::{GroupCommit, GroupCommitLimits},
        log::lock::FolderLock,
    },
    model::{EntryNumber, EventNumber},
    partners::{Registry, SecretsFrom},
    pipeline::{
        ConfirmationStage, CrashNote, LeaseKeeper, PublicationParts, PublicationStage, TranslationParts,
        TranslationStage,
    },
    signatures::Roots,
};

/// Names the range that stage 1 works, in the data folder: what an unclean end leaves.
const CRASH_NOTE: &str = "translating.note";

/// What a house is built with beside its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which secrets count.
    pub secrets: SecretsFrom,
    /// Where the partners are. Desks that it holds already are not compiled again.
    pub registry: Arc<Registry>,
}

impl Options {
    /// For `serve`: the system's clock, the secrets that `from` names.
    pub fn for_service() -> Self {
        Self { clock: Arc::new(SystemClock), secrets: SecretsFrom::Sources, registry: Arc::default() }
    }

    /// For the demo and for tests: the development secrets of `[test]`.
    pub fn for_development() -> Self {
        Self { secrets: SecretsFrom::TestTables, ..Self::for_service() }
    }
}

/// Everything composed, nothing running.
pub struct House {
    pub(super) config: Config,
    pub(super) options: Options,
    pub(super) lock: FolderLock,
    pub(super) ledger: Ledger,
    pub(super) log: GroupCommit,
    pub(super) registry: Arc<Registry>,
    pub(super) door: Arc<PublicDoor>,
    pub(super) note_keeper: NoteKeeper,
    pub(super) reloader: Reloader,
    pub(super) learning: Learning,
    pub(super) translation: TranslationStage,
    pub(super) confirmation: ConfirmationStage,
    pub(super) publications: Vec<PublicationStage>,
    pub(super) others: Option<Others>,
    pub(super) leases: Option<LeaseKeeper>,
    pub(super) committed: watch::Sender<EventNumber>,
    pub(super) links: watch::Sender<EntryNumber>,
    pub(super) local_token: String,
}

impl House {
    /// Opens the ledger, loads the partners and puts every room beside its neighbours. Metrics are installed before, or
    /// not at all.
    pub async fn build(config: Config, options: Options) -> anyhow::Result<Self> {
        let opened = ledger::open(&config.ledger).await?;
        let ledger = opened.ledger;
        let log = group_commit(opened.writer, Arc::clone(&options.clock), &config.ledger);
        let registry = Arc::clone(&options.registry);
        let mut reloader = Reloader::new(&config, &options, &ledger.records);
        let broken = reloader.reload().await.context("cannot read the mappings")?;
        if broken > 0 && config.mappings.strict {
            bail!(
                "{} broken and mappings.strict is set; `douane check` says what is wrong",
                if broken == 1 { "1 partner is".to_owned() } else { format!("{broken} partners are") }
            );
        }
        let (notes, note_keeper) = Notes::new(Arc::clone(&ledger.records) as _, config.intake.refusals_kept);
        let keys = RemoteKeys::new(&config.keys, Arc::clone(&options.clock))?;
        let learning = Learning::begin(&ledger, &opened.sealer, (&registry, &options.clock)).await?;
        let rooms = Rooms {
            partners: Arc::clone(&registry),
            log: log.clone(),
            sealer: opened.sealer,
            roots: roots(&keys)?,
            keys,
            clock: Arc::clone(&options.clock),
            notes,
            records: Arc::clone(&ledger.records) as _,
            learnt: learning.learnt.clone(),
        };
        let door = Arc::new(PublicDoor::new(rooms, &config.intake));
        let committed = watch::Sender::new(ledger.records.last_event().await?);
        let links = watch::Sender::default();
        let news = (committed.clone(), links.clone());
        let stages = (
            translation(&config, &options, &ledger, (Arc::clone(&registry), news))?,
            confirmation(&config, &options, &ledger)?,
            publications(&config, &options, &ledger.records).await?,
        );
        let leases = opened.others.as_ref().map(|others| others.keeper(&config));
        let shared = leases.as_ref().zip(opened.others.as_ref());
        let (translation, confirmation, publications) = sharing(stages, shared);
        Ok(Self {
            local_token: chance()?,
            lock: opened.lock,
            config,
            options,
            ledger,
            log,
            registry,
            door,
            note_keeper,
            reloader,
            learning,
            translation,
            confirmation,
            publications,
            others: opened.others,
            leases,
            committed,
            links,
        })
    }
}

type Stages = (TranslationStage, ConfirmationStage, Vec<PublicationStage>);

/// Has each stage work only what this process leases, where processes share the work.
fn sharing(stages: Stages, shared: Option<(&LeaseKeeper, &Others)>) -> Stages {
    let Some((leases, others)) = shared else { return stages };
    let (translation, confirmation, publications) = stages;
    (
        translation.sharing(leases.held(), others.suspects()),
        confirmation.sharing(leases.held()),
        publications.into_iter().map(|stage| stage.sharing(leases.held())).collect(),
    )
}

/// Who may vouch for certificates that providers publish.
pub(super) fn roots(keys: &RemoteKeys) -> anyhow::Result<Roots> {
    match keys.extra_roots() {
        None => Ok(Roots::public()),
        Some(pem) => Roots::public().with(pem).map_err(|why| anyhow!("keys.extra_roots: {why}")),
    }
}

fn translation(
    config: &Config,
    options: &Options,
    ledger: &Ledger,
    (registry, (committed, links)): (Arc<Registry>, (watch::Sender<EventNumber>, watch::Sender<EntryNumber>)),
) -> anyhow::Result<TranslationStage> {
    let parts = TranslationParts {
        log: Arc::clone(&ledger.log),
        records: Arc::clone(&ledger.records) as _,
        memory: if config.process.roles.translate {
            memory::memory(&config.dedupe, &ledger.records, &options.clock)?
        } else {
            None
        },
        registry,
        clock: Arc::clone(&options.clock),
        config: config.translation.clone(),
        namespace: config.events.namespace.clone(),
        crash_note: CrashNote::open(&config.ledger.data_dir.join(CRASH_NOTE))?,
        committed,
        links,
    };
    Ok(TranslationStage::new(parts)?)
}

fn confirmation(config: &Config, options: &Options, ledger: &Ledger) -> anyhow::Result<ConfirmationStage> {
    let confirmer = Confirmer(RemoteKeys::new(&config.keys, Arc::clone(&options.clock))?);
    let records = Arc::clone(&ledger.records) as _;
    Ok(ConfirmationStage::new(records, Arc::new(confirmer), Arc::clone(&options.clock)))
}

async fn publications(
    config: &Config,
    options: &Options,
    records: &Arc<dyn Records>,
) -> anyhow::Result<Vec<PublicationStage>> {
    let mut stages = Vec::new();
    let own = config.broker.iter().filter(|_| config.process.roles.publish);
    for settings in own {
        let parts = PublicationParts {
            feed: Arc::clone(records) as _,
            records: Arc::clone(records) as _,
            broker: brokers::broker(settings, &options.clock),
            matching: settings.matching.clone(),
            batch_events: config.publication.batch_events,
            clock: Arc::clone(&options.clock),
        };
        stages.push(PublicationStage::open(parts, settings.from).await?);
    }
    Ok(stages)
}

/// The one writer before an intake log.
pub(super) fn group_commit(
    log: Box<dyn IntakeLog>,
    clock: Arc<dyn Clock>,
    config: &LedgerConfig,
) -> GroupCommit {
    let limits = GroupCommitLimits {
        batch_entries: config.batch_entries,
        batch_bytes: config.batch_bytes,
        queue_entries: config.queue_entries,
        interval: config.commit_interval.0,
    };
    GroupCommit::start(log, clock, limits)
}

fn chance() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
