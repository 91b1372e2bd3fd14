//! What the log and the records share over PostgreSQL: its schema goes forward while others are at work, connections come
//! back, and what goes wrong is told without a secret.

use std::time::Duration;

use douane::{
    config::{HumanDuration, LedgerConfig},
    ledger::{
        RecordsError,
        postgres::{Access, Database, DatabaseSettings, PostgresError, SchemaError, migrate, migrations},
    },
    model::{Incarnation, Secret},
};

use serde_json::json;

use crate::{
    process::{Ran, douane},
    servers::postgres::{Postgres, database},
};

fn text(error: impl Into<RecordsError>) -> String {
    let RecordsError::Unavailable(text) = error.into() else { panic!("it is the outside world") };
    text
}

#[tokio::test]
async fn processes_that_start_together_migrate_once() {
    let server = Postgres::start();
    let before = migrations(&server.database("one")).await.expect("asked");
    assert!(before.applied.is_empty() && !before.missing.is_empty());
    assert_eq!(server.database("one").incarnation().await.expect("asked"), None);

    let together: Vec<_> = (0..4)
        .map(|_| {
            let database = server.database("one");
            tokio::spawn(async move { migrate(&database).await })
        })
        .collect();
    for migrated in together {
        migrated.await.expect("ran").expect("migrated");
    }
    let after = migrations(&server.database("one")).await.expect("asked");
    let names: Vec<_> = after.applied.iter().map(|applied| applied.name.clone()).collect();
    assert_eq!((names, after.missing), (before.missing, vec![]));
    assert!(migrate(&server.database("one")).await.expect("nothing to do").is_empty());

    migrate(&server.database("other")).await.expect("migrated");
    let one = server.database("one").incarnation().await.expect("asked").expect("begun");
    let other = server.database("other").incarnation().await.expect("asked").expect("begun");
    assert_ne!(one, other, "two ledgers share a database and nothing else");
}

#[tokio::test]
async fn a_migration_that_was_edited_is_refused_and_a_later_one_is_not() {
    let server = Postgres::start();
    let database = server.database("ledger");
    migrate(&database).await.expect("migrated");
    server.sql("INSERT INTO ledger.migration (version, name, sha256) VALUES (9999, 'later', 'x')");
    assert_eq!(migrations(&database).await.expect("asked").missing, Vec::<String>::new());
    assert!(migrate(&database).await.expect("an older release goes on").is_empty());
    server.sql("UPDATE ledger.migration SET sha256 = 'edited' WHERE version = 1");
    let refused = migrate(&database).await.expect_err("must be refused");
    assert!(matches!(refused, SchemaError::Differs { version: 1, .. }), "{refused}");
}

#[tokio::test]
async fn every_session_is_bounded_and_waits_for_the_disk() {
    let server = Postgres::with(&["synchronous_commit=off"]);
    let database = server.database("ledger");
    let show = |database: Database, setting: &'static str| async move {
        let session = database.session().await.expect("lent");
        let row = session.query_one("SELECT current_setting($1)", &[&setting]).await.expect("asked");
        row.get::<_, String>(0)
    };
    for (setting, value) in [
        ("synchronous_commit", "on"),
        ("statement_timeout", "10s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "1500ms"),
        ("search_path", "ledger, pg_temp"),
    ] {
        assert_eq!(show(database.clone(), setting).await, value, "{setting}");
    }
    let server_says_more = Postgres::with(&["synchronous_commit=remote_apply"]);
    assert_eq!(show(server_says_more.database("ledger"), "synchronous_commit").await, "remote_apply");
}

/// Asks until the connections that have gone are used up: each costs one call.
async fn asked_again(database: &Database) -> Result<Option<Incarnation>, PostgresError> {
    for _ in 0..LedgerConfig::default().connections {
        let answer = database.incarnation().await;
        let gone = answer.as_ref().is_err_and(|error| !error.to_string().contains("connecting"));
        if !gone {
            return answer;
        }
    }
    database.incarnation().await
}

#[tokio::test]
async fn a_restart_or_an_ended_session_costs_one_call_a_connection() {
    let mut server = Postgres::start();
    let database = server.database("ledger");
    migrate(&database).await.expect("migrated");
    let incarnation = database.incarnation().await.expect("asked");

    assert!(server.terminate_sessions() > 0);
    assert_eq!(asked_again(&database).await.expect("asked"), incarnation);

    server.stop_at_once();
    let down = text(asked_again(&database).await.expect_err("it is down"));
    assert!(down.contains("error connecting to server: Connection refused"), "{down}");
    server.start_again();
    assert_eq!(database.incarnation().await.expect("asked"), incarnation);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let server = Postgres::start();
    let mut config = server.config("ledger");
    config.statement_timeout = HumanDuration::millis(100);
    config.connect_timeout = HumanDuration::millis(200);
    let paused = database(&config);
    migrate(&paused).await.expect("migrated");
    server.pause();
    assert_eq!(text(paused.incarnation().await.expect_err("paused")), "PostgreSQL did not answer in time");
    assert_eq!(
        text(paused.incarnation().await.expect_err("paused")),
        "PostgreSQL did not give a connection in time"
    );
    server.resume();
    assert!(paused.incarnation().await.expect("asked").is_some());
}

#[tokio::test]
async fn a_transaction_is_kept_whole_or_leaves_nothing() {
    let server = Postgres::start();
    let database = server.database("public");
    server.sql("CREATE TABLE notes (note int PRIMARY KEY)");
    let note = |database: Database, notes: [i32; 2]| async move {
        let session = database.session().await?;
        let work = async {
            for note in notes {
                session.query("INSERT INTO notes VALUES ($1)", &[&note]).await?;
            }
            Ok(())
        };
        session.transaction(work).await
    };
    note(database.clone(), [1, 2]).await.expect("kept");
    let refused: RecordsError = note(database.clone(), [3, 2]).await.expect_err("twice").into();
    let RecordsError::Refused(told) = refused else { panic!("{refused}") };
    assert_eq!(told, "SQLSTATE 23505, table notes, constraint notes_pkey", "no value is repeated");
    let given_up = tokio::time::timeout(Duration::ZERO, note(database.clone(), [5, 6])).await;
    assert!(given_up.is_err());
    note(database, [7, 8]).await.expect("kept");
    assert_eq!(server.sql("SELECT string_agg(note::text, ' ' ORDER BY note) FROM notes"), "1 2 7 8");
}

#[tokio::test]
async fn what_we_raise_as_stale_is_stale() {
    let server = Postgres::start();
    let session = server.database("public").session().await.expect("lent");
    let raised = "DO $$ BEGIN RAISE EXCEPTION 'behind' USING ERRCODE = 'DO001'; END $$";
    let error: RecordsError = session.batch(raised).await.expect_err("raised").into();
    assert!(matches!(&error, RecordsError::Stale(why) if why.contains("behind")), "{error}");
    let odd = session.query("SELECT $1::text", &[&"nul \0"]).await.expect_err("no text of PostgreSQL");
    assert!(matches!(odd.into(), RecordsError::Refused(_)));
    assert!(session.query("SELECT 1", &[]).await.is_ok(), "an answer leaves the session as it was");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let server = Postgres::start();
    server.sql("CREATE ROLE someone LOGIN PASSWORD 'right'");
    server.sql("COPY (SELECT 'host all someone all scram-sha-256') TO PROGRAM 'cat > pg_hba.new; cat pg_hba.conf >> pg_hba.new; mv pg_hba.new pg_hba.conf'");
    server.sql("SELECT pg_reload_conf()");
    let url = server.url().replace("postgres@", "someone@");
    let with = |password: &str| {
        let access = Access {
            url: Secret::new(url.clone()),
            password: Some(Secret::new(password)),
            authorities: None,
        };
        Database::new(DatabaseSettings::new(&server.config("public"), &access).expect("settings"))
            .expect("a pool")
    };
    assert_eq!(with("right").incarnation().await.expect("let in"), None);
    let told = text(with("hunter2").incarnation().await.expect_err("kept out"));
    assert!(told.contains("password authentication failed") && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_server_that_nobody_known_vouches_for_is_told_nothing() {
    let (server, authority) = Postgres::with_tls();
    let with = |url: String, authorities: Option<Vec<u8>>| {
        let access = Access { url: Secret::new(url), password: None, authorities };
        Database::new(DatabaseSettings::new(&server.config("public"), &access).expect("settings"))
            .expect("a pool")
    };
    let required = format!("{}?sslmode=require", server.url());
    let database = with(required.clone(), Some(authority.clone()));
    let session = database.session().await.expect("lent");
    let row = session.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await;
    assert!(row.expect("asked").get::<_, bool>(0));

    let told =
        text(with(required, None).incarnation().await.expect_err("the system knows no such authority"));
    assert!(told.contains("TLS") && told.contains("certificate"), "{told}");
    let other_name = server.url().replace("127.0.0.1", "localhost") + "?sslmode=verify-full";
    let told = text(with(other_name, Some(authority)).incarnation().await.expect_err("another name"));
    assert!(told.contains("not valid for name"), "{told}");
    let in_the_open = Postgres::start();
    let told =
        text(with(in_the_open.url() + "?sslmode=require", None).incarnation().await.expect_err("no TLS"));
    assert!(told.contains("server does not support TLS"), "{told}");
}

#[test]
fn a_person_brings_the_schema_forward_and_asks_how_far_it_is() {
    let server = Postgres::start();
    let home = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| -> Ran {
        let mut command = douane();
        command.current_dir(home.path()).args(arguments).env("DOUANE_LEDGER_URL", "env:LEDGER");
        command
            .env("LEDGER", server.url().replace("postgres@", "postgres:hunter2@"))
            .output()
            .expect("runs")
            .into()
    };
    let before = run(&["ledger", "status", "--format", "json"]).ended(1).json();
    assert_eq!((&before["applied"], &before["missing"][0]), (&json!([]), &json!("ledger")));
    let applied = run(&["ledger", "migrate", "--format", "json"]).ended(0).json();
    assert_eq!(applied[0]["name"], json!("ledger"));
    assert!(run(&["ledger", "migrate"]).ended(0).out.contains("nothing to do"));
    let after = run(&["ledger", "status", "--format", "json"]).ended(0).json();
    assert_eq!((&after["missing"], &after["log"]), (&json!([]), &json!({ "first": 1, "last": 0 })));
    assert!(run(&["ledger", "status"]).ended(0).out.contains("in schema douane"));

    // A server that forgets what it confirms is refused, and the password is not repeated.
    let anywhere = ["--listen", "127.0.0.1:0", "--private-listen", "127.0.0.1:0"];
    let refused = run(&[&["serve"][..], &anywhere[..]].concat()).ended(2);
    assert!(refused.err.contains("fsync is off") && !refused.err.contains("hunter2"), "{}", refused.err);
    drop(server);
    let embedded: Ran =
        douane().current_dir(home.path()).args(["ledger", "status"]).output().expect("runs").into();
    assert!(embedded.ended(2).err.contains("ledger.url is not set"));
}
