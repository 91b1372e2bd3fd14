//! Room `partners`: from sources to a desk. A pure function of the sources, so that a revision kept in the ledger is the
//! same desk again after a restart. May not look at the folder, the clock or what was there before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    desk::{Desk, DeskSources, EndpointDesk, Ignore, MappingRule},
    endpoint_file::preset_file,
    folder::{PartnerFolder, is_module},
    partner_file::{IgnorePlan, MappingPlan, PartnerFile, Placed, Scope},
    reading::{Source, Table, parse, suggestion},
    signing::presets_in,
};
use crate::{
    contracts::Catalog,
    model::{Diagnostic, TypePattern},
    signatures::presets,
    translate::{self, Mapping},
};

impl DeskSources {
    /// The sources of a partner's desk: what its folder holds, the presets it names and the contracts it emits.
    pub fn of(folder: &PartnerFolder, contracts: &BTreeMap<String, String>) -> Self {
        let modules = folder.files.iter().filter(|(path, _)| is_module(path));
        let mut files: BTreeMap<_, _> = modules.map(|(path, text)| (path.clone(), text.clone())).collect();
        let Ok((file, text)) = folder.partner_file() else { return Self { files } };
        files.insert(file.to_owned(), text.to_owned());
        let names = Names::in_file(Source { file, text });
        let found = names.presets.iter().filter_map(|name| presets::find(name));
        files.extend(found.map(|preset| (preset_file(preset.name), preset.text.to_owned())));
        let emitted =
            contracts.iter().filter(|(path, _)| names.emits.iter().any(|name| is_version(path, name)));
        files.extend(emitted.map(|(path, text)| (path.clone(), text.clone())));
        Self { files }
    }

    /// The partner's name with the path and text of its file.
    fn partner_file(&self) -> Option<(&str, Source<'_>)> {
        self.files.iter().find_map(|(path, text)| {
            let partner = path.strip_prefix("partners/")?.strip_suffix("/partner.toml")?;
            Some((partner, Source { file: path, text }))
        })
    }

    fn contracts(&self) -> BTreeMap<String, String> {
        let contracts = self.files.iter().filter(|(path, _)| path.starts_with("contracts/"));
        contracts.map(|(path, text)| (path.clone(), text.clone())).collect()
    }
}

/// Whether a contract file holds a minor version of an event type: `contracts/payments/PaymentCaptured.v1.0.json` one of
/// `payments.PaymentCaptured.v1`.
fn is_version(path: &str, event_type: &str) -> bool {
    contract_of(path).is_some_and(|contract| contract == event_type)
}

/// The event type that a contract file is about, by its path.
pub(super) fn contract_of(path: &str) -> Option<String> {
    let (name, _minor) = path.strip_prefix("contracts/")?.strip_suffix(".json")?.rsplit_once('.')?;
    Some(name.replace('/', "."))
}

/// What a partner file names outside its folder.
#[derive(Default)]
struct Names {
    presets: BTreeSet<String>,
    emits: BTreeSet<String>,
}

impl Names {
    /// Whatever can be made out; mistakes are for whoever reads the file whole.
    fn in_file(source: Source<'_>) -> Self {
        let unread = &mut Vec::new();
        let (toml, _) = parse(source);
        let root = Table::of(source, 0, toml.get_ref());
        let mut names = Self::default();
        for table in root.tables("endpoint", unread).iter().chain([&root]) {
            let signature = table.table("signature", unread);
            let presets = signature.iter().flat_map(presets_in);
            names.presets.extend(presets.map(str::to_owned));
        }
        for mapping in root.tables("mapping", unread) {
            names.emits.extend(mapping.texts("emits", unread).into_iter().map(|(name, _)| name.to_owned()));
        }
        names
    }
}

impl Desk {
    /// Compiles a desk, or says everything that is wrong with its sources.
    pub fn compile(sources: DeskSources) -> Result<Self, Vec<Diagnostic>> {
        let Some((partner, source)) = sources.partner_file() else {
            return Err(vec![no_partner_file("partners/<partner>/partner.toml")]);
        };
        let find = |name: &str| sources.files.get(&preset_file(name)).map(String::as_str);
        let file = PartnerFile::read(source, &find);
        let mut problems = file.desk_problems();
        let catalog = Catalog::load(&sources.contracts()).map_err(|found| problems.extend(found)).ok();
        let rules = file.mappings.iter();
        let compiler = Compiler { partner, source, sources: &sources, catalog: catalog.as_ref() };
        let mappings: Vec<_> = rules.filter_map(|plan| compiler.mapping(plan, &mut problems)).collect();
        let (Some(catalog), true) = (catalog, problems.is_empty()) else { return Err(in_order(problems)) };
        Ok(Self {
            partner: partner.into(),
            revision: sources.revision(),
            endpoints: endpoints(&file),
            ignores: file.ignores.into_iter().map(ignore).collect(),
            catalog: Arc::new(catalog),
            mappings,
            sources,
        })
    }
}

impl PartnerFolder {
    /// The path and text of `partner.toml`, or why there is none.
    pub(super) fn partner_file(&self) -> Result<(&str, &str), Box<Diagnostic>> {
        let path = self.path_of("partner.toml");
        if let Some((path, text)) = self.files.get_key_value(&path) {
            return Ok((path, text));
        }
        let unreadable = self.problems.iter().find(|problem| problem.file == path);
        Err(Box::new(unreadable.cloned().unwrap_or_else(|| no_partner_file(&path))))
    }
}

/// The mistake that a partner folder has no `partner.toml`.
fn no_partner_file(path: &str) -> Diagnostic {
    let help = "write one, or remove the folder; mappings/README.md goes step by step";
    Diagnostic::new("no_partner_file", path, "this partner folder has no partner.toml", help)
}

/// Diagnostics as a person reads them: file by file, from top to bottom, each once.
pub(super) fn in_order(mut problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let place = |problem: &Diagnostic| (problem.file.clone(), problem.line, problem.column);
    let what = |problem: &Diagnostic| (place(problem), problem.code, problem.message.clone());
    problems.sort_by_key(what);
    problems.dedup_by_key(|problem| what(problem));
    problems
}

fn endpoints(file: &PartnerFile) -> BTreeMap<Arc<str>, EndpointDesk> {
    let plans = file.endpoints.iter();
    let desks = plans
        .filter_map(|plan| Some((Arc::clone(&plan.name), EndpointDesk { identify: plan.identify.clone()? })));
    desks.collect()
}

fn ignore(plan: IgnorePlan) -> Ignore {
    Ignore { on: patterns(&plan.scope), endpoints: plan.scope.endpoints, why: plan.why }
}

fn patterns(scope: &Scope) -> Vec<TypePattern> {
    scope.on.iter().map(|pattern| pattern.value.clone()).collect()
}

struct Compiler<'a> {
    partner: &'a str,
    source: Source<'a>,
    sources: &'a DeskSources,
    catalog: Option<&'a Catalog>,
}

impl Compiler<'_> {
    fn mapping(&self, plan: &MappingPlan, problems: &mut Vec<Diagnostic>) -> Option<MappingRule> {
        for contract in &plan.emits {
            problems.extend(self.unknown_contract(contract));
        }
        let mapping = self.module(&plan.module).map_err(|found| problems.extend(found)).ok()?;
        Some(MappingRule {
            on: patterns(&plan.scope),
            endpoints: plan.scope.endpoints.clone(),
            module: plan.module.value.clone(),
            mapping,
            emits: plan.emits.iter().map(|contract| contract.value.clone()).collect(),
            ordering_key: plan.ordering_key.clone(),
        })
    }

    fn module(&self, module: &Placed<String>) -> Result<Mapping, Vec<Diagnostic>> {
        let folder = format!("partners/{}/", self.partner);
        let path = format!("{folder}{}", module.value);
        if let Some(text) = self.sources.files.get(&path) {
            return translate::compile(&path, text);
        }
        let files = self.sources.files.keys().filter_map(|path| path.strip_prefix(&folder));
        let modules: Vec<_> = files.filter(|file| is_module(file)).collect();
        let help = if modules.is_empty() {
            "write the module beside partner.toml".to_owned()
        } else {
            suggestion(&module.value, modules.iter().copied())
        };
        let message = format!("there is no module {:?}", module.value);
        Err(vec![self.source.problem("module_missing", module.at, message, help)])
    }

    /// A contract that no file holds. When the catalog itself is broken, its own mistakes are the ones to mend.
    fn unknown_contract(&self, contract: &Placed<String>) -> Option<Diagnostic> {
        self.catalog.filter(|catalog| catalog.get(&contract.value).is_none())?;
        Some(unknown_contract(self.source, contract, None))
    }
}

/// The mistake that an emitted contract is unknown; `meant` is one with a name like it.
pub(super) fn unknown_contract(
    source: Source<'_>,
    contract: &Placed<String>,
    meant: Option<&str>,
) -> Diagnostic {
    let help = match meant {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => "write its schema as contracts/<context>/<Event>.v<major>.<minor>.json".to_owned(),
    };
    let message = format!("there is no contract {:?}", contract.value);
    source.problem("unknown_contract", contract.at, message, help)
}
