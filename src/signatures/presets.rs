//! Room `signatures`: the presets: one TOML file a provider, compiled in. A preset is data, never code.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Scheme, SchemeError, Schemes, SignatureTable, grammar::read};
use crate::{config::HumanDuration, model::BodyRules};

/// A preset, as its file says it.
#[derive(Debug)]
pub struct Preset {
    /// Its name in `preset = "…"`; a provider with several kinds of webhooks has several (`adyen`, `adyen-platform`).
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

/// What a preset's file holds. `identify`, `handshake`, `reply` and `signature_failure_status` are written exactly as in
/// partner.toml, which may replace each key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetFile {
    /// The provider's name.
    pub title: String,
    /// Where the provider documents its signatures.
    pub docs: String,
    /// Where to register the URL and find the secret; how the provider retries.
    pub setup: String,
    /// How long the provider waits for an answer, where it says so.
    pub ack_deadline: Option<HumanDuration>,
    /// What the endpoint must give in `parameters`, and where the provider shows it.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// The answer to an accepted delivery, where the provider's system needs to see one.
    pub reply: Option<toml::Table>,
    /// The status of a signature failure, where it is not 401.
    pub signature_failure_status: Option<u16>,
    /// The provider's public keys, where all its customers have the same.
    #[serde(default)]
    pub public_keys: Vec<toml::Table>,
    /// The scheme.
    pub signature: SignatureTable,
    /// The defaults of `[identify]`.
    #[serde(default)]
    pub identify: toml::Table,
    /// The provider's handshakes.
    #[serde(default)]
    pub handshake: Vec<toml::Table>,
}

/// A made-up delivery of a provider, not signed yet, and what signs it where nothing real is at hand.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What follows the path of the address; empty, or with its question mark.
    #[serde(default)]
    pub query: String,
    /// Headers but for signature and time.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// What the endpoint gives as `parameters`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Whether the provider signs the address it posts to.
    #[serde(default)]
    pub signs_its_address: bool,
    /// Development secrets.
    pub secrets: Vec<SampleSecret>,
}

/// A development secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSecret {
    /// Its id.
    pub id: String,
    /// Which schemes or handshakes it is for, where there are several.
    #[serde(default, rename = "for")]
    pub purposes: Vec<String>,
    /// The secret, or the private key that belongs to `public_key`.
    pub development: String,
    /// The public key that the provider would show.
    pub public_key: Option<String>,
}

/// What stands in samples for the address under which partners reach the gateway.
pub const SAMPLE_ADDRESS: &str = "https://hooks.example.com";
/// One sample a preset.
static SAMPLES: &str = include_str!("presets/samples.json");

impl PresetFile {
    /// How the desk reads the body, where the partner says nothing else.
    fn body_rules(&self) -> BodyRules {
        let form_json = self.identify.get("form_json").and_then(toml::Value::as_str).map(str::to_owned);
        BodyRules { form_json, ..BodyRules::default() }
    }
}

impl Preset {
    /// Reads the file. Never fails for the presets compiled in: a test reads them all.
    pub fn file(&self) -> Result<PresetFile, SchemeError> {
        read(self.text)
    }

    /// A first delivery of the provider, made up.
    pub fn sample(&self) -> Result<Sample, SchemeError> {
        let mut samples: BTreeMap<String, Sample> = serde_json::from_str(SAMPLES).map_err(|error| {
            let help = "tests/vectors/make.py writes it";
            SchemeError::new("invalid_value", format!("samples.json cannot be read: {error}"), help)
        })?;
        samples.remove(self.name).ok_or_else(|| {
            let message = format!("there is no sample delivery of {:?}", self.name);
            SchemeError::new("missing_key", message, "tests/vectors/make.py writes one for each preset")
        })
    }

    /// The parameters of the first delivery that are nobody's: an endpoint that has them takes that delivery and no genuine
    /// one. What stands first in the words about a parameter is a provider's own and may stay.
    pub fn made_up_parameters(&self) -> Result<BTreeMap<String, String>, SchemeError> {
        let (file, mut made_up) = (self.file()?, self.sample()?.parameters);
        made_up.retain(|name, value| {
            !file.parameters.get(name).is_some_and(|place| place.starts_with(value.as_str()))
        });
        Ok(made_up)
    }

    /// The file as data, for listings.
    pub(super) fn table(&self) -> Result<toml::Table, SchemeError> {
        read(self.text)
    }

    /// How the preset verifies, by one scheme or several.
    pub fn schemes(&self) -> Result<Schemes, SchemeError> {
        let file = self.file()?;
        Ok(Schemes::from_table(&file.signature)?.reading(&file.body_rules()))
    }

    /// The preset's scheme; an error where it has several.
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        let file = self.file()?;
        Ok(Scheme::from_table(&file.signature)?.reading(file.body_rules()))
    }
}

/// Finds a preset by name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// The presets that someone who wrote `word` may mean: those that have it in their name or the provider's, letters and digits
/// counting alone; else those whose name is nearly the same, the nearest first.
pub fn like(word: &str) -> Vec<&'static Preset> {
    let plain = |text: &str| -> String {
        text.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let word = plain(word);
    let title = |preset: &Preset| preset.file().map(|file| plain(&file.title)).unwrap_or_default();
    let has_it = |preset: &&Preset| plain(preset.name).contains(&word) || title(preset).contains(&word);
    let found: Vec<_> = PRESETS.iter().filter(has_it).collect();
    if !found.is_empty() {
        return found;
    }
    let distance = |preset: &Preset| strsim::damerau_levenshtein(&plain(preset.name), &word);
    let near = PRESETS.iter().map(|preset| (distance(preset), preset));
    let mut near: Vec<_> = near.filter(|(distance, _)| *distance <= (word.len() / 3).max(1)).collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().map(|(_, preset)| preset).collect()
}

/// Every preset, by name.
pub fn all() -> &'static [Preset] {
    PRESETS
}

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        &[$(Preset { name: $name, text: include_str!(concat!("presets/", $name, ".toml")) }),+]
    };
}

static PRESETS: &[Preset] = presets![
    "ably",
    "acrobat-sign",
    "adobe-commerce",
    "adobe-io-events",
    "adyen",
    "adyen-platform",
    "affirm",
    "aftership",
    "airtable",
    "airwallex",
    "alchemy",
    "alipay",
    "asana",
    "ashby",
    "auth0",
    "authorize-net",
    "autodesk",
    "aws-sns",
    "azure-event-grid",
    "azure-event-grid-cloudevents",
    "bigcommerce",
    "bitbucket",
    "box",
    "braintree",
    "brex",
    "cal-com",
    "calendly",
    "chargebee",
    "chargify",
    "checkout-com",
    "checkr",
    "circle",
    "circleci",
    "clerk",
    "clickup",
    "coinbase-commerce",
    "configcat",
    "contentful",
    "cronofy",
    "customer-io",
    "deel",
    "deepgram",
    "discord",
    "discord-interactions",
    "docusign",
    "doppler",
    "dropbox",
    "dropbox-sign",
    "dub",
    "dwolla",
    "easypost",
    "ebay",
    "fedex",
    "finch",
    "fireblocks",
    "flutterwave",
    "flutterwave-v3",
    "framer",
    "front",
    "fusionauth",
    "getstream",
    "github",
    "gitlab",
    "gocardless",
    "google-pubsub",
    "heroku",
    "http-message-signatures",
    "hubspot",
    "hubspot-v1",
    "hubspot-v2",
    "hugging-face",
    "hygraph",
    "increase",
    "intercom",
    "jira",
    "jira-connect",
    "kinde",
    "klarna",
    "klaviyo",
    "knock",
    "kontent-ai",
    "launchdarkly",
    "lemon-squeezy",
    "line",
    "linear",
    "linkedin",
    "mailersend",
    "mailgun",
    "mandrill",
    "meraki",
    "mercado-pago",
    "merge",
    "messagebird",
    "meta",
    "microsoft-graph",
    "microsoft-graph-rich",
    "microsoft-teams",
    "modern-treasury",
    "mollie",
    "monday",
    "mongodb-atlas",
    "moralis",
    "mux",
    "netlify",
    "notion",
    "npm",
    "nylas",
    "okta",
    "onfido",
    "onfleet",
    "openai",
    "orb",
    "oura",
    "paddle",
    "pagerduty",
    "paypal",
    "paystack",
    "persona",
    "plaid",
    "plivo",
    "polar",
    "postmark",
    "pusher",
    "quickbooks",
    "quickbooks-legacy",
    "razorpay",
    "recharge",
    "recurly",
    "replicate",
    "resend",
    "revolut",
    "ringcentral",
    "sanity",
    "segment",
    "sendbird",
    "sendgrid",
    "sentry",
    "shippo",
    "shopify",
    "sinch",
    "slack",
    "solidgate",
    "square",
    "squarespace",
    "standard-webhooks",
    "stripe",
    "svix",
    "tally",
    "telegram",
    "telnyx",
    "tiktok",
    "tiktok-shop",
    "trello",
    "truelayer",
    "twilio",
    "twitch",
    "typeform",
    "unisender-go",
    "vercel",
    "vercel-drains",
    "vonage",
    "webflow",
    "websub",
    "wechat-pay",
    "wise",
    "wix",
    "woocommerce",
    "workos",
    "x",
    "xero",
    "youtube",
    "zendesk",
    "zoom",
];

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::{
        super::listing::{schemes, text_of},
        *,
    };
    use crate::model::{FieldPath, is_credential_header};

    fn each(check: impl Fn(&Preset, PresetFile, &Table)) {
        for preset in all() {
            let file = preset.file().unwrap_or_else(|error| panic!("{}: {error:?}", preset.name));
            check(preset, file, &preset.table().expect("a table"));
        }
    }

    /// The paths of a rule of `[identify]`, in order.
    fn paths(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| paths(value, found)),
            Value::Table(table) => {
                let rules = table.iter().filter(|(key, _)| !["by", "as"].contains(&key.as_str()));
                rules.for_each(|(_, value)| paths(value, found));
            }
            _ => {}
        }
    }

    #[test]
    fn every_preset_has_its_papers() {
        each(|preset, file, table| {
            assert!(preset.text.starts_with("# ") && !preset.text.starts_with("# ["), "{}", preset.name);
            assert!(file.docs.starts_with("https://"), "{}", preset.name);
            assert!(!file.title.is_empty(), "{}", preset.name);
            assert!(file.setup.to_lowercase().contains("secret"), "{}", preset.name);
            assert!(file.identify.contains_key("event_type"), "{}", preset.name);
            assert!(!schemes(table).is_empty(), "{}", preset.name);
            assert!(preset.sample().is_ok_and(|sample| !sample.body.is_empty()), "{}", preset.name);
            assert_eq!(find(preset.name).map(|found| found.text), Some(preset.text));
            let summary = preset.summary().expect("a summary");
            assert!(!summary.family.is_empty() && !summary.assurance.is_empty(), "{}", preset.name);
        });
        assert!(all().is_sorted_by_key(|preset| preset.name));
    }

    /// A preset that would sign what it does not know, or a sample that gives what nobody asks for, is a mistake in one of both.
    #[test]
    fn what_a_preset_asks_for_its_sample_gives() {
        each(|preset, file, _| {
            let sample = preset.sample().expect("a sample");
            let asked: Vec<&String> = file.parameters.keys().collect();
            assert_eq!(sample.parameters.keys().collect::<Vec<_>>(), asked, "{}", preset.name);
            for name in asked {
                let used = [format!("param.{name}"), format!("parameter = \"{name}\"")];
                assert!(used.iter().any(|used| preset.text.contains(used)), "{}: {name}", preset.name);
            }
            let purposes: Vec<&str> =
                sample.secrets.iter().flat_map(|secret| &secret.purposes).map(String::as_str).collect();
            let verifies =
                ["secret = \"verify\"", "\"secret.verify\""].iter().any(|it| preset.text.contains(it));
            assert_eq!(purposes.contains(&"verify"), verifies, "{}", preset.name);
        });
    }

    /// An endpoint at the provider's own key server or in the default environment is as it should be.
    #[test]
    fn what_a_provider_offers_itself_is_not_made_up() {
        let offered = |preset: &Preset| {
            let made_up = preset.made_up_parameters().expect("parameters");
            let own = preset.sample().expect("a sample").parameters.into_keys();
            let own = own.filter(|name| !made_up.contains_key(name));
            own.map(|name| format!("{}.{name}", preset.name)).collect::<Vec<_>>()
        };
        assert_eq!(
            all().iter().flat_map(offered).collect::<Vec<_>>(),
            [
                "ebay.api_host",
                "fireblocks.keys_host",
                "hygraph.environment",
                "plaid.api_host",
                "truelayer.keys_host"
            ]
        );
    }

    #[test]
    fn every_path_in_a_preset_is_one_and_none_is_sealed() {
        each(|preset, mut file, _| {
            for key in ["form_json", "text", "split", "window", "same_body"] {
                file.identify.remove(key);
            }
            let mut found = Vec::new();
            paths(&Value::Table(file.identify), &mut found);
            for path in found {
                let parsed = FieldPath::parse_in_batch(&path);
                assert!(parsed.is_ok(), "{}: {path}", preset.name);
                let sealed = path.strip_prefix("header.").is_some_and(is_credential_header);
                assert!(!sealed, "{}: {path} is sealed before anything is identified", preset.name);
            }
        });
    }

    #[test]
    fn a_preset_is_found_by_what_people_call_its_provider() {
        let like = |word| like(word).iter().map(|preset| preset.name).collect::<Vec<_>>();
        assert_eq!(like("WhatsApp"), ["meta"]);
        assert_eq!(like("facebook"), ["meta"]);
        assert_eq!(like("sns"), ["aws-sns"]);
        assert_eq!(like("pubsub"), ["google-pubsub"]);
        assert_eq!(like("githib"), ["github", "gitlab"]);
        assert_eq!(like("slak")[0], "slack");
        assert_eq!(like("initech"), Vec::<&str>::new());
    }

    #[test]
    fn items_that_are_signed_are_split_off() {
        each(|preset, file, table| {
            for scheme in schemes(table).into_iter().filter(|scheme| scheme.contains_key("items")) {
                assert_eq!(scheme.get("items"), file.identify.get("split"), "{}", preset.name);
            }
        });
    }

    /// Whether id or type may come from a header that the scheme does not sign. One that it signs is always there, and what
    /// would be looked at after it never is.
    fn names_by_unsigned_headers(file: &PresetFile, message: &str) -> bool {
        ["external_id", "event_type"].into_iter().any(|key| {
            let mut found = Vec::new();
            file.identify.get(key).into_iter().for_each(|rule| paths(rule, &mut found));
            let is_signed = |path: &&String| message.contains(&format!("{{{path}"));
            let looked_at = found.iter().take_while(|path| !path.starts_with("header.") || !is_signed(path));
            looked_at.filter(|path| path.starts_with("header.")).count() > 0
        })
    }

    #[test]
    fn full_assurance_is_claimed_only_where_ids_are_covered() {
        each(|preset, file, table| {
            for scheme in schemes(table) {
                let assurance = text_of(scheme, "assurance");
                if ["full", "body"].contains(&assurance) {
                    let unsigned = names_by_unsigned_headers(&file, text_of(scheme, "message"));
                    assert_eq!(unsigned, assurance == "body", "{}", preset.name);
                }
            }
        });
    }

    #[test]
    fn every_preset_is_a_scheme() {
        for preset in all() {
            let given = preset.sample().expect("a sample").parameters;
            let filled = |text: String, (name, value): (&String, &String)| {
                text.replace(&format!("{{param.{name}}}"), value)
            };
            let file: PresetFile =
                read(&given.iter().fold(preset.text.to_owned(), filled)).expect("a preset");
            let schemes = Schemes::from_table(&file.signature);
            assert!(schemes.is_ok(), "{}: {schemes:?}", preset.name);
        }
    }
}
