//! Several brokers of one gateway, on real servers: each goes its own way.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use redis::cmd;

use crate::{
    folder::Folder,
    lab::{Lab, measured},
    process::run_in,
    servers::{
        nats,
        process::{DEADLINE, until},
        redis as redis_server,
    },
};

const PASSWORD: &str = "a password that no page shows";

async fn in_redis(url: &str) -> usize {
    let url = url.replace("redis://", "redis://:word@").replace("word", &PASSWORD.replace(' ', "%20"));
    let client = redis::Client::open(url).expect("a url");
    let mut connection = client.get_multiplexed_async_connection().await.expect("it connects");
    cmd("XLEN").arg("lab.ThingMeasured.v1").query_async(&mut connection).await.expect("a length")
}

async fn with_stream(url: &str) -> stream::Stream {
    let jetstream = jetstream::new(async_nats::connect(url).await.expect("it connects"));
    let subjects = vec!["lab.>".to_owned()];
    let config = stream::Config { name: "LAB".to_owned(), subjects, ..stream::Config::default() };
    jetstream.create_stream(config).await.expect("a stream")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_holds_back_only_itself() {
    let (mut nats, redis) = (nats::start(""), redis_server::start(&["--requirepass", PASSWORD]));
    nats.server.kill();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, config) = (folder.path().join("others.ndjson"), folder.path().join("douane.toml"));
    let text = format!(
        r#"
[listen]
public = "127.0.0.1:0"
private = "127.0.0.1:0"

[publication]
max_backoff = "200ms"

[[broker]]
name = "away"
kind = "nats"
from = "beginning"
servers = ["{}"]
stream = "LAB"

[[broker]]
name = "streams"
kind = "redis_streams"
from = "beginning"
url = "{}"
password = "env:REDIS_PASSWORD"

[[broker]]
name = "others"
kind = "file"
from = "beginning"
match = ["payments.*"]
path = {file:?}
"#,
        nats.url(),
        redis.url()
    );
    std::fs::write(&config, text).expect("written");
    let config = config.to_str().expect("text");
    let lab = Lab::with(Folder::new(), &[("DOUANE_CONFIG", config), ("REDIS_PASSWORD", PASSWORD)]);
    lab.deliver(&measured("1", 3));
    lab.deliver(&measured("2", 4));
    let mut kept = 0;
    while kept < 2 {
        kept = in_redis(&redis.url()).await;
    }
    assert!(until(|| lab.gateway.told("publication:away") > 0), "it says who is away");
    assert_eq!(lab.gateway.told(PASSWORD), 0);

    let doctor = run_in(&folder.path().join("data"), lab.mappings.path(), &["doctor", "--config", config]);
    assert!(doctor.ended(1).out.contains("\"away\" could not publish now"), "doctor says so too");

    nats.server.restart();
    let mut stream = with_stream(&nats.url()).await;
    let restarted = Instant::now();
    while stream.info().await.expect("the stream").state.messages < 2 {
        assert!(restarted.elapsed() < DEADLINE, "what waited for it is published");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!file.exists(), "what a broker does not match is not published to it");
    assert_eq!(in_redis(&redis.url()).await, 2);
}
