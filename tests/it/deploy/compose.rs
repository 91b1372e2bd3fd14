//! `deploy/compose.yaml` and what it mounts.

use std::{collections::BTreeSet, fs, net::SocketAddr, process::Command};

use serde_json::Value;

use super::{deploy, documents, entries, list, passes, read, text};
use crate::{
    process::{STRIPE_SECRET, douane, mappings},
    servers::process::{Server, folder, free_address, log_in, program, tool, until},
    wire,
};

/// Hands a new volume over, which only root can.
const AS_ROOT: &str = "nats-folder";
/// Services that end, so that nobody asks whether they are well.
const THAT_END: [&str; 3] = ["migrate", "nats-folder", "stream"];

fn compose() -> Value {
    documents(&read("compose.yaml")).remove(0)
}

fn names(value: &Value) -> BTreeSet<&str> {
    entries(value).map(|(name, _)| name).collect()
}

#[test]
fn the_compose_file_holds_to_its_schema() {
    let mut command = Command::new(tool("check-jsonschema"));
    passes(command.args(["--builtin-schema", "vendor.compose-spec"]).arg(deploy("compose.yaml")));
}

#[test]
fn whatever_the_compose_file_names_is_there() {
    let file = compose();
    let (services, networks) = (names(&file["services"]), names(&file["networks"]));
    let (secrets, volumes) = (names(&file["secrets"]), names(&file["volumes"]));
    let mut used = BTreeSet::new();
    for (name, service) in entries(&file["services"]) {
        for network in list(&service["networks"]).map(text) {
            assert!(networks.contains(network), "{name}: no network {network}");
            used.insert(network);
        }
        for secret in list(&service["secrets"]).map(|it| it.as_str().unwrap_or(text(&it["source"]))) {
            assert!(secrets.contains(secret), "{name}: no secret {secret}");
            used.insert(secret);
        }
        for volume in list(&service["volumes"]).map(text) {
            let source = volume.split(':').next().unwrap_or_default();
            match source.strip_prefix("./") {
                Some(path) => assert!(deploy(path).is_file(), "{name}: no file {path}"),
                None => assert!(volumes.contains(source), "{name}: no volume {source}"),
            }
            used.insert(source);
        }
        for (other, condition) in entries(&service["depends_on"]) {
            assert!(services.contains(other), "{name}: no service {other}");
            let ends = text(&condition["condition"]) == "service_completed_successfully";
            assert_eq!(ends, THAT_END.contains(&other), "{name} waits for {other}");
        }
    }
    let declared: BTreeSet<_> = [&networks, &secrets, &volumes].into_iter().flatten().copied().collect();
    let idle: Vec<_> = declared.difference(&used).collect();
    assert!(idle.is_empty(), "declared and never used: {idle:?}");
    let made = read("compose/make-secrets.sh");
    for (secret, source) in entries(&file["secrets"]) {
        let name = text(&source["file"]).rsplit('/').next().unwrap_or_default();
        assert!(made.contains(&format!("\nsecret {name} ")), "nobody makes {secret}");
    }
}

#[test]
fn no_service_has_more_rights_than_it_needs_and_none_has_a_secret_in_its_environment() {
    for (name, service) in entries(&compose()["services"]) {
        let root = matches!(text(&service["user"]), "" | "root" | "0" | "0:0");
        assert_eq!(root, name == AS_ROOT, "{name} runs as {}", service["user"]);
        assert_eq!(service["read_only"], true, "{name} can write to its image");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        for (variable, _) in entries(&service["environment"]) {
            let secret = ["PASSWORD", "SECRET", "TOKEN", "KEY"].iter().any(|word| variable.contains(word));
            assert!(!secret || variable.ends_with("_FILE"), "{name}: {variable}");
        }
        let asked = list(&service["healthcheck"]["test"]).next().is_some();
        assert_eq!(asked, !THAT_END.contains(&name), "{name}: a health check");
        for port in list(&service["ports"]).map(text) {
            assert!(port.starts_with("127.0.0.1:"), "{name} is published beyond this machine: {port}");
        }
    }
}

#[test]
fn secrets_are_made_once_and_only_their_folder_is_closed() {
    let home = folder();
    let script = home.path().join("make-secrets.sh");
    fs::copy(deploy("compose/make-secrets.sh"), &script).expect("copied");
    passes(&mut Command::new(&script));
    let secret = |name: &str| fs::read_to_string(home.path().join("secrets").join(name)).expect("made");
    let made = [secret("postgres_password"), secret("nats_password"), secret("sealing_key")];
    assert_eq!(made.each_ref().map(|it| it.trim_end().len()), [48, 48, 64]);
    passes(&mut Command::new(&script));
    assert_eq!(made, [secret("postgres_password"), secret("nats_password"), secret("sealing_key")]);
    fs::copy(home.path().join("secrets/sealing_key"), home.path().join("sealing.key")).expect("copied");
    douane::keys::seal::Sealer::open(home.path(), true).expect("a gateway takes the key");
}

#[test]
fn the_stream_is_the_brokers_and_hears_every_event() {
    let stream: Value = serde_json::from_str(&read("compose/stream.json")).expect("JSON");
    let settings: toml::Table = toml::from_str(&read("compose/douane.toml")).expect("TOML");
    let broker = &settings["broker"][0];
    assert_eq!(broker["stream"].as_str(), stream["name"].as_str());
    let namespace = douane::config::EventsConfig::default().namespace;
    assert_eq!(stream["subjects"], serde_json::json!([format!("{namespace}.>")]));
    assert!(broker.get("subject").is_none() && settings.get("events").is_none(), "then the subjects differ");
}

#[test]
fn the_servers_take_their_files() {
    let mut nats = Command::new(program("nats-server"));
    // A password that could be read as a number with a unit is one all the same.
    nats.env("NATS_PASSWORD", "'5d0c1k'").arg("-t").arg("--config").arg(deploy("compose/nats.conf"));
    passes(&mut nats);
    passes(Command::new(program("haproxy")).arg("-c").arg("-f").arg(deploy("compose/haproxy.cfg")));
}

/// A gateway at an address of loopback of its own, so that several have the same ports, as containers have.
fn gateway(ip: &str, port: u16, health: u16) -> (Server, tempfile::TempDir) {
    let home = folder();
    let (data, at) = (home.path().join("data"), ip.to_owned());
    let address: SocketAddr = format!("{ip}:{port}").parse().expect("an address");
    let server = Server::start(address, log_in(home.path()), move || {
        let mut command = douane();
        command.args(["serve", "--listen", &format!("{at}:{port}"), "--private-listen", &format!("{at}:0")]);
        command.args(["--health-listen", &format!("{at}:{health}")]);
        command.arg("--data-dir").arg(&data).arg("--mappings").arg(mappings());
        command
    });
    (server, home)
}

/// The balancer, with addresses of loopback for those of containers.
fn balancer(port: u16, health: u16) -> (Server, tempfile::TempDir) {
    let (home, address) = (folder(), free_address());
    let file = home.path().join("haproxy.cfg");
    let settings = read("compose/haproxy.cfg")
        .replace("maxconn 20000", "maxconn 1000")
        .replace("bind :8080", &format!("bind {address}"))
        .replace("bind 127.0.0.1:8404", &format!("bind {}", free_address()))
        .replace("gateway-1:8080", &format!("127.0.0.2:{port}"))
        .replace("gateway-2:8080", &format!("127.0.0.3:{port}"))
        .replace("check port 8082", &format!("check port {health}"));
    fs::write(&file, settings).expect("settings");
    let server = Server::start(address, log_in(home.path()), move || {
        let mut command = Command::new(program("haproxy"));
        command.arg("-db").arg("-f").arg(&file);
        command
    });
    (server, home)
}

fn post(address: SocketAddr, id: &str) -> u16 {
    let body = format!(
        r#"{{"id":"{id}","object":"event","type":"customer.created","created":1764000000,"data":{{"object":{{"id":"cus_1"}}}}}}"#
    );
    let signature = wire::stripe_signature(STRIPE_SECRET, body.as_bytes(), wire::now_seconds());
    let headers = [("content-type", "application/json"), ("stripe-signature", signature.as_str())];
    wire::exchange(address, "POST", "/in/stripe", &headers, body.as_bytes()).status
}

#[test]
fn the_balancer_passes_over_a_gateway_that_is_gone() {
    let (port, health) = (free_address().port(), free_address().port());
    let (mut one, _one) = gateway("127.0.0.2", port, health);
    let (mut other, _other) = gateway("127.0.0.3", port, health);
    let (balancer, _home) = balancer(port, health);
    let door = balancer.address();
    assert!(until(|| post(door, "evt_first") == 200), "{}", balancer.printed());
    assert_eq!(wire::exchange(door, "GET", "/readyz", &[], b"").status, 404, "partners see addresses alone");
    one.kill();
    assert!((0..20).all(|number| post(door, &format!("evt_{number}")) == 200), "{}", balancer.printed());
    other.kill();
    assert!(until(|| post(door, "evt_nobody") == 503), "{}", balancer.printed());
    assert_eq!(wire::exchange(door, "POST", "/in/stripe", &[], b"").header("retry-after"), "5");
    one.restart();
    assert!(until(|| post(door, "evt_again") == 200), "{}", balancer.printed());
}
