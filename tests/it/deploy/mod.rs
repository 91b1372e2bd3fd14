//! What stands in `deploy/` is what its readers take: settings that the gateway loads, metrics that it has, manifests that
//! hold to the schemas of Compose and Kubernetes and name nothing that is not there. No cluster and no Docker is asked.

mod alerts;
mod compose;
mod engines;
mod kubernetes;
mod settings;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde::Deserialize;
use serde_json::Value;

/// A file or folder of `deploy/`.
fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// The documents of a YAML text, with merge keys (`<<`) taken in.
fn documents(text: &str) -> Vec<Value> {
    let document = |reader| {
        let mut value = serde_yaml_ng::Value::deserialize(reader).expect("YAML");
        // What is merged in may merge something in itself.
        for _ in 0..2 {
            value.apply_merge().expect("merges");
        }
        serde_json::to_value(value).expect("its keys are texts")
    };
    serde_yaml_ng::Deserializer::from_str(text).map(document).collect()
}

/// The elements of a list; none where there is no list.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The names and values of a mapping; none where there is no mapping.
fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Runs a checker; what it says is the failure.
fn passes(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&said));
    output
}

#[test]
fn a_mapping_that_merges_a_merged_one_has_what_both_have() {
    let text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, z: 3}\n---\nd: 0440\n";
    let [merged, second] = &documents(text)[..] else { panic!("two documents") };
    assert_eq!(merged["c"], serde_json::json!({"x": 1, "y": 2, "z": 3}));
    assert_eq!(second["d"].as_u64().or(second["d"].as_str().and_then(|it| it.parse().ok())), Some(440));
}
