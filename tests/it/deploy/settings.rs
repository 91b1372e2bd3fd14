//! What the manifests tell the gateway: settings that it loads, flags that it has, and nothing that is overruled unseen.

use std::{collections::BTreeMap, process::Command};

use douane::config::{Config, ENVIRONMENT_PREFIX, load};
use serde_json::Value;

use super::{deploy, documents, entries, kubernetes, list, passes, read, text};

const FILES: [&str; 3] =
    ["compose/douane.toml", "kubernetes/base/douane.toml", "kubernetes/overlays/example/douane.toml"];

/// The settings that the image makes.
fn of_the_image() -> BTreeMap<String, String> {
    let dockerfile = read("Dockerfile");
    let words = dockerfile.split_whitespace().filter(|word| word.starts_with(ENVIRONMENT_PREFIX));
    words.filter_map(|word| word.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn every_settings_file_is_one_that_the_gateway_takes() {
    let image = of_the_image();
    assert!(image.len() >= 4, "{image:?}");
    for file in FILES {
        let config: Config =
            load(Some(&deploy(file)), &image, &vec![]).unwrap_or_else(|error| panic!("{error}"));
        assert!(config.ledger.url.is_some() && !config.broker.is_empty(), "{file} is for several gateways");
        let doors: Vec<_> = config.listen.doors().collect();
        assert!(doors.iter().any(|(_, it)| it.port() == 8080), "{file}: {doors:?}");
        assert!(
            config.listen.health.is_some_and(|it| it.port() == 8082 && it.ip().is_unspecified()),
            "{file}"
        );
    }
}

#[test]
fn no_settings_file_says_what_the_image_overrules() {
    for file in FILES {
        let settings: toml::Table = toml::from_str(&read(file)).expect("TOML");
        for (section, keys) in settings.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
            for key in keys.keys() {
                let variable = format!("{ENVIRONMENT_PREFIX}{section}_{key}").to_ascii_uppercase();
                assert!(!of_the_image().contains_key(&variable), "{file}: {section}.{key} has no effect");
            }
        }
    }
}

#[test]
fn every_flag_and_value_is_one_that_the_gateway_knows() {
    let mut commands: Vec<Value> = kubernetes::arguments();
    let compose = documents(&read("compose.yaml")).remove(0);
    let ours = entries(&compose["services"]).filter(|(_, service)| service["image"] == "douane:local");
    commands.extend(ours.map(|(_, service)| service["command"].clone()));
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        // It reads the whole line up to here, and refuses what it does not know.
        let arguments = list(&command).map(text).chain(["--help"]);
        passes(Command::new(env!("CARGO_BIN_EXE_douane")).args(arguments));
    }
}
