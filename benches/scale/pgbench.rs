//! The procedure that keeps a batch, called by pgbench and nobody else, with entries that a gateway kept before.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    engines::{Engines, FRESH},
    report::Figures,
};

/// A script that keeps a batch of so many entries. They are taken from the fresh ledger, before it is emptied.
pub fn sample(engines: &Engines, batch: u64) -> String {
    // The time is the server's, as the gateway's is its own clock's; the key tells batches of one moment apart.
    engines.postgres.sql(&format!(
        "SELECT format('CALL {FRESH}.log_append((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, :key, %s,
           %L::bigint[], %L::bytea[], %L::bytea[], NULL, NULL);', sum(length(meta) + length(body)),
           array_agg(checksum), array_agg(meta), array_agg(body))
         FROM (SELECT * FROM {FRESH}.log_entries ORDER BY written_at DESC LIMIT {batch}) AS kept"
    ))
}

/// Runs it on the emptied ledger, by so many clients.
pub fn run(
    engines: &Engines,
    sample: &str,
    batch: u64,
    clients: usize,
    how_long: Duration,
) -> Result<Figures> {
    engines.postgres.sql(&format!(
        "SET search_path = {FRESH}; \
         SELECT cover('log_entries', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 86400000000)"
    ));
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("script");
    fs::write(&script, format!("\\set key random(1, 9223372036854775806)\n{sample}\n"))?;
    let mut pgbench = engines.postgres.client("pgbench");
    pgbench
        .env("PGOPTIONS", format!("-c search_path={FRESH}"))
        .args(["-n", "-M", "prepared", "-f"])
        .arg(script);
    let clients = clients.to_string();
    pgbench.args(["-c", &clients, "-j", &clients, "-T", &how_long.as_secs().to_string()]);
    let ran = pgbench.output()?;
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    ensure!(ran.status.success() && !complained.contains("ERROR"), "pgbench: {complained}");
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")).context("pgbench tells no rate")?;
    let tps: f64 = tps.split(' ').next().unwrap_or_default().parse()?;
    Ok(Figures { rate: tps * batch as f64, batch: batch as f64, ..Figures::nothing() })
}
