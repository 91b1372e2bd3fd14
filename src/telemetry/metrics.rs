//! Room `telemetry`: every metric, named once. The texts below are what `/metrics` shows. A label carries only names
//! that exist (partners, endpoints, brokers) and words from a closed list, so that outside input cannot add series.

use std::time::Duration;

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// How often [`Recorder::tidy`] is due: histograms keep raw samples until then.
pub const TIDY_EVERY: Duration = Duration::from_secs(5);

/// What a metric does with the figures it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distributes figures over these upper bounds.
    Histogram(Buckets),
}

/// The upper bounds of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// From a quarter of a millisecond to ten seconds.
    Seconds,
    /// Powers of two, from 1 to 4,096.
    Entries,
}

impl Buckets {
    const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Seconds => &[
                0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ],
            Self::Entries => {
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0]
            }
        }
    }
}

/// A metric as it is described to whoever reads `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it does with figures.
    pub kind: Kind,
    /// What it counts in.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// Declares each metric once: a constant with its name, for the rooms that count, and its line in [`ALL`].
macro_rules! declare {
    ($($constant:ident = $name:literal, $kind:expr, $unit:ident, $labels:expr, $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        /// Every metric.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: $kind, unit: Unit::$unit, labels: &$labels, help: $help },)+
        ];
    };
}

declare! {
    DELIVERIES_ACCEPTED = "douane_deliveries_accepted_total", Kind::Counter, Count, ["partner", "endpoint"],
        "Deliveries kept and answered 2xx.";
    DELIVERY_BYTES = "douane_delivery_bytes_total", Kind::Counter, Bytes, ["partner", "endpoint"],
        "Bytes of the bodies of accepted deliveries.";
    SECRET_MATCHES = "douane_secret_matches_total", Kind::Counter, Count, ["partner", "endpoint", "secret"],
        "Deliveries kept, by the id of the secret that matched. One that no longer grows can be removed.";
    REQUESTS_REFUSED = "douane_requests_refused_total", Kind::Counter, Count, ["partner", "endpoint", "code"],
        "Requests that were not accepted, by cause. Unknown partners and endpoints count as -.";
    HANDSHAKES = "douane_handshakes_total", Kind::Counter, Count, ["partner", "endpoint"],
        "Handshakes answered.";
    ACK_SECONDS = "douane_ack_seconds", Kind::Histogram(Buckets::Seconds), Seconds, [],
        "From the end of a request's headers to its 2xx, fsync included.";
    REQUESTS_IN_FLIGHT = "douane_requests_in_flight", Kind::Gauge, Count, [],
        "Requests at the public door that are not answered yet.";
    BYTES_IN_FLIGHT = "douane_bytes_in_flight", Kind::Gauge, Bytes, [],
        "Bytes of bodies held in memory, from reading to fsync.";
    CONNECTIONS = "douane_connections", Kind::Gauge, Count, ["door"],
        "Open connections, by door (public, private).";
    NOTES_DROPPED = "douane_notes_dropped_total", Kind::Counter, Count, [],
        "Refusals and handshakes that were counted but not kept, because the records were behind or unavailable.";

    COMMIT_BATCH_ENTRIES = "douane_commit_batch_entries", Kind::Histogram(Buckets::Entries), Count, [],
        "Entries of the intake log that shared one fsync.";
    COMMIT_SECONDS = "douane_commit_seconds", Kind::Histogram(Buckets::Seconds), Seconds, [],
        "Time to write and fsync one batch of the intake log.";
    COMMIT_QUEUE_ENTRIES = "douane_commit_queue_entries", Kind::Gauge, Count, [],
        "Entries that wait for the writer of the intake log.";
    LOG_BYTES = "douane_intake_log_bytes_total", Kind::Counter, Bytes, [],
        "Bytes of the bodies written to the intake log.";
    LEDGER_FREE_BYTES = "douane_ledger_free_bytes", Kind::Gauge, Bytes, [],
        "Free space on the disk of the intake log.";
    LEDGER_REACHABLE = "douane_ledger_reachable", Kind::Gauge, Count, [],
        "1 while the PostgreSQL of the ledger answers, 0 while it does not; absent with the embedded ledger.";
    SCRUB_THROUGH_NUMBER = "douane_scrub_through_number", Kind::Gauge, Count, [],
        "The entry number through which the background scrub has come in its current round.";
    SCRUB_DAMAGED_ENTRIES = "douane_scrub_damaged_entries_total", Kind::Counter, Count, [],
        "Damaged entries the background scrub came across; the same ones count again in each round.";

    OUTCOMES = "douane_outcomes_total", Kind::Counter, Count, ["partner", "outcome"],
        "External events by how they ended; replayed ones count again.";
    DEAD_LETTERS = "douane_dead_letters_total", Kind::Counter, Count, ["partner", "reason"],
        "External events that became dead letters, by reason code.";
    CONFLICTS = "douane_conflicts_total", Kind::Counter, Count, ["partner", "endpoint"],
        "External events whose id was accepted before with other content.";
    SAME_BODIES = "douane_same_bodies_total", Kind::Counter, Count, ["partner", "endpoint"],
        "Deliveries whose body came before under another external id.";
    DOMAIN_EVENTS = "douane_domain_events_total", Kind::Counter, Count, ["partner"],
        "Domain events committed, repeats included.";
    TRANSLATION_LAG_ENTRIES = "douane_translation_lag_entries", Kind::Gauge, Count, [],
        "Entries kept and not yet read by stage 1. Those of an endpoint that stands still are not counted, and where processes share a ledger, each tells what lies beyond the one of its endpoints that is furthest behind.";
    TRANSLATION_LAG_SECONDS = "douane_translation_lag_seconds", Kind::Gauge, Seconds, [],
        "Age of the oldest entry that waits for stage 1, those of endpoints that stand still among them; 0 when none does.";
    TRANSLATION_BATCH_SECONDS = "douane_translation_batch_seconds", Kind::Histogram(Buckets::Seconds), Seconds, [],
        "Time stage 1 took for one batch, from reading to commit.";
    TRANSLATION_RETRIES = "douane_translation_retries_total", Kind::Counter, Count, [],
        "Times stage 1 waited for its log or its records and tried again.";
    CONFIRMATIONS = "douane_confirmations_total", Kind::Counter, Count, ["partner", "endpoint", "result"],
        "Subscriptions whose link a handshake asked to be visited, by how that ended (confirmed, given_up).";
    CONFIRMATIONS_WAITING = "douane_confirmations_waiting", Kind::Gauge, Count, [],
        "Subscriptions that this process could not confirm yet; their links are visited again.";
    CONFIRMATION_RETRIES = "douane_confirmation_retries_total", Kind::Counter, Count, [],
        "Times a link could not be visited and all such links were tried again.";
    ENDPOINT_STANDING_STILL = "douane_endpoint_standing_still", Kind::Gauge, Count, ["partner", "endpoint"],
        "1 while an endpoint's deliveries wait because it has no desk that works.";
    OWNERS_ASKED = "douane_owners_asked_total", Kind::Counter, Count, ["by"],
        "External ids whose owner a verdict asked for, by who told: memory (Redis) or ledger (its index).";
    MEMORY_UP = "douane_memory_up", Kind::Gauge, Count, [],
        "1 while the memory of verdicts answers, 0 while the ledger answers for it.";
    MEMORY_FAILURES = "douane_memory_failures_total", Kind::Counter, Count, [],
        "Times the memory of verdicts did not answer, was too slow or refused.";
    MEMORY_FILLING = "douane_memory_incomplete_endpoints", Kind::Gauge, Count, [],
        "Endpoints whose memory of verdicts is being filled from the ledger, which answers for them meanwhile.";
    DESK_STATE = "douane_desk_state", Kind::Gauge, Count, ["partner", "state"],
        "1 for the state a partner's desk is in (ready, last_good, broken), 0 for the others.";
    RELOADS = "douane_reloads_total", Kind::Counter, Count, ["result"],
        "Reloads of the mappings folder, by result (ready, problems).";

    PUBLICATION_LAG_EVENTS = "douane_publication_lag_events", Kind::Gauge, Count, ["broker"],
        "Domain events committed that a broker has not been offered yet, or has not taken.";
    PUBLICATION_LAG_SECONDS = "douane_publication_lag_seconds", Kind::Gauge, Seconds, ["broker"],
        "How long ago the delivery behind the oldest event not yet taken was accepted; 0 when there is none.";
    EVENTS_PUBLISHED = "douane_events_published_total", Kind::Counter, Count, ["broker"],
        "Domain events a broker confirmed.";
    PUBLICATION_DEAD_LETTERS = "douane_publication_dead_letters_total", Kind::Counter, Count, ["broker"],
        "Domain events a broker refused for good.";
    BROKER_RETRIES = "douane_broker_retries_total", Kind::Counter, Count, ["broker"],
        "Times stage 2 waited for a broker and tried again.";

    LEASES_HELD = "douane_leases_held", Kind::Gauge, Count, ["kind"],
        "Endpoints and brokers that this process works, by kind (endpoint, broker), where processes share a ledger.";
    LEASE_TAKEOVERS = "douane_lease_takeovers_total", Kind::Counter, Count, [],
        "Leases that this process took from one that died.";
    STAGE_RESTS = "douane_stage_rest_seconds", Kind::Histogram(Buckets::Seconds), Seconds, ["stage"],
        "Rests of a stage between two steps, because partners queued and the processors had no time left; only where processes share a ledger.";
    FENCED_COMMITS = "douane_fenced_commits_total", Kind::Counter, Count, ["stage"],
        "Commits that the records refused because another process works this now or another server took over, by stage (translation, publication). Nothing of them is kept.";
}

/// Why the metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsSetupError {
    /// Another recorder is already in place, or a histogram has no bounds.
    #[error("the metrics could not be set up: {0}")]
    Build(#[from] BuildError),
}

/// What the process has counted so far.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Moves raw samples into their buckets; due every [`TIDY_EVERY`], so that they do not pile up in memory.
    pub fn tidy(&self) {
        self.0.run_upkeep();
    }
}

/// Makes this process count, and describes every metric. Once a process, before any room is built.
pub fn install() -> Result<Recorder, MetricsSetupError> {
    let handle = builder()?.install_recorder()?;
    describe_all();
    show_untouched();
    Ok(Recorder(handle))
}

/// A counter without labels is there from the start: a rate over one that only appears with its first event is wrong. A
/// gauge is not: that nothing was measured yet does not mean 0.
fn show_untouched() {
    let bare = |metric: &&Metric| metric.kind == Kind::Counter && metric.labels.is_empty();
    for metric in ALL.iter().filter(bare) {
        metrics::counter!(metric.name).increment(0);
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    ALL.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(buckets) => {
            builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets.bounds())
        }
        Kind::Counter | Kind::Gauge => Ok(builder),
    })
}

/// Tells the current recorder what each metric means.
pub fn describe_all() {
    for Metric { name, kind, unit, help, .. } in ALL {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *unit, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *unit, *help),
            Kind::Histogram(_) => metrics::describe_histogram!(*name, *unit, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_convention() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "a name stands twice");
        for metric in ALL {
            assert!(metric.name.starts_with("douane_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            if metric.unit == Unit::Seconds {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
        }
    }

    #[test]
    fn metrics_are_rendered_with_their_text_and_buckets() {
        let recorder = builder().expect("bounds").build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe_all();
            metrics::counter!(DELIVERIES_ACCEPTED, "partner" => "acme", "endpoint" => "default").increment(2);
            metrics::histogram!(ACK_SECONDS).record(0.0015);
        });
        let text = Recorder(recorder.handle()).render();
        assert!(text.contains("# HELP douane_deliveries_accepted_total Deliveries kept and answered 2xx."));
        assert!(text.contains(r#"douane_deliveries_accepted_total{partner="acme",endpoint="default"} 2"#));
        assert!(text.contains(r#"douane_ack_seconds_bucket{le="0.001"} 0"#), "{text}");
        assert!(text.contains(r#"douane_ack_seconds_bucket{le="0.002"} 1"#), "{text}");
    }
}
