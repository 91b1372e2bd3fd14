//! Room `app`: the house, running: both doors open, the stages at work, everything stopped in order.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    House, Options, Serving, others::Others, processors::Processors, readiness::Signs, revealing,
    stage_threads::StageThreads, upkeep,
};
use crate::{
    config::Config,
    console::{self, Console},
    intake::{self, ListenerLimits},
    ledger::{
        Ledger,
        group_commit::{Crowd, GroupCommit},
        log::lock::FolderLock,
    },
    model::Secret,
    pipeline::{self, Pace, PartnersWait, Stage, StageError},
    telemetry::metrics::{self, Recorder},
};

/// Without news a stage looks again after so long: a desk may have come back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A live feed that takes neither events nor heartbeats for so long is read by nobody.
const LIVE_FEED: Duration = Duration::from_mins(1);
/// The private doors serve few, trusted callers.
const PRIVATE_CONNECTIONS: usize = 256;

/// A running gateway.
pub struct Gateway {
    serving: Serving,
    ledger: Ledger,
    log: GroupCommit,
    data_dir: PathBuf,
    stop_doors: watch::Sender<bool>,
    stop_work: watch::Sender<bool>,
    doors: JoinSet<()>,
    work: JoinSet<anyhow::Result<()>>,
    after: After,
    _lock: FolderLock,
}

/// What ends after the stages.
struct After {
    /// The stages' own.
    threads: StageThreads,
    notes: JoinHandle<()>,
    /// Others take over the work at once when the leases are given up: not before it is done.
    leases: Option<JoinHandle<()>>,
    stop_leases: watch::Sender<bool>,
}

/// The open sockets, bound before anything else so that a taken address costs nothing.
struct Sockets {
    /// Only with the role intake.
    public: Option<TcpListener>,
    private: TcpListener,
    health: Option<TcpListener>,
}

impl Gateway {
    /// Composes the house, opens the doors and starts the stages.
    pub async fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        intake::raise_open_files_limit(config.intake.max_connections as u64 * 2);
        let sockets = Sockets::bind(&config).await?;
        let recorder = metrics::install()?;
        let house = House::build(config, options).await?;
        let serving = Serving {
            public: sockets.public.as_ref().map(TcpListener::local_addr).transpose()?,
            private: sockets.private.local_addr()?,
            console: house.config.process.roles.console,
            token: house.local_token.clone(),
        };
        serving.write(&house.config.ledger.data_dir)?;
        let (stop_doors, doors_stop) = watch::channel(false);
        let (stop_work, work_stop) = watch::channel(false);
        let reachable = watch::Sender::new(None);
        let doors = open_doors(&house, sockets, (&recorder, &reachable), &doors_stop);
        let (ledger, log) = (house.ledger.clone(), house.log.clone());
        let (data_dir, clock) = (house.config.ledger.data_dir.clone(), Arc::clone(&house.options.clock));
        let roles = house.config.process.roles;
        let disk = house.others.is_none().then(|| data_dir.clone());
        let brokers = house.config.broker.iter().map(|broker| broker.name.clone()).collect();
        let (mut work, after, lock) = start_work(house, reachable, &work_stop)?;
        let tidy = upkeep::tidy_metrics(recorder, (disk, brokers), ledger.clone(), clock, work_stop);
        work.spawn_on(tidy, after.threads.handle());
        tracing::info!(public = serving.public.map(tracing::field::display), private = %serving.private, %roles, "serving");
        Ok(Self { serving, ledger, log, data_dir, stop_doors, stop_work, doors, work, after, _lock: lock })
    }

    /// Where the public door is; `None` without the role intake.
    pub fn public(&self) -> Option<SocketAddr> {
        self.serving.public
    }

    /// Where the private door is.
    pub fn private(&self) -> SocketAddr {
        self.serving.private
    }

    /// The token of verbs on this machine.
    pub fn local_token(&self) -> &str {
        &self.serving.token
    }

    /// The ledger, to read.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Runs until `stop` completes, then stops in order: doors first, so that what was accepted is finished, then the
    /// writer, then the stages. An error when the process must stop by itself: it recovers from disk at the next start.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut fatal = self.log.fatal();
        let failed = tokio::select! {
            () = stop => None,
            _ = fatal.wait_for(Option::is_some) => {
                Some(anyhow!("the intake log is in an unknown state; the next start recovers it from disk"))
            }
            error = first_failure(&mut self.work) => Some(error),
        };
        if let Some(error) = failed {
            // Nothing may be written any more; what is open is left as it is.
            return Err(error);
        }
        tracing::info!("stopping");
        self.stop_doors.send_replace(true);
        while self.doors.join_next().await.is_some() {}
        self.log.close().await;
        if let Some(reason) = fatal.borrow().clone() {
            bail!("{reason}; the next start recovers the intake log from disk");
        }
        self.stop_work.send_replace(true);
        while let Some(ended) = self.work.join_next().await {
            ended??;
        }
        self.after.stop_leases.send_replace(true);
        if let Some(leases) = self.after.leases {
            leases.await?;
        }
        self.after.notes.await?;
        Serving::remove(&self.data_dir);
        tracing::info!("stopped");
        Ok(())
    }
}

/// Completes when a task must stop the process. One that merely has nothing to do (no retention, no scrub) may end.
async fn first_failure(work: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Error {
    while let Some(ended) = work.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(panicked) => return panicked.into(),
        }
    }
    std::future::pending().await
}

impl Sockets {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let health = match config.listen.health {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let public = if config.process.roles.intake { Some(bind(config.listen.public).await?) } else { None };
        Ok(Self { public, private: bind(config.listen.private).await?, health })
    }
}

/// Opens a door at an address.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn open_doors(
    house: &House,
    sockets: Sockets,
    (recorder, reachable): (&Recorder, &watch::Sender<Option<String>>),
    stop: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut doors = JoinSet::new();
    let public = ListenerLimits::new("public", &house.config.intake);
    let private = ListenerLimits {
        door: "private",
        max_connections: PRIVATE_CONNECTIONS,
        answer_timeout: LIVE_FEED.max(house.config.publication.feed_heartbeat.0 * 4),
        ..ListenerLimits::new("private", &house.config.intake)
    };
    let console = console(house, recorder.clone(), (reachable.subscribe(), stop));
    if let Some(health) = sockets.health {
        let router = console::health_only(console.clone());
        doors.spawn(intake::serve(health, router, private.clone(), asked(stop.clone())));
    }
    if let Some(socket) = sockets.public {
        let door = Arc::clone(&house.door);
        doors.spawn(intake::serve_partners(socket, door, public, asked(stop.clone())));
    }
    let api = house.config.process.roles.console;
    let router = if api { console::router(console) } else { console::health_only(console) };
    doors.spawn(intake::serve(sockets.private, router, private, asked(stop.clone())));
    doors
}

fn console(
    house: &House,
    recorder: Recorder,
    (reachable, stop): (watch::Receiver<Option<String>>, &watch::Receiver<bool>),
) -> Console {
    let signs = Signs {
        reachable,
        registry: Arc::clone(&house.registry),
        fatal: house.log.fatal(),
        stopping: stop.clone(),
        disk: house.others.is_none().then(|| house.config.ledger.clone()),
    };
    Console {
        ledger: house.ledger.clone(),
        log: house.log.clone(),
        clock: Arc::clone(&house.options.clock),
        committed: house.committed.subscribe(),
        local_token: Secret::new(house.local_token.as_bytes()),
        readiness: signs.asked(),
        learnt: revealing::learnt(house),
        render_metrics: Arc::new(move || recorder.render()),
        namespace: house.config.events.namespace.clone(),
        heartbeat: house.config.publication.feed_heartbeat.0,
        stop: stop.clone(),
    }
}

type Work = (JoinSet<anyhow::Result<()>>, After, FolderLock);

fn start_work(
    house: House,
    reachable: watch::Sender<Option<String>>,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<Work> {
    let (mut work, roles) = (JoinSet::new(), house.config.process.roles);
    let threads = StageThreads::start().context("cannot start the threads of the stages")?;
    let stages = threads.handle();
    // Here and not in the task: until somebody listens, a SIGHUP ends the process.
    let hang_up = signal(SignalKind::hangup())?;
    let pace = Pace {
        min_backoff: house.config.publication.min_backoff.0,
        max_backoff: house.config.publication.max_backoff.0,
        look_again: LOOK_AGAIN,
    };
    // What works for the stages elsewhere works there for partners too.
    let partners_wait: PartnersWait = match &house.others {
        Some(_) => partners_wait(house.log.crowd()),
        None => Arc::new(|| false),
    };
    let pace = (pace, partners_wait);
    let entries = house.others.as_ref().map_or_else(|| house.log.durable(), Others::news);
    if roles.translate {
        work.spawn_on(run_stage(house.translation, entries, stop.clone(), pace.clone()), stages);
        work.spawn_on(
            run_stage(house.confirmation, house.links.subscribe(), stop.clone(), pace.clone()),
            stages,
        );
    }
    if roles.publish {
        for publication in house.publications {
            work.spawn_on(
                run_stage(publication, house.committed.subscribe(), stop.clone(), pace.clone()),
                stages,
            );
        }
    }
    let (ledger, config) = (house.ledger, house.config);
    if let Some(others) = house.others {
        let followed = others.follow(config.ledger.clone(), house.committed, reachable, stop.clone());
        work.spawn_on(followed, stages);
    }
    work.spawn(house.reloader.run(hang_up, stop.clone()));
    if roles.intake || roles.console {
        work.spawn(house.learning.run(stop.clone()));
    }
    if roles.translate {
        work.spawn_on(upkeep::scrub(ledger.clone(), config.ledger, stop.clone()), stages);
    }
    work.spawn_on(upkeep::retention(ledger, config.retention, house.options.clock, stop.clone()), stages);
    let (stop_leases, leases_stop) = watch::channel(false);
    let leases = house.leases.map(|keeper| tokio::spawn(keeper.run(leases_stop)));
    let after = After { threads, notes: tokio::spawn(house.note_keeper.run()), leases, stop_leases };
    Ok((work, after, house.lock))
}

/// Whether partners queue for the log while the processors have no time left.
fn partners_wait(crowd: Crowd) -> PartnersWait {
    let processors = Processors::new();
    Arc::new(move || crowd.is_there() && processors.are_busy())
}

async fn run_stage<T: Send + Sync>(
    mut stage: impl Stage,
    news: watch::Receiver<T>,
    stop: watch::Receiver<bool>,
    (pace, partners_wait): (Pace, PartnersWait),
) -> anyhow::Result<()> {
    let name = stage.name();
    let ended: Result<(), StageError> = pipeline::run(&mut stage, news, stop, pace, &partners_wait).await;
    ended.with_context(|| format!("the stage {name} must stop; the next start recovers from disk"))
}

/// Completes when the doors are to close.
async fn asked(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the gateway is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}
