//! The alert rules ask for what the gateway tells, and fire when they should.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use douane::{
    partners::DeskState,
    telemetry::metrics::{ALL, Kind, Metric},
};

use super::{deploy, documents, list, passes, read, text};
use crate::servers::process::tool;

/// Labels that Prometheus adds.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

/// The names of an expression, each with what stands in braces behind it.
fn series(expression: &str) -> Vec<(&str, &str)> {
    let begins = expression.match_indices("douane_").map(|(at, _)| &expression[at..]);
    let parts = begins.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let braces = behind.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        (name, braces.map_or("", |(inside, _)| inside))
    });
    parts.collect()
}

fn metric(name: &str) -> Option<&'static Metric> {
    let bare = name.strip_suffix("_bucket").unwrap_or(name);
    ALL.iter().find(|metric| {
        let histogram = matches!(metric.kind, Kind::Histogram(_));
        metric.name == if histogram { bare } else { name }
    })
}

/// The label and the words of each matcher in braces.
fn matchers(braces: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    braces.split(", ").filter_map(|matcher| {
        let (label, words) = matcher.split_once('=')?;
        let words = words.trim_start_matches('~').trim_matches('"');
        Some((label.trim_end_matches('!'), words.split('|').collect()))
    })
}

fn expressions() -> Vec<String> {
    let files = documents(&read("prometheus/alerts.yaml"));
    let rules = files.iter().flat_map(|file| list(&file["groups"])).flat_map(|group| list(&group["rules"]));
    rules.map(|rule| text(&rule["expr"]).to_owned()).collect()
}

#[test]
fn every_metric_and_label_in_an_alert_is_one_the_gateway_has() {
    let mut seen = BTreeSet::new();
    for expression in expressions() {
        for (name, braces) in series(&expression) {
            let metric = metric(name).unwrap_or_else(|| panic!("no metric {name}: {expression}"));
            seen.insert(metric.name);
            for (label, _) in matchers(braces) {
                let known = metric.labels.contains(&label) || OF_PROMETHEUS.contains(&label);
                assert!(known, "{name} has no label {label}");
            }
        }
        let groupings = expression.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
        for label in groupings.flat_map(|(labels, _)| labels.split(", ")) {
            let told = series(&expression).iter().any(|(name, _)| {
                metric(name).is_some_and(|metric| metric.labels.contains(&label))
                    || OF_PROMETHEUS.contains(&label)
            });
            assert!(told, "nothing in it has the label {label}: {expression}");
        }
    }
    for expected in [
        "douane_translation_lag_seconds",
        "douane_publication_lag_seconds",
        "douane_dead_letters_total",
        "douane_publication_dead_letters_total",
        "douane_endpoint_standing_still",
        "douane_scrub_damaged_entries_total",
        "douane_ledger_free_bytes",
        "douane_ledger_reachable",
        "douane_requests_refused_total",
    ] {
        assert!(seen.contains(expected), "no alert asks for {expected}");
    }
}

#[test]
fn every_word_that_an_alert_looks_for_stands_in_the_code() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/intake/refusal.rs");
    let refusals = fs::read_to_string(table).expect("code");
    for expression in expressions() {
        for (label, words) in series(&expression).iter().flat_map(|(_, braces)| matchers(braces)) {
            for word in words {
                let known = match label {
                    "code" => refusals.contains(&format!("\"{word}\"")),
                    "state" => DeskState::WORDS.contains(&word),
                    _ => true,
                };
                assert!(known, "no {label} {word}: {expression}");
            }
        }
    }
}

#[test]
fn prometheus_takes_the_rules_and_they_fire_when_they_should() {
    let promtool = || Command::new(tool("promtool"));
    passes(promtool().args(["check", "rules"]).arg(deploy("prometheus/alerts.yaml")));
    passes(promtool().args(["check", "config"]).arg(deploy("prometheus/prometheus.yaml")));
    passes(promtool().args(["test", "rules"]).arg(deploy("prometheus/alerts_test.yaml")));
}
