//! A gateway process on folders of its own: the partner `lab` posts unsigned, so that a test can say what it is about.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    folder::Folder,
    process::{Process, run_in},
    wire::{self, Answer, Wire},
};

/// A mapping that no compiler takes.
pub const BROKEN: &str = "{ \"type\": \"lab.ThingMeasured.v1\", \"data\": { \"size\": nonsense(.size) } }\n";
/// Reload is not waited for longer than this.
pub const QUICK_POLL: (&str, &str) = ("DOUANE_MAPPINGS_POLL", "20ms");

/// A running gateway with its folders.
pub struct Lab {
    pub gateway: Process,
    pub mappings: Folder,
    data: TempDir,
}

impl Lab {
    pub fn start() -> Self {
        Self::with(Folder::new(), &[])
    }

    /// With mappings and settings of the test's own.
    pub fn with(mappings: Folder, settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let gateway = Process::start_with(&data.path().join("data"), mappings.path(), settings);
        Self { gateway, mappings, data }
    }

    /// Stops it in order; its folders stay.
    pub fn stop(self) -> Stopped {
        assert!(self.gateway.terminate().success());
        Stopped { mappings: self.mappings, data: self.data }
    }

    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// Runs a verb beside it.
    pub fn verb(&self, arguments: &[&str]) -> crate::process::Ran {
        run_in(&self.data(), self.mappings.path(), arguments)
    }

    /// Posts a body as it stands.
    pub fn post(&self, body: &[u8]) -> Answer {
        wire::exchange(self.gateway.public, "POST", "/in/lab", &[("content-type", "application/json")], body)
    }

    /// Posts an event; returns the id of the delivery, not worked yet.
    pub fn accept(&self, event: &Value) -> String {
        let answer = self.post(event.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.head);
        answer.delivery()
    }

    /// Posts an event and waits for its outcome; returns the delivery as the API shows it.
    pub fn deliver(&self, event: &Value) -> Value {
        let path = format!("/api/v1/deliveries/{}", self.accept(event));
        self.gateway.wait_until(&path, |answer| answer.json()["waiting"] == false);
        self.gateway.get(&path).json()
    }

    /// The lines of the feed.
    pub fn feed(&self, query: &str) -> Vec<Value> {
        let answer = self.gateway.get(&format!("/api/v1/events?{query}"));
        assert_eq!(answer.status, 200, "{}", answer.head);
        let text = String::from_utf8(answer.body).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What the journal says of an act, newest first.
    pub fn journal(&self, act: &str) -> Vec<Value> {
        let items = self.gateway.get("/api/v1/journal?limit=1000").json()["items"].take();
        let Value::Array(items) = items else { panic!("rows") };
        items.into_iter().filter(|row| row["act"] == act).collect()
    }

    /// Makes a token.
    pub fn token(&self, name: &str, role: &str) -> String {
        let wish = json!({ "name": name, "role": role });
        let answer = self.gateway.ask("POST", "/api/v1/tokens", &self.gateway.token, &wish);
        assert_eq!(answer.status, 201, "{}", answer.head);
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    /// Begins to read the live feed.
    pub fn listen(&self, query: &str, last_event_id: Option<&str>) -> Wire {
        self.listen_as(&self.gateway.token, query, last_event_id)
    }

    /// Begins to read the live feed with a token of one's own.
    pub fn listen_as(&self, token: &str, query: &str, last_event_id: Option<&str>) -> Wire {
        self.try_listen(token, query, last_event_id).expect("connected")
    }

    fn try_listen(&self, token: &str, query: &str, last_event_id: Option<&str>) -> io::Result<Wire> {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str()), ("accept", "text/event-stream")];
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let mut wire = Wire::open(self.gateway.private)?;
        wire.send(&wire::request("GET", &format!("/api/v1/events?{query}"), &headers, b""))?;
        Ok(wire)
    }
}

/// The folders of a gateway that has ended.
pub struct Stopped {
    pub mappings: Folder,
    data: TempDir,
}

impl Stopped {
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    pub fn verb(&self, arguments: &[&str]) -> crate::process::Ran {
        run_in(&self.data(), self.mappings.path(), arguments)
    }

    /// Starts the gateway on them again.
    pub fn start(self, settings: &[(&str, &str)]) -> Lab {
        let gateway = Process::start_with(&self.data(), self.mappings.path(), settings);
        Lab { gateway, mappings: self.mappings, data: self.data }
    }
}

/// An event of the lab that becomes a domain event.
pub fn measured(id: &str, size: i64) -> Value {
    json!({ "id": id, "type": "measured", "thing": "bench", "size": size })
}

/// Another type of event.
pub fn event(id: &str, event_type: &str) -> Value {
    json!({ "id": id, "type": event_type, "thing": "bench", "size": 3 })
}

/// Copies a folder with everything in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("named"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}
