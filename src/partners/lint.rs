//! Room `partners`: what is wrong with a partner folder although it loads. Each lint is one function. May not change
//! anything, nor read secrets.

use std::{collections::BTreeSet, path::Path};

use super::{
    check::{CheckOptions, Report},
    compile::{contract_of, unknown_contract},
    endpoint_file::EndpointPlan,
    folder::{MappingsFolder, PartnerFolder, is_module},
    partner_file::{MappingPlan, PartnerFile, Scope},
    reading::{Source, closest},
};
use crate::{
    keys::SecretSource,
    model::Diagnostic,
    signatures::presets::{self, SAMPLE_ADDRESS},
};

/// What `check` calls a value that `douane partner new` made up.
pub const SAMPLE_VALUE: &str = "sample_value";

/// One partner under the lamp.
pub(super) struct Lints<'a> {
    /// The folder.
    pub(super) folder: &'a PartnerFolder,
    /// Its file, as text.
    pub(super) source: Source<'a>,
    /// Its file, read.
    pub(super) file: &'a PartnerFile,
}

impl Lints<'_> {
    /// Every lint.
    pub(super) fn run(&self, mappings: &MappingsFolder, options: &CheckOptions, report: &mut Report) {
        report.errors.extend(self.missing_owner());
        report.errors.extend(self.shadowed_mappings());
        report.errors.extend(self.unknown_contracts(mappings));
        report.warnings.extend(self.file.endpoints.iter().flat_map(|plan| plan.warnings.iter().cloned()));
        report.warnings.extend(self.missing_name());
        report.warnings.extend(self.unused_modules());
        report.warnings.extend(self.missing_test_secrets());
        report.warnings.extend(self.shared_secrets());
        report.warnings.extend(self.sample_values());
        report.warnings.extend(self.missing_setup());
        report.warnings.extend(self.missing_fixtures(options));
    }

    fn missing_owner(&self) -> Option<Diagnostic> {
        let help = "add `owner = \"<team>\"` at the top: who is asked when deliveries fail";
        let nobody = self.file.owner.is_none();
        nobody.then(|| self.source.problem("missing_owner", 0, "nobody owns this partner", help))
    }

    fn missing_name(&self) -> Option<Diagnostic> {
        let help = "add `name = \"…\"` at the top: the partner as people call it";
        let nameless = self.file.title.is_none();
        nameless.then(|| self.source.problem("missing_name", 0, "this partner has no display name", help))
    }

    /// A type that an ignore or an earlier mapping takes whole never comes to a mapping.
    fn shadowed_mappings(&self) -> Vec<Diagnostic> {
        let ignores = self.file.ignores.iter().map(|ignore| (&ignore.scope, "an [[ignore]]"));
        let mut before: Vec<(&Scope, &str)> = ignores.collect();
        let mut found = Vec::new();
        for mapping in &self.file.mappings {
            found.extend(self.shadowed_types(mapping, &before));
            before.push((&mapping.scope, "an earlier [[mapping]]"));
        }
        found
    }

    fn shadowed_types(&self, mapping: &MappingPlan, before: &[(&Scope, &str)]) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for pattern in &mapping.scope.on {
            let taken = before.iter().find(|(scope, _)| scope.takes_all_of(&pattern.value, &mapping.scope));
            if let Some((_, by)) = taken {
                let message = format!("{:?} never comes here: {by} takes it", pattern.value.0);
                let help = "remove it here, or make the other pattern narrower; ignores come first, then mappings in order";
                found.push(self.source.problem("shadowed_mapping", pattern.at, message, help));
            }
        }
        found
    }

    fn unknown_contracts(&self, mappings: &MappingsFolder) -> Vec<Diagnostic> {
        let known: BTreeSet<String> =
            mappings.contracts.keys().filter_map(|path| contract_of(path)).collect();
        let emitted = self.file.mappings.iter().flat_map(|mapping| &mapping.emits);
        let unknown = emitted.filter(|contract| !known.contains(&contract.value)).map(|contract| {
            let meant = closest(&contract.value, known.iter().map(String::as_str));
            unknown_contract(self.source, contract, meant)
        });
        unknown.collect()
    }

    fn unused_modules(&self) -> Vec<Diagnostic> {
        let used: BTreeSet<&str> =
            self.file.mappings.iter().map(|mapping| mapping.module.value.as_str()).collect();
        let modules = self.folder.files.keys().filter(|path| is_module(path));
        let unused = modules.filter(|path| {
            let name = Path::new(path.as_str()).file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| !used.contains(name))
        });
        let help = "name it in a [[mapping]], or remove it";
        unused
            .map(|path| Diagnostic::new("unused_module", path, "no [[mapping]] names this module", help))
            .collect()
    }

    fn missing_test_secrets(&self) -> Vec<Diagnostic> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for plan in &self.file.endpoints {
            for secret in &plan.secrets {
                if self.file.test_secrets.contains_key(&secret.id) || !seen.insert(&secret.id) {
                    continue;
                }
                let message = format!("[test] has no secret {:?}: its fixtures cannot be signed", secret.id);
                let help =
                    format!("add `[test]` with `secrets = {{ {:?} = \"…\" }}`, a made-up one", secret.id);
                found.push(self.source.problem("missing_test_secret", plan.at, message, help));
            }
        }
        found
    }

    /// Whoever has a delivery to one endpoint can post it to another that verifies with the same secret.
    fn shared_secrets(&self) -> Vec<Diagnostic> {
        let mut seen: Vec<(&SecretSource, &str)> = Vec::new();
        let mut found = Vec::new();
        for plan in &self.file.endpoints {
            for secret in plan.secrets.iter().filter(|secret| !matches!(secret.from, SecretSource::Public(_)))
            {
                let other = seen.iter().find(|(from, name)| **from == secret.from && *name != &*plan.name);
                if let Some((_, other)) = other {
                    let message = format!("`{}` has the secret {:?} of `{other}`", plan.name, secret.id);
                    let help = "give each endpoint a secret of its own: what was sent to one can be posted to the other";
                    found.push(self.source.problem("shared_secret", plan.at, message, help));
                }
                seen.push((&secret.from, &plan.name));
            }
        }
        found
    }

    /// What `douane partner new` wrote to begin with, and is nobody's.
    fn sample_values(&self) -> Vec<Diagnostic> {
        let each = |plan: &EndpointPlan| [self.sample_parameters(plan), self.sample_address(plan)].concat();
        self.file.endpoints.iter().flat_map(each).collect()
    }

    fn sample_parameters(&self, plan: &EndpointPlan) -> Vec<Diagnostic> {
        let named = plan.presets.iter().filter(|_| !plan.parameters.is_empty());
        let mut found: Vec<Diagnostic> = Vec::new();
        for preset in named.filter_map(|name| presets::find(name)) {
            // Presets that cannot be read are told where they are used.
            let (Ok(made_up), Ok(file)) = (preset.made_up_parameters(), preset.file()) else { continue };
            let still = made_up.iter().filter(|(name, value)| plan.parameters.get(*name) == Some(*value));
            let told = still.map(|(name, _)| {
                let place = file.parameters.get(name).map(String::as_str).unwrap_or_default();
                self.sample(plan, name, format!("write your own; where to find it: {place}"))
            });
            found.extend(told);
        }
        found
    }

    fn sample_address(&self, plan: &EndpointPlan) -> Vec<Diagnostic> {
        let sample = plan.public_url.as_ref().is_some_and(|url| url.as_str() == SAMPLE_ADDRESS);
        let help = "write the address under which the provider reaches this gateway, or remove it where intake.public_url says so";
        sample.then(|| self.sample(plan, "public_url", help)).into_iter().collect()
    }

    fn sample(&self, plan: &EndpointPlan, name: &str, help: impl Into<String>) -> Diagnostic {
        let at = plan.places.get(name).copied().unwrap_or(plan.at);
        let message = format!("the {name} of `{}` is made up: no genuine delivery is believed", plan.name);
        self.source.problem(SAMPLE_VALUE, at, message, help)
    }

    fn missing_setup(&self) -> Option<Diagnostic> {
        let path = self.folder.path_of("setup.md");
        let missing = !self.folder.files.contains_key(&path);
        let help =
            "write down what is set up at the partner; `douane partner new` begins with a preset's steps";
        missing.then(|| Diagnostic::new("missing_setup", path, "there is no setup.md", help))
    }

    fn missing_fixtures(&self, options: &CheckOptions) -> Option<Diagnostic> {
        let missing = !options.fixtures.as_ref()?.contains(&self.folder.partner);
        let path = format!("fixtures/{}", self.folder.partner);
        let help = "add a case: fixtures/<partner>/<case>/request.http and expected.json";
        missing.then(|| Diagnostic::new("missing_fixtures", path, "this partner has no fixtures", help))
    }
}
