//! Keys that providers publish, fetched from servers on this machine over real TLS: how often, within which bounds, and
//! what is used while they cannot be had.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use douane::{
    clock::{Clock, ManualClock},
    config::{HumanDuration, KeysConfig},
    keys::remote::{Document, KeyUnavailable, RemoteKeys, Wanted},
    model::{HttpsUrl, Timestamp},
};

use crate::servers::tls::{Authority, Page, TlsServer};

const HOST: &str = "keys.acme.example";

struct Provider {
    server: TlsServer,
    clock: Arc<ManualClock>,
    keys: RemoteKeys,
    _folder: tempfile::TempDir,
}

/// A provider and a gateway that knows it; `change` may change the gateway's settings.
fn provider(change: impl Fn(&mut KeysConfig)) -> Provider {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("the test's own");
    let server = TlsServer::start(&authority, &[HOST, "other.acme.example"]);
    server.set("/jwks", Page::Body(b"one".to_vec()));
    let mut config = KeysConfig {
        connect_to: vec![server.connect_to(HOST)],
        extra_roots: Some(authority.file(folder.path())),
        fetch_timeout: HumanDuration::seconds(20),
        ..KeysConfig::default()
    };
    change(&mut config);
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000).expect("in range")));
    let keys = RemoteKeys::new(&config, clock.clone() as Arc<dyn Clock>).expect("set up");
    Provider { server, clock, keys, _folder: folder }
}

fn url(path: &str) -> HttpsUrl {
    HttpsUrl::parse(&format!("https://{HOST}{path}")).expect("an address")
}

/// An address that a file of ours names.
fn wanted(path: &str) -> Wanted {
    Wanted::ours(url(path))
}

impl Provider {
    async fn told(&self, path: &str) -> Result<Arc<Document>, String> {
        self.keys.document(&wanted(path)).await.map_err(|KeyUnavailable { why, .. }| why)
    }

    async fn text(&self, path: &str) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.told(path).await?.bytes).into_owned())
    }
}

#[tokio::test]
async fn a_document_is_fetched_once_until_it_is_no_longer_fresh() {
    let acme = provider(|_| {});
    for _ in 0..5 {
        assert_eq!(acme.text("/jwks").await.as_deref(), Ok("one"));
    }
    assert_eq!(acme.server.requests(), 1);
    acme.server.set("/jwks", Page::Body(b"two".to_vec()));
    acme.clock.advance(Duration::from_mins(11));
    assert_eq!(acme.text("/jwks").await.as_deref(), Ok("two"));
    assert_eq!(acme.server.requests(), 2);
}

#[tokio::test]
async fn those_who_wait_for_one_document_fetch_it_once() {
    let acme = provider(|_| {});
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let keys = acme.keys.clone();
        waiting.spawn(async move { keys.document(&wanted("/jwks")).await.is_ok() });
    }
    assert!(waiting.join_all().await.into_iter().all(|had| had));
    assert_eq!(acme.server.requests(), 1);
}

#[tokio::test]
async fn what_is_held_goes_on_while_the_provider_is_down_and_not_for_ever() {
    let acme = provider(|_| {});
    assert_eq!(acme.text("/jwks").await.as_deref(), Ok("one"));
    acme.server.set("/jwks", Page::Status(500, String::new()));
    acme.clock.advance(Duration::from_mins(11));
    for _ in 0..3 {
        assert_eq!(acme.text("/jwks").await.as_deref(), Ok("one"));
    }
    assert_eq!(acme.server.requests(), 2, "a provider that is down is left alone for a while");
    acme.clock.advance(Duration::from_secs(11));
    assert_eq!(acme.text("/jwks").await.as_deref(), Ok("one"));
    assert_eq!(acme.server.requests(), 3);
    acme.clock.advance(Duration::from_hours(25));
    assert_eq!(acme.text("/jwks").await, Err("the host answers 500 Internal Server Error".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_had_is_not_asked_for_again_at_once() {
    let acme = provider(|_| {});
    for _ in 0..5 {
        assert!(acme.text("/none").await.expect_err("404").contains("404"));
    }
    assert_eq!(acme.server.requests(), 1);
    acme.server.set("/none", Page::Body(b"now".to_vec()));
    acme.clock.advance(Duration::from_secs(11));
    assert_eq!(acme.text("/none").await.as_deref(), Ok("now"));
}

#[tokio::test]
async fn a_key_that_is_missing_has_them_fetched_anew_but_not_often() {
    let acme = provider(|_| {});
    let known = acme.told("/jwks").await.expect("held");
    acme.server.set("/jwks", Page::Body(b"two".to_vec()));
    assert_eq!(acme.keys.newer(&wanted("/jwks"), &known).await, None, "fetched a moment ago");
    acme.clock.advance(Duration::from_secs(61));
    let newest = acme.keys.newer(&wanted("/jwks"), &known).await.expect("newer");
    assert_eq!(newest.bytes, "two");
    for _ in 0..10 {
        assert_eq!(acme.keys.newer(&wanted("/jwks"), &newest).await, None);
        assert_eq!(acme.keys.newer(&wanted("/jwks"), &known).await.as_deref(), Some(&*newest));
    }
    assert_eq!(acme.server.requests(), 2);
}

#[tokio::test]
async fn nothing_that_a_host_answers_leads_elsewhere_or_is_taken_whole_without_bound() {
    let acme = provider(|config| {
        config.max_document_bytes = 1_024;
        config.fetch_timeout = HumanDuration::millis(500);
        config.fetches_per_minute = 1_000;
    });
    for status in [301, 302, 303, 307, 308] {
        let path = format!("/{status}");
        acme.server.set(&path, Page::Status(status, format!("https://{HOST}/jwks")));
        assert!(acme.text(&path).await.expect_err("redirect").contains(&status.to_string()));
    }
    acme.server.set("/large", Page::Body(vec![b'a'; 1_025]));
    assert!(acme.text("/large").await.expect_err("large").contains("keys.max_document_bytes"));
    acme.server.set("/most", Page::Body(vec![b'a'; 1_024]));
    assert!(acme.text("/most").await.is_ok());
    acme.server.set("/slow", Page::Silence);
    assert!(acme.text("/slow").await.expect_err("slow").contains("keys.fetch_timeout"));
}

#[tokio::test]
async fn a_host_is_asked_only_so_often_whatever_is_asked() {
    let acme = provider(|config| config.fetches_per_minute = 3);
    assert!(acme.text("/jwks").await.is_ok());
    for path in ["/a", "/b", "/c", "/d", "/e"] {
        assert!(acme.text(path).await.is_err());
    }
    assert_eq!(acme.server.requests(), 3);
    assert!(acme.text("/jwks").await.is_ok(), "what is held costs nothing");
}

#[tokio::test]
async fn names_that_anyone_makes_up_take_nothing_from_what_is_known() {
    let acme = provider(|config| (config.fetches_per_minute, config.first_fetches_per_minute) = (3, 2));
    let named =
        async |path: &str| acme.keys.document(&Wanted::senders(url(path), HOST)).await.map_err(|it| it.why);
    acme.server.set("/certs/a", Page::Body(b"a".to_vec()));
    assert!(named("/certs/a").await.is_ok());
    for path in ["/certs/b", "/certs/c", "/certs/d", "/certs/e"] {
        assert!(named(path).await.is_err());
    }
    assert_eq!(acme.server.requests(), 2, "what is named for the first time has its own count");
    assert!(named("/certs/f").await.expect_err("used up").contains("keys.first_fetches_per_minute"));

    // What was fetched before is fetched anew all the same, and so is what a file of ours names.
    acme.server.set("/certs/a", Page::Body(b"anew".to_vec()));
    acme.clock.advance(Duration::from_mins(11));
    assert_eq!(named("/certs/a").await.expect("known").bytes, "anew");
    assert_eq!(acme.text("/jwks").await.as_deref(), Ok("one"));
    assert_eq!(acme.server.requests(), 4);
}

#[tokio::test]
async fn a_document_is_read_once_as_long_as_it_is_held() {
    let acme = provider(|_| {});
    let reads = AtomicUsize::new(0);
    let read = |document: &Document| {
        document.read_as(|bytes| {
            reads.fetch_add(1, Ordering::SeqCst);
            bytes.len()
        })
    };
    for _ in 0..3 {
        assert_eq!(*read(&acme.told("/jwks").await.expect("held")), 3);
    }
    assert_eq!(reads.load(Ordering::SeqCst), 1);
    acme.server.set("/jwks", Page::Body(b"more".to_vec()));
    acme.clock.advance(Duration::from_mins(11));
    assert_eq!(*read(&acme.told("/jwks").await.expect("held")), 4);
    assert_eq!(reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_that_no_known_authority_vouches_for_is_not_believed() {
    let stranger = provider(|config| config.extra_roots = None);
    assert!(stranger.text("/jwks").await.is_err());
    assert_eq!(stranger.server.requests(), 0);
    let another = TlsServer::start(&Authority::new("of somebody else"), &[HOST]);
    let acme = provider(|config| config.connect_to = vec![another.connect_to(HOST)]);
    assert!(acme.text("/jwks").await.is_err());
    let acme =
        provider(|config| config.connect_to[0] = config.connect_to[0].replace(HOST, "third.acme.example"));
    let misnamed = HttpsUrl::parse("https://third.acme.example/jwks").expect("an address");
    assert!(acme.keys.document(&Wanted::ours(misnamed)).await.is_err());
    assert_eq!((another.requests(), acme.server.requests()), (0, 0));
}

#[tokio::test]
async fn only_so_many_documents_are_held_and_made_up_addresses_push_out_no_real_one() {
    let acme = provider(|config| {
        config.max_documents = 2;
        config.fetches_per_minute = 1_000;
    });
    assert!(acme.text("/jwks").await.is_ok());
    for path in ["/a", "/b", "/c", "/d"] {
        assert!(acme.text(path).await.is_err());
    }
    let before = acme.server.requests();
    assert!(acme.text("/jwks").await.is_ok());
    assert_eq!(acme.server.requests(), before);
}
