//! Room `cli`: `douane doctor` on the memory of verdicts: whether Redis answers, keeps what it is told, and has room for the
//! window. Nothing of it keeps the gateway from working: without Redis the ledger answers.

use super::doctor::Finding;
use crate::{app, config::Config, ledger::Ledger, partners::SecretsFrom};

const WHAT: &str = "memory";

/// What is found of the memory that `[dedupe]` names; nothing when it names none.
pub(super) async fn examine(config: &Config, ledger: Option<&Ledger>) -> Vec<Finding> {
    let health = match app::look_at_memory(&config.dedupe).await {
        Ok(None) => return Vec::new(),
        Ok(Some(health)) => health,
        Err(error) => {
            let found = format!("Redis does not answer, and the ledger decides alone: {error:#}");
            return vec![Finding::wrong(WHAT, found, "see [dedupe]; it is filled again when it is back")];
        }
    };
    let mut findings = Vec::new();
    if health.eviction != "noeviction" {
        let found = format!("Redis evicts ({}), and what it evicts the ledger is asked for", health.eviction);
        findings.push(Finding::warning(WHAT, found, "set `maxmemory-policy noeviction`"));
    }
    let room = health.most_bytes;
    let most = if room == 0 { "no limit".to_owned() } else { format!("{} MiB at most", mebibytes(room)) };
    let used = format!("Redis {}, {} MiB used, {most}", health.version, mebibytes(health.used_bytes));
    findings.push(match needed(config, ledger).await {
        None => Finding::sound(WHAT, used),
        Some(needed) if room > 0 && needed > room => Finding::warning(
            WHAT,
            format!("{used}; the windows need about {} MiB at the present rate", mebibytes(needed)),
            "raise `maxmemory`: beyond it Redis refuses, and the ledger decides alone",
        ),
        Some(needed) => {
            let needed =
                format!("{used}; the windows need about {} MiB at the present rate", mebibytes(needed));
            Finding::sound(WHAT, needed)
        }
    });
    findings
}

async fn needed(config: &Config, ledger: Option<&Ledger>) -> Option<u64> {
    let ledger = ledger?;
    let partners = app::load_partners(config, SecretsFrom::Sources, None).await.ok()?;
    app::memory_needed(&*ledger.records, &partners.snapshot(), ledger.log.durable()).await.ok()?
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_048_576)
}
