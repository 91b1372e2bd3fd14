//! The world that chaos falls upon: replicas of the real binary over one PostgreSQL, one Redis and one NATS, each with a name that
//! PostgreSQL can tell.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, stream};

use super::{
    load::{Doors, Load},
    watch,
};
use crate::{
    process::{Process, Ran},
    servers::{
        nats::{self, Nats},
        postgres::Postgres,
        process::{DEADLINE, until},
        redis::{self as redis_server, Redis},
    },
    site::Site,
};

/// The broker, and its stream.
pub const BROKER: &str = "nats";
pub const STREAM: &str = "CHAOS";

/// Everything that can be disturbed.
pub struct World {
    pub site: Site,
    pub redis: Redis,
    pub nats: Nats,
    pub replicas: Vec<Replica>,
    pub doors: Arc<Doors>,
}

/// One of several gateways on one ledger. Each start of it has a name of its own.
pub struct Replica {
    place: usize,
    starts: usize,
    gateway: Option<Process>,
}

impl Replica {
    /// What it calls itself in PostgreSQL.
    pub fn name(&self) -> String {
        format!("douane-{}-{}", self.place, self.starts)
    }

    fn runs_still(&mut self) {
        let ended = self.gateway.as_mut().and_then(Process::ended);
        assert!(ended.is_none(), "{} ended by itself: {ended:?}", self.name());
    }

    /// It runs.
    pub fn gateway(&self) -> &Process {
        self.gateway.as_ref().expect("it runs")
    }
}

impl World {
    /// Starts so many replicas on an empty ledger.
    pub async fn start(replicas: usize) -> Self {
        let (nats, redis) = (nats::start_as_it_comes(), redis_server::with_snapshots());
        let jetstream = jetstream::new(async_nats::connect(nats.url()).await.expect("it connects"));
        let subjects = vec!["lab.>".to_owned()];
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects,
            // What is sent again is to be seen again.
            duplicate_window: Duration::from_millis(100),
            ..stream::Config::default()
        };
        jetstream.create_stream(config).await.expect("a stream");
        let site = Site::on(Postgres::that_syncs(&["max_connections=200"]), &settings(&nats, &redis));
        several_partners(&site);
        let replicas = (0..replicas).map(|place| Replica { place, starts: 0, gateway: None }).collect();
        let mut world = Self { site, redis, nats, replicas, doors: Arc::default() };
        world.verb(&["ledger", "migrate"]).ended(0);
        watch::begin(world.postgres());
        for place in 0..world.replicas.len() {
            world.start_replica(place);
        }
        world
    }

    /// The PostgreSQL of the ledger.
    pub fn postgres(&self) -> &Postgres {
        &self.site.postgres
    }

    /// Runs a verb on the ledger, beside the replicas.
    pub fn verb(&self, arguments: &[&str]) -> Ran {
        self.site.verb("verbs", arguments)
    }

    /// Starts a replica that does not run. It needs PostgreSQL.
    pub fn start_replica(&mut self, place: usize) {
        let replica = &mut self.replicas[place];
        replica.starts += 1;
        let url = format!("{}?application_name={}", self.site.postgres.url(), replica.name());
        let name = format!("replica-{place}");
        replica.gateway = Some(self.site.start_with(&name, &[("DOUANE_LEDGER_URL", &url)]));
        self.open_doors();
    }

    /// Ends a replica as a power switch would.
    pub fn kill_replica(&mut self, place: usize) {
        self.replicas[place].runs_still();
        self.replicas[place].gateway.take().expect("it runs").kill();
        self.open_doors();
    }

    fn open_doors(&self) {
        self.doors.set(self.public());
    }

    /// Where the replicas that run take deliveries.
    pub fn public(&self) -> Vec<SocketAddr> {
        self.replicas.iter().filter_map(|replica| replica.gateway.as_ref()).map(|it| it.public).collect()
    }

    /// Disturbs the world while it takes a load; returns when all of that is acked.
    pub fn under(&mut self, load: &Load, mut disturb: impl FnMut(&mut Self)) {
        let doors = Arc::clone(&self.doors);
        std::thread::scope(|scope| {
            let posting = scope.spawn(|| load.run(&doors));
            while load.goes_on() && !posting.is_finished() {
                disturb(self);
            }
        });
    }

    /// Lets the replicas work and publish what is left, and ends them in good order.
    pub fn settle(&mut self) {
        for replica in &mut self.replicas {
            replica.runs_still();
        }
        let (began, mut left) = (Instant::now(), self.left());
        let published = until(|| {
            let now = self.left();
            let done = now.iter().all(|&left| left == 0);
            left = now;
            done
        });
        assert!(published, "not worked, not published: {left:?}");
        println!("settled after {:.1?}", began.elapsed());
    }

    /// How many entries are not worked, and how many domain events not published.
    fn left(&self) -> [i64; 2] {
        let told = self.postgres().sql(&format!(
            "SET search_path = douane; SELECT (SELECT last FROM log_end) - (SELECT count(*) FROM entries);
             SELECT (SELECT last FROM event_counter) - (SELECT through FROM brokers WHERE name = '{BROKER}')"
        ));
        let mut figures = told.lines().map(|line| line.parse().expect("a number"));
        [figures.next().expect("entries"), figures.next().expect("events")]
    }

    /// Ends every replica in good order.
    pub fn stop(&mut self) {
        for replica in &mut self.replicas {
            let ended = replica.gateway.take().expect("it runs").terminate();
            assert!(ended.success(), "{}: a graceful end exits 0", replica.name());
        }
    }
}

/// Lets time pass.
pub fn pass(how_long: Duration) {
    assert!(how_long < DEADLINE, "nobody waits so long");
    std::thread::sleep(how_long);
}

/// What stands in the configuration beside the ledger.
fn settings(nats: &Nats, redis: &Redis) -> String {
    format!(
        r#"
[dedupe]
url = "{}"

[publication]
max_backoff = "500ms"

[[broker]]
name = "{BROKER}"
kind = "nats"
from = "beginning"
servers = ["{}"]
stream = "{STREAM}"
"#,
        redis.url(),
        nats.url()
    )
}

/// Three partners with two endpoints each.
fn several_partners(site: &Site) {
    site.mappings
        .change_partner("name = \"default\"", "name = \"default\"\n\n[[endpoint]]\nname = \"other\"");
    site.mappings.another_partner("b");
    site.mappings.another_partner("c");
}
