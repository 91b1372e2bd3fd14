//! Where the stages of a running gateway work: on threads of their own, that get less of a busy processor than those that answer
//! partners. What a stage writes to the log names the thread that it runs on.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use douane::{
    app::{Gateway, Options},
    config::{Config, load},
};
use serde_json::json;
use tokio::{runtime::Builder, sync::oneshot, task::spawn_blocking};

use crate::{
    folder::Folder,
    lab::measured,
    servers::process::{free_address, until},
    wire,
};

/// The log of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The first line that says this.
    fn line(&self, said: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned();
        text.lines().find(|line| line.contains(said)).map(str::to_owned)
    }
}

/// With a broker that nobody is: its stage says so.
fn config(folder: &Folder, data: &tempfile::TempDir) -> Config {
    let text = format!(
        "[ledger]\ndata_dir = \"{}\"\n[mappings]\npath = \"{}\"\n[listen]\npublic = \"127.0.0.1:0\"\nprivate = \"127.0.0.1:0\"\n\
         [[broker]]\nname = \"away\"\nkind = \"http\"\nfrom = \"beginning\"\nurl = \"http://{}/\"\nallow_private_addresses = true\n",
        data.path().join("data").display(),
        folder.path().display(),
        free_address(),
    );
    let file = data.path().join("douane.toml");
    std::fs::write(&file, text).expect("written");
    load(Some(&file), &[].into(), &Vec::new()).expect("a configuration")
}

#[test]
fn the_stages_of_a_running_gateway_work_on_their_own_threads() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_thread_names(true);
    let lines = lines.with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(lines).expect("no other test of this process writes a log");
    let (folder, data) = (Folder::new(), tempfile::tempdir().expect("a folder"));
    let config = config(&folder, &data);

    let served = async move {
        let gateway = Gateway::start(config, Options::for_development()).await.expect("started");
        let public = gateway.public().expect("it takes deliveries in");
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(gateway.run(async { stopped.await.unwrap_or_default() }));
        let seen = spawn_blocking(move || {
            // Nothing to measure: a dead letter.
            for event in [json!({ "id": "1", "type": "measured" }), measured("2", 3)] {
                let body = event.to_string();
                assert_eq!(wire::exchange(public, "POST", "/in/lab", &[], body.as_bytes()).status, 200);
            }
            let said = ["an external event needs a person", "stage=\"publication:away\""];
            assert!(until(|| said.iter().all(|said| log.line(said).is_some())), "both stages say something");
            said.map(|said| log.line(said).expect("just seen"))
        });
        let seen = seen.await.expect("not panicked");
        stop.send(()).expect("it runs");
        running.await.expect("not panicked").expect("stopped in order");
        seen
    };
    let answering =
        Builder::new_multi_thread().enable_all().thread_name("answering").build().expect("threads");
    let seen = answering.block_on(async { tokio::spawn(served).await.expect("not panicked") });
    for line in seen {
        let thread = line.split_whitespace().nth(2);
        assert_eq!(thread, Some("stages"), "{line}");
    }
}
