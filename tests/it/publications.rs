//! From a message of a broker back to its delivery, and from a delivery to where it was published: over the real binary and
//! a real NATS, with the ledger in a folder and in PostgreSQL, beside a running server and without one.

use std::slice;

use async_nats::jetstream::{self, stream};
use serde_json::{Value, json};

use crate::{
    folder::Folder,
    lab::{Lab, measured},
    process::{Process, Ran},
    servers::nats::{self, Nats},
    site::Site,
    wire,
};

const NOTED: &str = r#"{
  "type": "lab.ThingMeasured.v1", "subject": string!(.thing),
  "data": { "size": int!(.size), "note": string(.note) ?? "" }
}
"#;

/// Where events go. One with a long note is larger than the server takes.
fn broker() -> (Nats, String) {
    let nats = nats::start("max_payload: 4096");
    let text = format!(
        "[[broker]]\nname = \"orders\"\nkind = \"nats\"\nfrom = \"beginning\"\nservers = [{:?}]\nstream = \"LAB\"\n",
        nats.url()
    );
    (nats, text)
}

async fn jetstream(nats: &Nats) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.expect("it connects"))
}

/// Makes the stream, anew if it is there.
async fn make_stream(nats: &Nats) {
    let jetstream = jetstream(nats).await;
    let _ = jetstream.delete_stream("LAB").await;
    let subjects = vec!["lab.>".to_owned()];
    let config = stream::Config { name: "LAB".to_owned(), subjects, ..stream::Config::default() };
    jetstream.create_stream(config).await.expect("a stream");
}

/// The message at this sequence of the stream.
async fn message(nats: &Nats, sequence: u64) -> Value {
    let stream = jetstream(nats).await.get_stream("LAB").await.expect("the stream");
    let message = stream.get_raw_message(sequence).await.expect("a message");
    serde_json::from_slice(&message.payload).expect("a CloudEvent")
}

fn accept(gateway: &Process, event: &Value) -> String {
    let headers = [("content-type", "application/json")];
    let answer = wire::exchange(gateway.public, "POST", "/in/lab", &headers, event.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.delivery()
}

fn publications(gateway: &Process, query: &str) -> Vec<Value> {
    let answer = gateway.get(&format!("/api/v1/publications?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.json()["items"].as_array().expect("rows").clone()
}

fn wait_for_publications(gateway: &Process, count: usize) {
    let listed = |answer: wire::Answer| answer.json()["items"].as_array().map(Vec::len) == Some(count);
    gateway.wait_until("/api/v1/publications", |answer| listed(answer.clone()));
}

/// What two deliveries and a replay leave at a broker whose stream was made anew in between.
struct Story {
    small: String,
    large: String,
}

/// Delivers a small event and one that the broker refuses, and asks from both ends.
async fn tell(gateway: &Process, nats: &Nats, verb: &dyn Fn(&[&str]) -> Ran) -> Story {
    make_stream(nats).await;
    let small = accept(gateway, &measured("1", 3));
    let note = "long ".repeat(1_000);
    let large = json!({ "id": "2", "type": "measured", "thing": "door", "size": 4, "note": note });
    let large = accept(gateway, &large);
    wait_for_publications(gateway, 2);

    let message = message(nats, 1).await;
    let found = publications(gateway, "broker=orders&position=LAB/1");
    assert_eq!(found.len(), 1, "{found:?}");
    for (field, attribute) in
        [("id", "id"), ("type", "type"), ("partition_key", "partitionkey"), ("delivery", "correlationid")]
    {
        assert_eq!(found[0][field], message[attribute], "{field}");
    }
    assert_eq!((&found[0]["event"], &found[0]["ordinal"]), (&json!(1), &json!(0)));
    assert_eq!((&found[0]["delivery"], &found[0]["external_id"]), (&json!(small), &json!("1")));

    let shown = gateway.get(&format!("/api/v1/deliveries/{large}")).json();
    let refused = &shown["publications"][0];
    assert_eq!((&refused["broker"], &refused["position"]), (&json!("orders"), &Value::Null));
    assert!(refused["refused"].as_str().is_some_and(|why| !why.is_empty()), "{refused}");
    assert_eq!(refused["id"], shown["external_events"][0]["domain_events"][0]);
    assert_eq!(publications(gateway, "refused=true"), slice::from_ref(refused));
    let listed = gateway.get("/api/v1/deliveries").json();
    assert_eq!(listed["items"][0].get("publications"), None, "listings do not ask");

    make_stream(nats).await;
    verb(&["replay", "--external-id", "1", "--outcome", "translated"]).ended(0);
    wait_for_publications(gateway, 3);
    Story { small, large }
}

/// What people find, whether a server runs or not, and whether the broker is still configured.
fn ask(story: &Story, verb: &dyn Fn(&[&str]) -> Ran) {
    let ls = |arguments: &[&str]| verb(&[&["publications", "ls", "--format", "json"], arguments].concat());
    let events = |arguments: &[&str]| -> Vec<u64> {
        let rows = ls(arguments).ended(0).json();
        rows.as_array().expect("rows").iter().map(|row| row["event"].as_u64().expect("a number")).collect()
    };
    assert_eq!(events(&[]), [3, 2, 1]);
    assert_eq!(events(&["--position", "LAB/1"]), [3, 1], "a stream that was made anew begins at 1 again");
    assert_eq!(events(&["--position", "LAB/"]), [0; 0], "the whole position");
    assert_eq!(events(&["--broker", "orders", "--event", "2", "--refused"]), [2]);
    assert_eq!(events(&["--delivery", &story.small]), [3, 1]);
    assert_eq!(events(&["--delivery", "2"]), [2]);
    let shown = verb(&["deliveries", "show", &story.small]).ended(0).json();
    assert_eq!(shown["publications"], ls(&["--delivery", &story.small]).json());

    let table = verb(&["publications", "ls", "--limit", "2"]).ended(0);
    assert!(table.out.contains("LAB/1") && table.out.contains(&story.large), "{}", table.out);
    assert!(table.err.contains("the newest 2 are shown; there are more: use --limit"), "{}", table.err);
    assert_eq!(verb(&["publications", "ls", "--limit", "3"]).ended(0).err, "");
    let nothing = verb(&["publications", "ls", "--event", "9"]).ended(0);
    assert_eq!(nothing.out, "no publication matches\n");
    let unknown = verb(&["publications", "ls", "--broker", "order"]).ended(2);
    assert!(unknown.err.contains("there is no broker \"order\"; known are: orders"), "{}", unknown.err);
    for nobodys in ["9", "0192d3a4-0000-7000-8000-000000000000"] {
        let unknown = verb(&["publications", "ls", "--delivery", nobodys]).ended(2);
        assert!(unknown.err.contains("there is no such delivery"), "{}", unknown.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_leads_to_its_delivery_and_a_delivery_to_its_messages() {
    let (nats, broker) = broker();
    let mappings = Folder::new();
    mappings.mapping(NOTED);
    let config = mappings.path().join("douane.toml");
    std::fs::write(&config, broker).expect("written");
    let lab = Lab::with(mappings, &[("DOUANE_CONFIG", config.to_str().expect("text"))]);
    let story = tell(&lab.gateway, &nats, &|arguments| lab.verb(arguments)).await;
    ask(&story, &|arguments| lab.verb(arguments));
    let stopped = lab.stop();
    ask(&story, &|arguments| stopped.verb(arguments));
    let lab = stopped.start(&[]);
    assert_eq!(publications(&lab.gateway, "broker=orders").len(), 3, "it is parked and shown");
    ask(&story, &|arguments| lab.verb(arguments));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_over_postgresql() {
    let (nats, broker) = broker();
    let site = Site::without_schema(&["fsync=on"], &broker);
    site.mappings.mapping(NOTED);
    site.verb("one", &["ledger", "migrate"]).ended(0);
    let gateway = site.start("one", "intake,translate,publish,console");
    let story = tell(&gateway, &nats, &|arguments| site.verb("one", arguments)).await;
    ask(&story, &|arguments| site.verb("one", arguments));
    assert!(gateway.terminate().success());
    ask(&story, &|arguments| site.verb("another", arguments));
}

#[test]
fn publications_page_and_mistakes_are_told() {
    let mappings = Folder::new();
    let (config, file) = (mappings.path().join("douane.toml"), mappings.path().join("events.ndjson"));
    let broker = |name: &str| {
        format!(
            "[[broker]]\nname = \"{name}\"\nkind = \"file\"\nfrom = \"beginning\"\npath = \"{}.{name}\"\n",
            file.display()
        )
    };
    std::fs::write(&config, broker("one") + &broker("a:b & c")).expect("written");
    let config = config.display().to_string();
    let lab = Lab::with(mappings, &[("DOUANE_CONFIG", &config)]);
    for n in 1..=3 {
        lab.deliver(&measured(&n.to_string(), n));
    }
    wait_for_publications(&lab.gateway, 6);
    let all = publications(&lab.gateway, "");
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = lab.gateway.get(&format!("/api/v1/publications?limit=1{cursor}")).json();
        paged.extend(page["items"].as_array().expect("rows").iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);
    for (query, status) in [
        ("broker=nobody", 404),
        ("delivery=9", 404),
        ("delivery=x", 400),
        ("event=x", 400),
        ("refused=perhaps", 400),
        ("cursor=x", 400),
        ("cursor=1", 400),
        ("positon=x", 400),
    ] {
        assert_eq!(lab.gateway.get(&format!("/api/v1/publications?{query}")).status, status, "{query}");
    }
    let waiting = lab.gateway.get("/api/v1/publications?event=18446744073709551615");
    assert_eq!((waiting.status, &waiting.json()["items"]), (200, &json!([])));
}
