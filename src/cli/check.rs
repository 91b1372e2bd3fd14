//! Room `cli`: `douane check`.

use std::path::PathBuf;

use clap::Args;

use super::{
    Common, Verdict,
    output::{self, Format},
};
use crate::partners::{CheckOptions, MappingsFolder, Report, SecretsFrom, check, folder_names};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The folder of cases; partners without one are told
    #[arg(long, default_value = "fixtures", value_name = "FOLDER")]
    fixtures: PathBuf,
    /// Also find wrong what is only worth a look
    #[arg(long)]
    strict: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(common: &Common, args: &CheckArgs) -> anyhow::Result<Verdict> {
    let config = common.load(Vec::new())?;
    let folder = MappingsFolder::read(&config.mappings.path)?.at(config.intake.public_url.clone());
    let fixtures = args.fixtures.is_dir().then(|| folder_names(&args.fixtures));
    let report = check(&folder, &CheckOptions { secrets: SecretsFrom::Sources, fixtures });
    match args.format {
        Format::Json => output::json(&report)?,
        Format::Table => show(&report, folder.partners.len()),
    }
    let sound = report.is_ok() && (report.warnings.is_empty() || !args.strict);
    Ok(if sound { Verdict::Fine } else { Verdict::FoundWrong })
}

fn show(report: &Report, partners: usize) {
    for error in &report.errors {
        output::say(&format!("error: {error}\n"));
    }
    for warning in &report.warnings {
        output::say(&format!("warning: {warning}\n"));
    }
    let (errors, warnings) = (report.errors.len(), report.warnings.len());
    output::say(&format!("{partners} partners: {errors} errors, {warnings} warnings"));
}
