//! Room `partners`: `partner.toml` as data: every mistake at its place, and whatever could be read beside them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    desk::{Split, ValueRule},
    endpoint_file::{self, EndpointPlan, FindPreset, Shared},
    folder::is_module,
    reading::{Source, Table, closest, parse},
    rules, splits,
};
use crate::model::{Diagnostic, Secret, TypePattern};

const KEYS: [&str; 10] =
    ["name", "owner", "docs", "signature", "handshake", "endpoint", "identify", "mapping", "ignore", "test"];

/// A thing and where it stands in its file.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    /// The thing.
    pub(super) value: T,
    /// The byte where it begins.
    pub(super) at: usize,
}

/// Which external events a `[[mapping]]` or `[[ignore]]` is for.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The external types.
    pub(super) on: Vec<Placed<TypePattern>>,
    /// The endpoints; empty: all.
    pub(super) endpoints: Vec<String>,
}

impl Scope {
    /// Whether everything of a pattern in `other` is taken by this scope.
    pub(super) fn takes_all_of(&self, pattern: &TypePattern, other: &Self) -> bool {
        let everywhere = self.endpoints.is_empty()
            || (!other.endpoints.is_empty()
                && other.endpoints.iter().all(|name| self.endpoints.contains(name)));
        everywhere && self.on.iter().any(|mine| mine.value.covers(pattern))
    }
}

/// A `[[mapping]]`, its module not compiled yet.
#[derive(Debug)]
pub(super) struct MappingPlan {
    /// What it is for.
    pub(super) scope: Scope,
    /// The module's file name.
    pub(super) module: Placed<String>,
    /// The contracts it may emit.
    pub(super) emits: Vec<Placed<String>>,
    /// Its own ordering key.
    pub(super) ordering_key: Option<ValueRule>,
}

/// An `[[ignore]]`.
#[derive(Debug)]
pub(super) struct IgnorePlan {
    /// What it is for.
    pub(super) scope: Scope,
    /// Why.
    pub(super) why: String,
}

/// A partner file, read.
#[derive(Debug, Default)]
pub(super) struct PartnerFile {
    /// The display name.
    pub(super) title: Option<String>,
    /// The team that owns it.
    pub(super) owner: Option<String>,
    /// Where the partner documents its webhooks.
    pub(super) docs: Option<String>,
    /// Its endpoints, in file order.
    pub(super) endpoints: Vec<EndpointPlan>,
    /// Its mappings, in file order.
    pub(super) mappings: Vec<MappingPlan>,
    /// Its ignores, in file order.
    pub(super) ignores: Vec<IgnorePlan>,
    /// The development secrets, by secret id.
    pub(super) test_secrets: BTreeMap<String, Secret>,
    /// Whether the file is not TOML all through, so that nothing but the names of endpoints could be made out.
    pub(super) only_names: bool,
    /// What is wrong with the file as a whole: neither doors nor a desk come of it.
    pub(super) problems: Vec<Diagnostic>,
    /// What is wrong with mappings and ignores: no desk comes of it.
    pub(super) desk_problems: Vec<Diagnostic>,
}

impl PartnerFile {
    /// Reads the text of `partner.toml`; `presets` gives the text of a preset by its name.
    pub(super) fn read(source: Source<'_>, presets: FindPreset<'_>) -> Self {
        let (toml, problems) = parse(source);
        let root = Table::of(source, 0, toml.get_ref());
        if !problems.is_empty() {
            return Self { problems, endpoints: names_only(&root), only_names: true, ..Self::default() };
        }
        let mut file = Self::default();
        file.read_front(&root);
        file.read_endpoints(&root, presets);
        file.read_rules(&root);
        file
    }

    /// Everything that stands between this file and a desk.
    pub(super) fn desk_problems(&self) -> Vec<Diagnostic> {
        let endpoints = self.endpoints.iter();
        let of_endpoints = endpoints.flat_map(|plan| plan.door_problems.iter().chain(&plan.desk_problems));
        let all = self.problems.iter().chain(&self.desk_problems).chain(of_endpoints);
        all.cloned().collect()
    }

    fn read_front(&mut self, root: &Table<'_>) {
        let problems = &mut self.problems;
        root.only(&KEYS, problems);
        let mut text =
            |key| root.text(key, problems).filter(|text| !text.trim().is_empty()).map(str::to_owned);
        (self.title, self.owner, self.docs) = (text("name"), text("owner"), text("docs"));
        let Some(development) = root.table("test", problems) else { return };
        development.only(&["secrets"], problems);
        let secrets = development.table("secrets", problems);
        for entry in secrets.iter().flat_map(Table::iter) {
            let secret = entry.text(problems).map(Secret::new);
            self.test_secrets.extend(secret.map(|secret| (entry.key.to_owned(), secret)));
        }
    }

    fn read_endpoints(&mut self, root: &Table<'_>, presets: FindPreset<'_>) {
        let problems = &mut self.problems;
        let shared = Shared {
            signature: root.table("signature", problems),
            identify: root.table("identify", problems),
            handshake: root.get("handshake"),
            presets,
        };
        let tables = root.tables("endpoint", problems);
        if tables.is_empty() && !root.has("endpoint") {
            let help = "add [[endpoint]] with a name and secrets; one named `default` answers /in/<partner>";
            problems.push(root.problem("no_endpoint", "there is no [[endpoint]]", help));
        }
        for table in tables {
            let mut plan = endpoint_file::read(&table, &shared);
            if self.endpoints.iter().any(|known| known.name == plan.name) {
                let message = format!("the endpoint {:?} stands twice", plan.name);
                let twice =
                    table.problem("duplicate_endpoint", message, "give it another name, or remove one");
                plan.door_problems.push(twice);
            }
            self.endpoints.push(plan);
        }
    }

    fn read_rules(&mut self, root: &Table<'_>) {
        let names: BTreeSet<String> = self.endpoints.iter().map(|plan| plan.name.to_string()).collect();
        let problems = &mut self.desk_problems;
        for table in root.tables("mapping", problems) {
            let plan = mapping(&table, &names, problems);
            if let Some(splits) = plan.as_ref().and_then(|plan| splits_of(&self.endpoints, &plan.scope)) {
                splits::refuse_others(&table, &["ordering_key"], &splits, problems);
            }
            self.mappings.extend(plan);
        }
        for table in root.tables("ignore", problems) {
            self.ignores.extend(ignore(&table, &names, problems));
        }
    }
}

/// How the endpoints of a scope take batches apart; `None` when one of them could not be read.
fn splits_of<'e>(endpoints: &'e [EndpointPlan], scope: &Scope) -> Option<Vec<&'e Split>> {
    let here = |plan: &&EndpointPlan| {
        scope.endpoints.is_empty() || scope.endpoints.iter().any(|name| **name == *plan.name)
    };
    let read: Option<Vec<_>> = endpoints.iter().filter(here).map(|plan| plan.identify.as_ref()).collect();
    Some(read?.into_iter().filter_map(|identify| identify.split.as_ref()).collect())
}

/// The endpoints of a file that is not TOML all through, as far as their names can be made out.
fn names_only(root: &Table<'_>) -> Vec<EndpointPlan> {
    let mut unread = Vec::new();
    let tables = root.tables("endpoint", &mut unread);
    let names: BTreeSet<_> = tables.iter().map(|table| endpoint_file::name(table, &mut unread)).collect();
    names
        .into_iter()
        .filter(|name| endpoint_file::is_name(name))
        .map(|name| EndpointPlan::named(name, 0))
        .collect()
}

fn mapping(
    table: &Table<'_>,
    endpoints: &BTreeSet<String>,
    problems: &mut Vec<Diagnostic>,
) -> Option<MappingPlan> {
    table.only(&["on", "module", "emits", "endpoints", "ordering_key"], problems);
    let scope = scope(table, endpoints, problems);
    let emits = table.texts("emits", problems);
    if emits.is_empty() {
        let help =
            "add `emits = [\"payments.PaymentCaptured.v1\"]`: the contracts of what the module returns";
        problems.push(table.problem("empty_emits", "this mapping emits nothing", help));
    }
    let ordering_key = table.get("ordering_key").and_then(|entry| rules::value(&entry, problems));
    let module = table.required("module", problems)?;
    let at = table.get("module").map_or(table.at, |entry| entry.at);
    if module.contains(['/', '\\']) || !is_module(module) {
        let message = format!("{module:?} is no module of this folder");
        let help = "write the name of a .vrl file that stands beside partner.toml";
        problems.push(table.source.problem("bad_module", at, message, help));
        return None;
    }
    Some(MappingPlan {
        scope: scope?,
        module: Placed { value: module.to_owned(), at },
        emits: emits.into_iter().map(|(emit, at)| Placed { value: emit.to_owned(), at }).collect(),
        ordering_key,
    })
}

fn ignore(
    table: &Table<'_>,
    endpoints: &BTreeSet<String>,
    problems: &mut Vec<Diagnostic>,
) -> Option<IgnorePlan> {
    table.only(&["on", "why", "endpoints"], problems);
    let scope = scope(table, endpoints, problems);
    let why = table.required("why", problems)?;
    Some(IgnorePlan { scope: scope?, why: why.to_owned() })
}

fn scope(table: &Table<'_>, names: &BTreeSet<String>, problems: &mut Vec<Diagnostic>) -> Option<Scope> {
    let before = problems.len();
    let mut on = Vec::new();
    for (text, at) in table.texts("on", problems) {
        match TypePattern::parse(text) {
            Some(value) => on.push(Placed { value, at }),
            None => problems.push(table.source.problem(
                "bad_pattern",
                at,
                "no external type is like this",
                "write a type, or one with `*` for any text, as \"customer.*\"",
            )),
        }
    }
    if on.is_empty() && problems.len() == before {
        let help = "add `on = [\"payment_intent.succeeded\"]`; `*` stands for any text";
        problems.push(table.problem("empty_on", "this is for no external type", help));
    }
    let endpoints = table.texts("endpoints", problems);
    for (name, at) in endpoints.iter().filter(|(name, _)| !names.contains(*name)) {
        let help = match closest(name, names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "name an [[endpoint]] of this file".to_owned(),
        };
        let message = format!("there is no endpoint {name:?}");
        problems.push(table.source.problem("unknown_endpoint", *at, message, help));
    }
    let endpoints = endpoints.into_iter().map(|(name, _)| name.to_owned()).collect();
    (!on.is_empty()).then_some(Scope { on, endpoints })
}
