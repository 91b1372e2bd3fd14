//! Room `cli`: `douane check`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::bail;
use clap::Args;

use super::{
    Common, Verdict,
    output::{self, Format, counted},
};
use crate::partners::{CheckOptions, MappingsFolder, Report, SecretsFrom, check, folder_names};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The folder of cases; partners without one are told (default: fixtures, where it is there)
    #[arg(long, value_name = "FOLDER")]
    fixtures: Option<PathBuf>,
    /// Also find wrong what is only worth a look
    #[arg(long)]
    strict: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(common: &Common, args: &CheckArgs) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    let folder = MappingsFolder::read(&config.mappings.path)?.at(config.intake.public_url.clone());
    let fixtures = fixtures(args.fixtures.as_deref())?;
    let report = check(&folder, &CheckOptions { secrets: SecretsFrom::Sources, fixtures });
    match args.format {
        Format::Json => output::json(&report)?,
        Format::Table => show(&report, folder.partners.len()),
    }
    let sound = report.is_ok() && (report.warnings.is_empty() || !args.strict);
    Ok(if sound { Verdict::Fine } else { Verdict::FoundWrong })
}

/// The partners that have cases. Only a folder that nobody named may be missing.
fn fixtures(named: Option<&Path>) -> anyhow::Result<Option<BTreeSet<String>>> {
    let folder = named.unwrap_or(Path::new("fixtures"));
    if named.is_some() && !folder.is_dir() {
        bail!("there is no folder {}; --fixtures names the one of the cases", folder.display());
    }
    Ok(folder.is_dir().then(|| folder_names(folder)))
}

fn show(report: &Report, partners: usize) {
    for error in &report.errors {
        output::say(&format!("error: {error}\n"));
    }
    for warning in &report.warnings {
        output::say(&format!("warning: {warning}\n"));
    }
    let partners = counted(partners, "partner", "partners");
    let errors = counted(report.errors.len(), "error", "errors");
    let warnings = counted(report.warnings.len(), "warning", "warnings");
    output::say(&format!("{partners}: {errors}, {warnings}"));
}
