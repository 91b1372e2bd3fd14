//! The engines of `deploy/compose.yaml`, as it sets them: real servers of the tests' own, with its arguments and files.

use std::{fs, net::SocketAddr, process::Command};

use async_nats::{ConnectOptions, jetstream, jetstream::stream};
use douane::config::LedgerConfig;
use serde_json::Value;

use super::{documents, entries, list, read, text};
use crate::servers::{
    postgres::Postgres,
    process::{Server, folder, free_address, log_in, program},
    redis,
};

fn compose() -> Value {
    documents(&read("compose.yaml")).remove(0)
}

/// The arguments of a service's server, without its name.
fn arguments(service: &Value) -> Vec<&str> {
    list(&service["command"]).skip(1).map(text).collect()
}

#[test]
fn postgresql_starts_as_it_is_told_and_has_room_for_every_gateway() {
    let file = compose();
    let settings: Vec<_> =
        arguments(&file["services"]["postgres"]).into_iter().filter(|it| *it != "-c").collect();
    let server = Postgres::with(&settings);
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(server.sql(&format!("SHOW {setting}")), "on");
    }
    let gateways = entries(&file["services"]).filter(|(name, _)| name.starts_with("gateway-")).count();
    let needed = gateways * (LedgerConfig::default().connections + 2) + 10;
    let connections: usize = server.sql("SHOW max_connections").parse().expect("a number");
    assert!(connections >= needed, "{connections} connections; {needed} are needed");
}

#[test]
fn redis_starts_as_it_is_told_and_forgets_nothing_on_its_own() {
    let file = compose();
    let server = redis::start(&arguments(&file["services"]["redis"]));
    let client = ::redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_connection().expect("it connects");
    let policy: (String, String) =
        ::redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query(&mut connection).expect("told");
    assert_eq!(policy.1, "noeviction");
}

/// NATS by the file of the Compose file, with a port and a folder of its own.
fn nats(password: &'static str) -> (Server, tempfile::TempDir) {
    let (home, address) = (folder(), free_address());
    let file = home.path().join("nats.conf");
    let settings = read("compose/nats.conf")
        .replace("0.0.0.0:4222", &address.to_string())
        .replace("127.0.0.1:8222", &free_address().to_string())
        .replace("\"/data\"", &format!("{:?}", home.path().join("data").display().to_string()));
    fs::write(&file, settings).expect("written");
    let server = Server::start(address, log_in(home.path()), move || {
        let mut command = Command::new(program("nats-server"));
        // As the service's command hands it over.
        command.env("NATS_PASSWORD", format!("'{password}'")).arg("--config").arg(&file);
        command
    });
    (server, home)
}

async fn connect(
    address: SocketAddr,
    password: &str,
) -> Result<async_nats::Client, async_nats::ConnectError> {
    let login = ConnectOptions::with_user_and_password("douane".to_owned(), password.to_owned());
    login.connect(format!("nats://{address}")).await
}

#[tokio::test]
async fn nats_lets_the_gateways_in_and_its_stream_keeps_their_events() {
    // A password that reads like a number with a unit is one all the same.
    let (server, _home) = nats("5");
    assert!(connect(server.address(), "6").await.is_err(), "anyone is let in");
    let jetstream = jetstream::new(connect(server.address(), "5").await.expect("it connects"));
    let stream: stream::Config = serde_json::from_str(&read("compose/stream.json")).expect("a stream");
    jetstream.create_stream(stream).await.expect("the server makes it");
    let placed = jetstream.publish("com.example.payments.PaymentCaptured.v1", "{}".into()).await;
    let acknowledged = placed.expect("sent").await.expect("kept");
    assert_eq!((acknowledged.stream.as_str(), acknowledged.sequence), ("DOUANE", 1));
}
