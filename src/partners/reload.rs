//! Room `partners`: from a folder, what was there before and what the ledger kept, to the next snapshot. What is broken
//! now goes on as it last was good, and what never was good answers 503 at the door and waits at the desk. Touches nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    compile::in_order,
    desk::{Desk, DeskSources},
    door::{Door, Endpoint, SecretUse, SecretsFrom},
    endpoint_file::{DEFAULT_ENDPOINT, EndpointPlan, is_name, preset_file},
    folder::{MappingsFolder, PartnerFolder},
    opening::{Keyring, open, unreadable},
    partner_file::PartnerFile,
    reading::Source,
    registry::{DeskState, Snapshot},
};
use crate::{
    model::{Diagnostic, EndpointName, PublicUrl, Revision},
    signatures::presets,
};

/// What a reload found.
#[derive(Debug, Default)]
pub struct ReloadReport {
    /// The desks that work now and did not before: the ledger keeps each under its key as the latest good one.
    pub good: Vec<GoodDesk>,
    /// What is wrong, by partner folder; partners without a problem are not here.
    pub problems: BTreeMap<String, Vec<Diagnostic>>,
    /// The partners whose doors this reload closed, because their folders are gone.
    pub removed: Vec<String>,
}

/// A desk to be kept in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoodDesk {
    /// The partner; or `partner/endpoint` for the last desk of an endpoint that the partner's own desk no longer has.
    pub key: String,
    /// The content hash of `sources`.
    pub revision: Revision,
    /// What it is compiled from.
    pub sources: DeskSources,
}

impl GoodDesk {
    fn new(key: String, desk: &Desk) -> Self {
        Self { key, revision: desk.revision.clone(), sources: desk.sources.clone() }
    }
}

/// What the next snapshot is made from.
pub(super) struct Reload<'a> {
    /// The partners right now.
    pub(super) previous: &'a Snapshot,
    /// The folder.
    pub(super) folder: &'a MappingsFolder,
    /// The sources of the latest good desks that the ledger keeps, by [`GoodDesk::key`].
    pub(super) last_good: &'a BTreeMap<String, DeskSources>,
    /// Which secrets count.
    pub(super) secrets: SecretsFrom,
}

impl Reload<'_> {
    /// The next snapshot, and what there is to say about it.
    pub(super) fn run(&self) -> (Snapshot, ReloadReport) {
        let mut next = Snapshot::default();
        let mut report = ReloadReport::default();
        for (name, folder) in &self.folder.partners {
            if is_name(name) {
                self.partner(folder, &mut next, &mut report);
            } else {
                report.problems.insert(name.clone(), vec![bad_partner_name(name)]);
            }
        }
        let closed = self.previous.doors.keys().filter(|partner| !next.doors.contains_key(*partner));
        report.removed.extend(closed.map(ToString::to_string));
        self.keep_removed_partners(&mut next);
        self.keep_removed_endpoints(&mut next, &mut report);
        (next, report)
    }

    fn partner(&self, folder: &PartnerFolder, next: &mut Snapshot, report: &mut ReloadReport) {
        let partner: Arc<str> = folder.partner.as_str().into();
        let mut problems = folder.problems.clone();
        let door = self.door(folder, &mut problems);
        for endpoint in &door.endpoints {
            next.endpoints.insert(endpoint.name.clone(), Arc::clone(endpoint));
        }
        next.doors.insert(Arc::clone(&partner), door);
        let desk = self.desk(folder);
        match &desk {
            DeskState::Ready(desk) if self.is_news(desk) => {
                report.good.push(GoodDesk::new(folder.partner.clone(), desk));
            }
            DeskState::Ready(_) => {}
            DeskState::LastGood { problems: found, .. } | DeskState::Broken { problems: found } => {
                problems.extend(found.iter().cloned());
            }
        }
        next.desks.insert(partner, desk);
        if !problems.is_empty() {
            report.problems.insert(folder.partner.clone(), in_order(problems));
        }
    }

    fn desk(&self, folder: &PartnerFolder) -> DeskState {
        let sources = DeskSources::of(folder, &self.folder.contracts);
        let working = self.previous.desks.get(folder.partner.as_str()).and_then(DeskState::desk);
        if let Some(desk) = working.filter(|desk| desk.sources == sources) {
            return DeskState::Ready(Arc::clone(desk));
        }
        let missing = folder.partner_file().err().map(|problem| vec![*problem]);
        match missing.map_or_else(|| Desk::compile(sources), Err) {
            Ok(desk) => DeskState::Ready(Arc::new(desk)),
            Err(problems) => match self.worked_before(&folder.partner) {
                Some(desk) => DeskState::LastGood { desk, problems },
                None => DeskState::Broken { problems },
            },
        }
    }

    /// The desk that works until this reload: the snapshot's, or after a restart the ledger's.
    fn worked_before(&self, partner: &str) -> Option<Arc<Desk>> {
        let working = self.previous.desks.get(partner).and_then(DeskState::desk);
        working.cloned().or_else(|| self.kept_desk(partner))
    }

    fn kept_desk(&self, key: &str) -> Option<Arc<Desk>> {
        let sources = self.last_good.get(key)?;
        Desk::compile(sources.clone()).ok().map(Arc::new)
    }

    fn is_news(&self, desk: &Desk) -> bool {
        let working = self.previous.desks.get(&desk.partner).and_then(DeskState::desk);
        match working {
            Some(working) => working.revision != desk.revision,
            None => self.last_good.get(&*desk.partner) != Some(&desk.sources),
        }
    }

    /// Partners whose folder is gone: their doors are closed, their desks work on what is waiting.
    fn keep_removed_partners(&self, next: &mut Snapshot) {
        let of_ledger = self.last_good.keys().filter(|key| !key.contains('/'));
        let known = self.previous.desks.keys().map(|name| &**name).chain(of_ledger.map(String::as_str));
        for partner in known.collect::<BTreeSet<_>>() {
            if next.desks.contains_key(partner) {
                continue;
            }
            let problems = vec![partner_gone(partner)];
            let state = match self.worked_before(partner) {
                Some(desk) => DeskState::LastGood { desk, problems },
                None => DeskState::Broken { problems },
            };
            next.desks.insert(partner.into(), state);
        }
    }

    /// Endpoints that no desk has any longer keep the last one that had them, for what is waiting.
    fn keep_removed_endpoints(&self, next: &mut Snapshot, report: &mut ReloadReport) {
        let mut retired = self.previous.retired.clone();
        for key in self.last_good.keys() {
            let Some((partner, endpoint)) = key.split_once('/') else { continue };
            let name = EndpointName::new(partner, endpoint);
            if !retired.contains_key(&name) {
                retired.extend(self.kept_desk(key).map(|desk| (name, desk)));
            }
        }
        for (name, desk) in self.replaced(next) {
            report.good.push(GoodDesk::new(name.to_string(), &desk));
            retired.insert(name, desk);
        }
        retired.retain(|name, _| !has_endpoint(next, name));
        next.retired = retired;
    }

    /// The endpoints of desks that this reload replaces by desks without them.
    fn replaced(&self, next: &Snapshot) -> Vec<(EndpointName, Arc<Desk>)> {
        let mut replaced = Vec::new();
        for (partner, state) in &next.desks {
            let Some(desk) = state.desk().filter(|desk| self.is_news(desk)) else { continue };
            let Some(before) = self.worked_before(partner) else { continue };
            let removed = before.endpoints.keys().filter(|name| !desk.endpoints.contains_key(*name));
            let named = removed.map(|name| (EndpointName::new(&**partner, &**name), Arc::clone(&before)));
            replaced.extend(named);
        }
        replaced
    }

    fn door(&self, folder: &PartnerFolder, problems: &mut Vec<Diagnostic>) -> Door {
        let find = |name: &str| presets::find(name).map(|preset| preset.text);
        let file = match folder.partner_file() {
            Ok((file, text)) => PartnerFile::read(Source { file, text }, &find),
            Err(problem) => PartnerFile { problems: vec![*problem], ..PartnerFile::default() },
        };
        let of_endpoints = file.endpoints.iter().flat_map(|plan| &plan.door_problems);
        let found: Vec<_> = file.problems.iter().chain(of_endpoints).cloned().collect();
        let fallback = if found.is_empty() { None } else { self.fallback(&folder.partner) };
        problems.extend(found);
        let previous = self.previous.doors.get(folder.partner.as_str());
        let public_url = self.folder.public_url.as_ref();
        DoorMaker { partner: &folder.partner, file, fallback, previous, secrets: self.secrets, public_url }
            .make()
    }

    /// The partner's file as the ledger kept it.
    fn fallback(&self, partner: &str) -> Option<PartnerFile> {
        let sources = self.last_good.get(partner)?;
        let path = format!("partners/{partner}/partner.toml");
        let text = sources.files.get(&path)?;
        let find = |name: &str| sources.files.get(&preset_file(name)).map(String::as_str);
        Some(PartnerFile::read(Source { file: &path, text }, &find))
    }
}

fn has_endpoint(snapshot: &Snapshot, name: &EndpointName) -> bool {
    let desk = snapshot.desks.get(&name.partner).and_then(DeskState::desk);
    desk.is_some_and(|desk| desk.endpoints.contains_key(&name.endpoint))
}

/// The mistake that a partner folder's name cannot be part of an address.
pub(super) fn bad_partner_name(name: &str) -> Diagnostic {
    let message = format!("{name:?} cannot be part of an address");
    let help = "rename the folder: a to z, 0 to 9 and `-`, at most 63";
    Diagnostic::new("bad_name", format!("partners/{name}"), message, help)
}

fn partner_gone(partner: &str) -> Diagnostic {
    let help = "nothing, if it was meant to go: its last desk works on what is waiting";
    Diagnostic::new("partner_gone", format!("partners/{partner}"), "the partner folder is gone", help)
}

/// Makes one partner's door. Each endpoint is taken from the file, else as it is open now, else as the ledger kept it;
/// one that never was good is opened to answer 503.
struct DoorMaker<'a> {
    partner: &'a str,
    file: PartnerFile,
    fallback: Option<PartnerFile>,
    previous: Option<&'a Door>,
    secrets: SecretsFrom,
    public_url: Option<&'a PublicUrl>,
}

impl DoorMaker<'_> {
    fn make(self) -> Door {
        let mut door = self.front();
        for name in self.names() {
            let (endpoint, secrets) = self.endpoint(&name);
            door.secrets.insert(name, secrets);
            door.endpoints.push(endpoint);
        }
        door
    }

    /// The door without endpoints. What it is called comes from the file, unless the file is broken as a whole.
    fn front(&self) -> Door {
        let broken = !self.file.problems.is_empty();
        if let Some(previous) = self.previous.filter(|_| broken) {
            return Door { endpoints: Vec::new(), secrets: BTreeMap::new(), ..previous.clone() };
        }
        let file = self.fallback.as_ref().filter(|_| broken).unwrap_or(&self.file);
        Door {
            title: file.title.clone().unwrap_or_else(|| self.partner.to_owned()),
            owner: file.owner.clone().unwrap_or_default(),
            docs: file.docs.clone(),
            endpoints: Vec::new(),
            secrets: BTreeMap::new(),
            test_secrets: file.test_secrets.clone(),
        }
    }

    /// The endpoints to open: the file's; and when it is broken as a whole also those that were open before.
    fn names(&self) -> BTreeSet<Arc<str>> {
        let in_file = self.file.endpoints.iter().map(|plan| Arc::clone(&plan.name));
        let mut names: BTreeSet<_> = in_file.filter(|name| is_name(name)).collect();
        if !self.file.problems.is_empty() {
            let open = self.previous.iter().flat_map(|door| &door.endpoints);
            names.extend(open.map(|endpoint| Arc::clone(&endpoint.name.endpoint)));
            let kept = self.fallback.iter().flat_map(|file| &file.endpoints);
            names.extend(kept.map(|plan| Arc::clone(&plan.name)));
            if names.is_empty() {
                names.insert(DEFAULT_ENDPOINT.into());
            }
        }
        names
    }

    fn endpoint(&self, name: &Arc<str>) -> (Arc<Endpoint>, Vec<SecretUse>) {
        self.planned(&self.file, name)
            .or_else(|| self.as_open_now(name))
            .or_else(|| self.planned(self.fallback.as_ref()?, name))
            .unwrap_or_else(|| (Arc::new(unreadable(self.partner, name)), Vec::new()))
    }

    fn planned(&self, file: &PartnerFile, name: &str) -> Option<(Arc<Endpoint>, Vec<SecretUse>)> {
        let plans: Vec<&EndpointPlan> = file.endpoints.iter().filter(|plan| &*plan.name == name).collect();
        let [plan] = plans.as_slice() else { return None };
        if !file.problems.is_empty() {
            return None;
        }
        let keyring = Keyring { from: self.secrets, test_secrets: &file.test_secrets };
        let endpoint = open(self.partner, plan, keyring, self.public_url)?;
        Some((Arc::new(endpoint), plan.secrets.clone()))
    }

    fn as_open_now(&self, name: &str) -> Option<(Arc<Endpoint>, Vec<SecretUse>)> {
        let door = self.previous?;
        let endpoint = door.endpoints.iter().find(|endpoint| &*endpoint.name.endpoint == name)?;
        Some((Arc::clone(endpoint), door.secrets.get(name).cloned().unwrap_or_default()))
    }
}
