//! Room `partners`: `douane check`: everything loading would find, and the lints beside it. Opens and changes nothing.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    compile::in_order,
    desk::{Desk, DeskSources},
    door::{NotConfigured, SecretsFrom, SignatureCheck},
    endpoint_file::is_name,
    folder::{MappingsFolder, PartnerFolder},
    lint::Lints,
    opening::{Keyring, check_at},
    partner_file::PartnerFile,
    reading::Source,
    reload::bad_partner_name,
};
use crate::{
    contracts::Catalog,
    model::{Diagnostic, PublicUrl},
    signatures::presets,
};

/// What a check takes into account beside the folder.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Which secrets are looked for. One that cannot be had is a warning: it need not be where the check runs.
    pub secrets: SecretsFrom,
    /// The partners that have a folder of fixtures; `None`: not looked at.
    pub fixtures: Option<BTreeSet<String>>,
}

/// What a check found, file by file and from top to bottom.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What must be mended.
    pub errors: Vec<Diagnostic>,
    /// What a person should look at.
    pub warnings: Vec<Diagnostic>,
}

impl Report {
    /// Whether there is nothing to mend.
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }
}

/// Checks a mappings folder.
pub fn check(folder: &MappingsFolder, options: &CheckOptions) -> Report {
    let mut report = Report { errors: folder.problems.clone(), ..Report::default() };
    for partner in folder.partners.values() {
        check_partner(partner, folder, options, &mut report);
    }
    report.errors.extend(Catalog::load(&folder.contracts).err().unwrap_or_default());
    Report { errors: in_order(report.errors), warnings: in_order(report.warnings) }
}

fn check_partner(
    partner: &PartnerFolder,
    folder: &MappingsFolder,
    options: &CheckOptions,
    report: &mut Report,
) {
    report.errors.extend(partner.problems.iter().cloned());
    if !is_name(&partner.partner) {
        report.errors.push(bad_partner_name(&partner.partner));
    }
    let source = match partner.partner_file() {
        Ok((file, text)) => Source { file, text },
        Err(problem) => {
            report.errors.push(*problem);
            return;
        }
    };
    let find = |name: &str| presets::find(name).map(|preset| preset.text);
    let file = PartnerFile::read(source, &find);
    if !file.only_names {
        Lints { folder: partner, source, file: &file }.run(folder, options, report);
        report.warnings.extend(missing_secrets(source, &file, options.secrets, folder.public_url.as_ref()));
    }
    report.errors.extend(file.desk_problems());
    let sources = DeskSources::of(partner, &folder.contracts);
    report.errors.extend(Desk::compile(sources).err().unwrap_or_default());
}

/// Endpoints that would answer 503, here and now, for want of a secret or of their public address.
fn missing_secrets(
    source: Source<'_>,
    file: &PartnerFile,
    from: SecretsFrom,
    public_url: Option<&PublicUrl>,
) -> Vec<Diagnostic> {
    let keyring = Keyring { from, test_secrets: &file.test_secrets };
    let mut found = Vec::new();
    for plan in &file.endpoints {
        let Some(check @ SignatureCheck::Scheme(_)) = check_at(plan, public_url, from) else { continue };
        if plan.secrets.is_empty() {
            continue;
        }
        let learns = plan.handshakes.iter().any(|handshake| handshake.learn.is_some());
        let of_handshakes = keyring.of_handshakes(&plan.handshakes, &plan.secrets);
        let own = keyring.keys(&check, &plan.secrets, learns).0.err();
        if let Some(why) = NotConfigured::told(own.as_ref(), &of_handshakes) {
            let message = format!("`{}` would answer 503 in this environment: {why}", plan.name);
            let help = "give the gateway each such secret, or the address, before the partner posts to it";
            found.push(source.problem("not_configured", plan.at, message, help));
        }
    }
    found
}
