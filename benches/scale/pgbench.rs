//! The procedure that keeps a batch, called by pgbench and nobody else, with entries that a gateway kept before.
//!
//! pgbench *sends* the batch with each call, as every client of the procedure must, or it *holds* it: then the batch stands
//! in the statement that the server has prepared, and a call carries nothing but a key. What the procedure reaches for
//! anybody is the first. It is text, two characters a byte: pgbench cannot send values in binary, as a gateway does.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    engines::{Engines, FRESH},
    report::Figures,
};

/// An argument of a program may be 128 KiB at most; and so may a variable of pgbench, which is given as one.
const MAX_VARIABLE: usize = 120 * 1024;

/// A batch, as text.
pub struct Batch {
    checksums: Vec<String>,
    metas: Vec<String>,
    bodies: Vec<String>,
    bytes: usize,
}

/// Whether the batch travels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Batches {
    /// With each call.
    Sent,
    /// Once, in the statement.
    Held,
}

/// What pgbench is told: a script, and the variables in it.
struct Script {
    text: String,
    variables: Vec<(String, String)>,
}

/// So many entries of the fresh ledger, before it is emptied.
pub fn sample(engines: &Engines, count: u64) -> Result<Batch> {
    let rows = engines.postgres.sql(&format!(
        "SELECT checksum, encode(meta, 'hex'), encode(body, 'hex') FROM {FRESH}.log_entries
         ORDER BY written_at DESC LIMIT {count}"
    ));
    let mut batch = Batch { checksums: Vec::new(), metas: Vec::new(), bodies: Vec::new(), bytes: 0 };
    for row in rows.lines() {
        let mut columns = row.split('|');
        let mut next = || columns.next().context("three columns");
        let (checksum, meta, body) = (next()?, next()?, next()?);
        batch.bytes += meta.len() / 2 + body.len() / 2;
        batch.checksums.push(checksum.to_owned());
        batch.metas.push(format!(r"\\x{meta}"));
        batch.bodies.push(format!(r"\\x{body}"));
    }
    Ok(batch)
}

impl Batch {
    /// How many entries it has.
    pub fn entries(&self) -> usize {
        self.checksums.len()
    }

    fn script(&self, batches: Batches) -> Script {
        let mut variables = Vec::new();
        let mut array = |name: &str, of: &str, words: &[String]| {
            let mut parts = Vec::new();
            for (place, part) in parts_of(words).into_iter().enumerate() {
                parts.push(match batches {
                    Batches::Held => format!("'{part}'::{of}[]"),
                    Batches::Sent => format!(":{name}{place}::{of}[]"),
                });
                variables.push((format!("{name}{place}"), part));
            }
            parts.join(" || ")
        };
        let (checksums, metas, bodies) = (
            array("checksums", "bigint", &self.checksums),
            array("metas", "bytea", &self.metas),
            array("bodies", "bytea", &self.bodies),
        );
        // The time is the server's, as the gateway's is its own clock's; the key tells batches of one moment apart.
        let text = format!(
            "\\set key random(1, 9223372036854775806)\n\
             CALL {FRESH}.append_entries((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, :key, {bytes}, \
             array_fill(7::bigint, ARRAY[{entries}]), array_fill(700, ARRAY[{entries}]), 7, {checksums}, {metas}, {bodies}, NULL, NULL);\n",
            bytes = self.bytes,
            entries = self.entries()
        );
        if batches == Batches::Held {
            variables.clear();
        }
        Script { text, variables }
    }
}

/// These words as arrays, each as long as a variable may be.
fn parts_of(words: &[String]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for word in words {
        match parts.last_mut() {
            Some(part) if part.len() + word.len() < MAX_VARIABLE => {
                part.push(',');
                part.push_str(word);
            }
            _ => parts.push(word.clone()),
        }
    }
    parts.into_iter().map(|part| format!("{{{part}}}")).collect()
}

/// Calls it on the emptied ledger, by so many clients.
pub fn run(
    engines: &Engines,
    batch: &Batch,
    (clients, batches): (usize, Batches),
    how_long: Duration,
) -> Result<Figures> {
    engines.postgres.sql(&format!(
        "SET search_path = {FRESH}; \
         SELECT cover('log_entries', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 86400000000)"
    ));
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("script");
    let Script { text, variables } = batch.script(batches);
    fs::write(&path, text)?;
    let mut pgbench = engines.postgres.client("pgbench");
    pgbench
        .env("PGOPTIONS", format!("-c search_path={FRESH}"))
        .args(["-n", "-M", "prepared", "-f"])
        .arg(path);
    for (name, value) in variables {
        pgbench.arg("-D").arg(format!("{name}={value}"));
    }
    let clients = clients.to_string();
    pgbench.args(["-c", &clients, "-j", &clients, "-T", &how_long.as_secs().to_string()]);
    let before = engines.usage(&[])?;
    let ran = pgbench.output()?;
    let used = engines.usage(&[])?.since(before);
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    ensure!(ran.status.success() && !complained.contains("ERROR"), "pgbench: {complained}");
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")).context("pgbench tells no rate")?;
    let tps: f64 = tps.split(' ').next().unwrap_or_default().parse()?;
    let (entries, rate) = (batch.entries() as f64, tps * batch.entries() as f64);
    let postgres_micros = used.postgres.as_secs_f64() * 1e6 / (rate * how_long.as_secs_f64());
    Ok(Figures { rate, batch: entries, postgres_micros, ..Figures::nothing() })
}
