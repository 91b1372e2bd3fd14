//! Room `partners`: the secrets of an endpoint: where each comes from, what it is for and when it counts. May not read them.

use toml::de::DeValue;

use super::{
    door::SecretUse,
    endpoint_file::EndpointPlan,
    handshake::Handshake,
    reading::{Entry, Table, suggestion},
};
use crate::{
    keys::SecretSource,
    model::{Diagnostic, Timestamp},
    signatures::{Branch, Family, How, Schemes},
};

const KEYS: [&str; 6] = ["id", "from", "public_key", "for", "not_before", "not_after"];

/// Reads the secrets under a key.
pub(super) fn read(table: &Table<'_>, key: &str, problems: &mut Vec<Diagnostic>) -> Vec<SecretUse> {
    let mut secrets: Vec<SecretUse> = Vec::new();
    for secret in table.tables(key, problems) {
        secret.only(&KEYS, problems);
        let (id, from) = (secret.required("id", problems), source(&secret, problems));
        let (not_before, not_after) = window(&secret, problems);
        let Some(id) = id else { continue };
        if secrets.iter().any(|known| known.id == id) {
            let message = format!("the secret id {id:?} stands twice");
            let help = "give each secret an id of its own: deliveries note which one matched";
            problems.push(secret.problem("duplicate_secret", message, help));
        }
        let purposes = purposes(&secret, problems);
        let id = id.to_owned();
        secrets.extend(from.map(|from| SecretUse { id, from, purposes, not_before, not_after }));
    }
    secrets
}

/// What a secret is for: one name, or a list of them, each once.
fn purposes(secret: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Vec<String> {
    const HELP: &str = "write `for = \"name\"`, or `for = [\"one\", \"other\"]`";
    let Some(entry) = secret.get("for") else { return Vec::new() };
    let names = named(&entry, problems);
    if names.is_empty() && matches!(entry.value, DeValue::Array(_)) {
        problems.push(entry.problem("bad_for", "`for` names nothing", HELP));
    }
    let texts: Vec<String> = names.iter().filter_map(|name| name.text(problems)).map(str::to_owned).collect();
    for (at, name) in texts.iter().enumerate() {
        if texts[..at].contains(name) {
            problems.push(entry.problem("bad_for", format!("`for` names {name:?} twice"), HELP));
        }
    }
    texts
}

/// The names in a `for`, each where it stands.
fn named<'a>(entry: &Entry<'a>, problems: &mut Vec<Diagnostic>) -> Vec<Entry<'a>> {
    match entry.value {
        DeValue::Array(_) => entry.elements(problems),
        _ => vec![*entry],
    }
}

fn source(secret: &Table<'_>, problems: &mut Vec<Diagnostic>) -> Option<SecretSource> {
    match (secret.get("public_key"), secret.has("from")) {
        (None, _) => {
            secret.required("from", problems)?;
            source_of(&secret.get("from")?, problems)
        }
        (Some(key), true) => {
            let message = "a key comes from one place: `public_key` and `from` are two";
            problems.push(key.problem("mixed_secret", message, "remove one of them"));
            None
        }
        (Some(key), false) => key.text(problems).map(|text| SecretSource::Public(text.to_owned())),
    }
}

/// Where a secret comes from. The text is never shown: it may be the secret itself.
fn source_of(entry: &Entry<'_>, problems: &mut Vec<Diagnostic>) -> Option<SecretSource> {
    const HELP: &str = "write \"env:NAME\" or \"file:/path\", and keep the secret itself out of this file";
    let text = entry.text(problems)?;
    if !text.starts_with("env:") && !text.starts_with("file:") {
        let message = "`from` names no source; if this is the secret itself, it is known to everyone who reads this file";
        let help = format!("{HELP}; replace a secret that stood here");
        problems.push(entry.problem("literal_secret", message, help));
        return None;
    }
    let source = SecretSource::parse(text).ok();
    if source.is_none() {
        problems.push(entry.problem("secret_source", "`from` names no place to take a secret from", HELP));
    }
    source
}

fn window(secret: &Table<'_>, problems: &mut Vec<Diagnostic>) -> (Option<Timestamp>, Option<Timestamp>) {
    let mut time = |key| {
        let entry = secret.get(key)?;
        let text = entry.text(problems)?;
        let time = Timestamp::from_rfc3339(text);
        if time.is_none() {
            let help = "write it as \"2026-11-23T07:41:05Z\"";
            problems.push(entry.problem("bad_time", format!("`{key}` is no time"), help));
        }
        time
    };
    let (from, until) = (time("not_before"), time("not_after"));
    if from.zip(until).is_some_and(|(from, until)| until < from) {
        let help = "let not_after be later than not_before";
        problems.push(secret.problem("bad_time", "this secret never counts", help));
    }
    (from, until)
}

/// Holds the secrets to the schemes: each is for one of them, and each of those that must all hold has one.
pub(super) fn check(plan: &mut EndpointPlan, table: &Table<'_>, schemes: &Schemes) {
    // What is wrong with the tables themselves was said when they were read.
    let written = table.tables("secrets", &mut Vec::new());
    let mut of_others: Vec<_> = plan.handshakes.iter().flat_map(Handshake::secrets).collect();
    of_others.extend(schemes.asks_with());
    let problems = &mut plan.door_problems;
    for secret in &written {
        match secret.get("for") {
            None => problems.extend(mismatch(secret, None, schemes, &of_others)),
            // What is wrong with the names themselves was said, too.
            Some(entry) => {
                let names = named(&entry, &mut Vec::new());
                let wrong = names
                    .iter()
                    .filter(|name| name.value.as_str().is_some())
                    .filter_map(|name| mismatch(secret, Some(name), schemes, &of_others));
                problems.extend(wrong);
            }
        }
    }
    let pinned = plan.secrets.iter().filter(|secret| is_pinned(secret, schemes));
    plan.warnings.extend(pinned.map(|secret| pinning(secret, table, &plan.name)));
    if written.len() != plan.secrets.len() || !problems.is_empty() {
        return;
    }
    let has_one = |at: usize, branch: &Branch| {
        let is_for = |secret: &SecretUse| secret.branches(schemes).contains(&at);
        branch.scheme.has_published_keys() || plan.secrets.iter().any(is_for)
    };
    let mut lacking = schemes.branches().iter().enumerate().filter(|(at, branch)| !has_one(*at, branch));
    // Of any_of those ways may be left that the partner is not to use: what comes in such a way is answered 503.
    if let Some((_, branch)) = lacking.next().filter(|_| schemes.how() == How::AllOf) {
        let name = &branch.name;
        let message = format!("`{}` has no secret for the scheme {name:?}", plan.name);
        let help = format!("add `{{ id = \"…\", from = \"env:NAME\", for = {name:?} }}` to its secrets");
        problems.push(table.problem("no_secrets", message, help));
    }
}

/// Whether a secret stands in the place of keys that the sender publishes.
pub(super) fn is_pinned(secret: &SecretUse, schemes: &Schemes) -> bool {
    secret.branches(schemes).into_iter().any(|at| schemes.branches()[at].scheme.has_published_keys())
}

fn pinning(secret: &SecretUse, table: &Table<'_>, endpoint: &str) -> Diagnostic {
    let message = format!(
        "`{endpoint}` believes the pinned key {:?}: the keys that its sender publishes are not fetched",
        secret.id
    );
    let help = "remove it from `secrets` before the partner posts; a key of the partner's own must be replaced whenever the partner changes it";
    let at = table.get("secrets").map_or(table.at, |entry| entry.at);
    table.source.problem("pinned_key", at, message, help)
}

/// Holds the secrets to schemes whose keys are asked for by their ids: what they are asked with is there.
pub(super) fn check_asking(plan: &mut EndpointPlan, table: &Table<'_>, schemes: &Schemes) {
    let of = |name: &str| plan.secrets.iter().any(|secret| secret.purposes.iter().any(|known| known == name));
    for name in schemes.asks_with().into_iter().filter(|name| !of(name)) {
        let message = format!("`{}` has no secret for {name:?}, with which keys are asked for", plan.name);
        let help = format!(
            "add {{ id = \"…\", from = \"env:NAME\", for = {name:?} }} to its secrets, or the partner's keys themselves"
        );
        plan.door_problems.push(table.problem("no_secrets", message, help));
    }
}

/// What is wrong with one of the names that a secret is for, or with its having none.
fn mismatch(
    secret: &Table<'_>,
    entry: Option<&Entry<'_>>,
    schemes: &Schemes,
    of_others: &[&str],
) -> Option<Diagnostic> {
    let names = schemes.branches().iter().map(|branch| branch.name.as_str()).filter(|name| !name.is_empty());
    let purpose = entry.and_then(|entry| entry.value.as_str());
    if purpose.is_some_and(|purpose| of_others.contains(&purpose)) {
        return None;
    }
    let Some(at) = schemes.branch_for(purpose) else {
        return Some(match entry {
            None => {
                let help = format!("add `for = \"…\"`; {}", suggestion("", names));
                secret.problem(
                    "unknown_scheme",
                    "there are several schemes, and this secret is for none",
                    help,
                )
            }
            Some(entry) if schemes.single().is_some() => entry.problem(
                "unknown_scheme",
                "there is one scheme, every secret is for it, and no handshake uses this one",
                "remove `for`",
            ),
            Some(entry) => {
                let message = format!("there is no scheme {:?}", purpose.unwrap_or_default());
                entry.problem("unknown_scheme", message, suggestion(purpose.unwrap_or_default(), names))
            }
        });
    };
    let algorithm = schemes.branches()[at].scheme.key_algorithm();
    let key = secret.get("public_key").filter(|_| algorithm.family() != Family::PublicKey)?;
    let message = format!("{algorithm} has a secret, and a secret does not stand in this file");
    Some(key.problem(
        "literal_secret",
        message,
        "write `from = \"env:NAME\"`; replace a secret that stood here",
    ))
}

#[cfg(test)]
mod tests {
    use crate::{
        model::Diagnostic,
        partners::{partner_file::PartnerFile, reading::Source},
        signatures::presets,
    };

    const SEVERAL: &str = "any_of = [{ preset = 'standard-webhooks', when = { present = 'header.webhook-id' } }, \
                           { name = 'token', algorithm = 'token', value = { path = 'header.t' }, assurance = 'token' }]";
    const PUBLISHED: &str = "algorithm = 'jwt'\nvalue = { path = 'header.t' }\njwt = { algorithms = ['RS256'], claims = { aud = 'us' } }\n\
                             keys = { jwks = 'https://acme.example/jwks' }\nassurance = 'origin'";
    const PUBLIC: &str = "algorithm = 'ed25519'\nsecret = { as = 'hex' }\nvalue = { path = 'header.s', as = 'hex' }\n\
                          message = '{body}'\nassurance = 'full'";

    /// What is wrong with an endpoint of this signature and these secrets.
    fn told(signature: &str, secrets: &str) -> Vec<&'static str> {
        found(signature, secrets).0
    }

    /// The same, and what a person should look at.
    fn found(signature: &str, secrets: &str) -> (Vec<&'static str>, Vec<&'static str>) {
        let text = format!(
            "name = 'S'\nowner = 't'\n[signature]\n{signature}\n[[endpoint]]\nsecrets = [{secrets}]\n\
             [identify]\nevent_type = 'body.type'\n"
        );
        let find = |name: &str| presets::find(name).map(|preset| preset.text);
        let file = PartnerFile::read(Source { file: "partner.toml", text: &text }, &find);
        let codes = |found: &[Diagnostic]| found.iter().map(|one| one.code).collect();
        (codes(&file.endpoints[0].door_problems), codes(&file.endpoints[0].warnings))
    }

    #[test]
    fn a_key_that_is_pinned_in_the_place_of_published_ones_is_worth_a_look() {
        assert_eq!(found(PUBLISHED, ""), (vec![], vec![]));
        let pinned = "{ id = 'pinned', from = 'env:A' }";
        assert_eq!(found(PUBLISHED, pinned), (vec![], vec!["pinned_key"]));
        assert_eq!(told(PUBLISHED, &pinned.replace(" }", ", for = 'x' }")), ["unknown_scheme"]);
        let token = "algorithm = 'jwt'\nsecret = { as = 'text' }\nvalue = { path = 'header.t' }\n\
                     jwt = { algorithms = ['HS256'] }\nassurance = 'origin'";
        assert_eq!(told(token, "{ id = 'a', public_key = 'a secret of some length' }"), ["literal_secret"]);
    }

    #[test]
    fn each_secret_is_for_a_scheme() {
        let (first, second) = (
            "{ id = 'a', from = 'env:A', for = 'standard-webhooks' }",
            "{ id = 'b', from = 'env:B', for = 'token' }",
        );
        assert!(told(SEVERAL, &format!("{first}, {second}")).is_empty());
        assert!(told(SEVERAL, first).is_empty(), "the other way is not for this partner");
        assert_eq!(
            told(
                &SEVERAL
                    .replace("any_of", "all_of")
                    .replace(", when = { present = 'header.webhook-id' }", ""),
                first
            ),
            ["no_secrets"]
        );
        assert_eq!(told(SEVERAL, &format!("{first}, {{ id = 'b', from = 'env:B' }}")), ["unknown_scheme"]);
        assert_eq!(told(SEVERAL, &second.replace("'token'", "'tokn'")), ["unknown_scheme"]);
        assert_eq!(told("preset = 'github'", second), ["unknown_scheme"]);
    }

    #[test]
    fn one_secret_may_be_for_several_schemes() {
        let all =
            SEVERAL.replace("any_of", "all_of").replace(", when = { present = 'header.webhook-id' }", "");
        let both = |names: &str| told(&all, &format!("{{ id = 'a', from = 'env:A', for = {names} }}"));
        assert!(both("['standard-webhooks', 'token']").is_empty());
        assert_eq!(both("['token']"), ["no_secrets"]);
        assert_eq!(both("['standard-webhooks', 'tokn']"), ["unknown_scheme"]);
        assert_eq!(both("[]"), ["bad_for"]);
        assert_eq!(both("['token', 'token', 'standard-webhooks']"), ["bad_for"]);
        assert_eq!(both("['token', 7]"), ["wrong_type"]);
        assert_eq!(both("7"), ["wrong_type"]);
    }

    #[test]
    fn a_public_key_may_stand_in_the_file_and_a_secret_may_not() {
        let key =
            "{ id = 'a', public_key = '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c' }";
        assert!(told(PUBLIC, key).is_empty());
        assert_eq!(told("preset = 'github'", key), ["literal_secret"]);
        assert_eq!(told(PUBLIC, &key.replace("'a',", "'a', from = 'env:A',")), ["mixed_secret"]);
        assert_eq!(told(PUBLIC, "{ id = 'a' }"), ["missing_key"]);
    }

    #[test]
    fn times_are_times() {
        let secret =
            |times: &str| told("preset = 'github'", &format!("{{ id = 'a', from = 'env:A', {times} }}"));
        assert!(secret("not_before = '2026-01-01T00:00:00Z', not_after = '2026-06-01T00:00:00Z'").is_empty());
        assert_eq!(secret("not_after = '2026-01-01'"), ["bad_time"]);
        assert_eq!(
            secret("not_before = '2026-06-01T00:00:00Z', not_after = '2026-01-01T00:00:00Z'"),
            ["bad_time"]
        );
    }
}
