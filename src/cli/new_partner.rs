//! Room `cli`: `douane partner new`: a partner's folder to begin with, and its first case. Writes files and overwrites none.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;

use super::{
    Common, Verdict, block_on,
    cases::{self, Expected, ExpectedRequest},
    output,
    signing_key::SigningKey,
    test::Player,
};
use crate::{
    model::Secret,
    partners::STAND_IN,
    signatures::{
        Algorithm, Message, Sample, SampleSecret,
        presets::{self, Preset, PresetFile, SAMPLE_ADDRESS},
    },
};

/// The case that shows a first delivery.
const FIRST_CASE: &str = "first-delivery";
/// Stands beside each value that is nobody's.
const MADE_UP: &str = "# Made up: no genuine delivery is believed until your own stands here, and `check` warns as long as it does not.";
/// What signs where the gateway has a public key; a file's name follows.
const PRIVATE_KEY: &str = "--private-key";
/// So many presets are suggested at most.
const SUGGESTED: usize = 4;
/// The kinds of key pairs: what they sign by, and how openssl makes one.
const PAIRS: [(Algorithm, &str); 5] = [
    (Algorithm::RsaPkcs1Sha256, "RSA -pkeyopt rsa_keygen_bits:2048"),
    (Algorithm::EcdsaP256Sha256, "EC -pkeyopt ec_paramgen_curve:P-256"),
    (Algorithm::EcdsaP384Sha384, "EC -pkeyopt ec_paramgen_curve:P-384"),
    (Algorithm::EcdsaP521Sha512, "EC -pkeyopt ec_paramgen_curve:P-521"),
    (Algorithm::Ed25519, "ED25519"),
];

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The name of its folder, and of its address `/in/NAME`: a to z, 0 to 9 and `-`
    name: String,
    /// The preset of its provider; `douane partner presets` lists them
    #[arg(long)]
    preset: String,
    /// The team that is asked when deliveries fail
    #[arg(long, default_value = "platform")]
    owner: String,
    /// The folder of cases
    #[arg(long, default_value = "fixtures", value_name = "FOLDER")]
    fixtures: PathBuf,
}

pub(super) fn run(common: &Common, args: &NewArgs) -> anyhow::Result<Verdict> {
    let preset = presets::find(&args.preset).with_context(|| no_preset(&args.preset))?;
    let config = common.load(Vec::new())?;
    if !config.mappings.path.is_dir() {
        let path = config.mappings.path.display();
        bail!("there is no folder {path}; make it, or set mappings.path or --mappings to the one you have");
    }
    if !is_name(&args.name) {
        bail!("{:?} cannot be part of an address: use a to z, 0 to 9 and `-`, at most 63", args.name);
    }
    let folder = config.mappings.path.join("partners").join(&args.name);
    let case = args.fixtures.join(&args.name).join(FIRST_CASE);
    let new = NewPartner { args, preset, file: preset.file()? };
    write_new(&folder.join("partner.toml"), &new.partner_file()?)?;
    write_new(&folder.join("setup.md"), &new.setup()?)?;
    write_new(&case.join("request.http"), &new.request()?)?;
    write_new(&case.join("expected.json"), &new.expected()?)?;
    let first = cases::one(&args.fixtures, &format!("{}/{FIRST_CASE}", args.name))?;
    let found = block_on(Player::new(config).play(&first))?;
    let kept = found.iter().all(|request| request.refusal.is_none());
    first.bless(found)?;
    new.tell(&folder, &case)?;
    Ok(if kept { Verdict::Fine } else { Verdict::FoundWrong })
}

/// What to say of a name that is no preset's.
fn no_preset(name: &str) -> String {
    let titled = |preset: &&Preset| {
        let title = preset.file().map(|file| format!(" ({})", file.title)).unwrap_or_default();
        format!("{:?}{title}", preset.name)
    };
    let like: Vec<_> = presets::like(name).iter().take(SUGGESTED).map(titled).collect();
    let meant = if like.is_empty() { String::new() } else { format!("did you mean {}? ", like.join(" or ")) };
    format!(
        "there is no preset {name:?}; {meant}`douane partner presets` lists them, `douane partner presets WORD` some"
    )
}

/// Whether a text can be the name of a partner.
fn is_name(text: &str) -> bool {
    let letters = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && !text.is_empty() && text.len() <= 63
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.exists() {
        bail!("{} is there already, and nothing is overwritten", path.display());
    }
    let folder = path.parent().context("a file stands in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

struct NewPartner<'a> {
    args: &'a NewArgs,
    preset: &'static Preset,
    file: PresetFile,
}

impl NewPartner<'_> {
    fn partner_file(&self) -> anyhow::Result<String> {
        let sample = self.preset.sample()?;
        let mut text = format!(
            "# {}: {}\n# How to set it up: setup.md beside this file.\n\
             name  = {}\nowner = {}\ndocs  = {}\n\n\
             [signature]\npreset = {:?}\n\n\
             [[endpoint]]\nname = \"default\"\n",
            self.file.title,
            self.preset.summary()?.signs,
            quoted(&self.file.title),
            quoted(&self.args.owner),
            quoted(&self.file.docs),
            self.preset.name,
        );
        text.push_str(&self.secrets(&sample.secrets));
        text.push_str(&self.parameters(&sample)?);
        text.push_str(
            "\n# The preset says what names an event and keeps its order; keys of an [identify] here replace its own one by one.\n\
             # Next: a [[mapping]] for each type that matters and an [[ignore]] for what does not. Until then events end as `unmapped`.\n\n\
             # Development secrets: for `douane test`, `send` and `demo`. `serve` refuses them.\n[test.secrets]\n",
        );
        for secret in &sample.secrets {
            let _ = writeln!(text, "{:?} = {}", secret.id, quoted(&secret.development));
        }
        Ok(text)
    }

    /// What the provider alone can say. A first case needs some value, so one is made up, and said to be.
    fn parameters(&self, sample: &Sample) -> anyhow::Result<String> {
        let (made_up, mut text) = (self.preset.made_up_parameters()?, String::new());
        for (name, place) in &self.file.parameters {
            let value = sample.parameters.get(name).map(String::as_str).unwrap_or_default();
            let note = if made_up.contains_key(name) { format!("{MADE_UP}\n") } else { String::new() };
            let _ = writeln!(text, "# {place}\n{note}parameters.{name} = {}", quoted(value));
        }
        if sample.signs_its_address {
            let place = "# Where partners reach this gateway: the provider signs it.";
            let _ = writeln!(text, "{place}\n{MADE_UP}\npublic_url = {SAMPLE_ADDRESS:?}");
        }
        Ok(text)
    }

    /// The secrets of the endpoint. What stands in for published keys is written, but does not count yet: live requests are
    /// verified with the keys that are fetched.
    fn secrets(&self, secrets: &[SampleSecret]) -> String {
        let note = |indent: &str| {
            format!(
                "{indent}# The sender publishes its keys, and they are fetched. A key of your own, pinned in their place, lets you post to it\n\
                 {indent}# yourself (setup.md); `check` warns as long as it stands here.\n{indent}#"
            )
        };
        let (pinned, own): (Vec<_>, Vec<_>) = secrets.iter().partition(|secret| secret.id == STAND_IN);
        let pinned = pinned.into_iter().map(|secret| self.secret(secret));
        if own.is_empty() {
            let each = pinned.map(|secret| format!("{} secrets = [{secret}]\n", note("")));
            return each.collect::<Vec<_>>().concat();
        }
        let own = own.into_iter().map(|secret| format!("  {},\n", self.secret(secret)));
        let pinned = pinned.map(|secret| format!("{} {secret},\n", note("  ")));
        format!("secrets = [\n{}]\n", own.chain(pinned).collect::<Vec<_>>().concat())
    }

    fn secret(&self, secret: &SampleSecret) -> String {
        let purpose = match secret.purposes.as_slice() {
            [] => String::new(),
            [one] => format!(", for = {one:?}"),
            several => format!(", for = {several:?}"),
        };
        format!("{{ id = {:?}, from = \"env:{}\"{purpose} }}", secret.id, self.variable(secret))
    }

    fn variable(&self, secret: &SampleSecret) -> String {
        let partner = self.args.name.to_ascii_uppercase().replace('-', "_");
        let kind = if secret.public_key.is_some() { "PUBLIC_KEY" } else { "SECRET" };
        let one = secret.purposes.first().filter(|_| secret.purposes.len() == 1);
        let which = one.map(|purpose| format!("_{}", purpose.to_ascii_uppercase()));
        format!("{partner}_WEBHOOK_{kind}{}", which.unwrap_or_default())
    }

    fn setup(&self) -> anyhow::Result<String> {
        let waits = self.file.ack_deadline.map(|wait| format!("\nIt waits {wait} for an answer.\n"));
        let sample = self.preset.sample()?;
        let pinned = sample.secrets.iter().find(|secret| secret.id == STAND_IN);
        Ok(format!(
            "# Setting up {}\n\nThe address of this endpoint: `https://<your host>/in/{}`.\n\n{}{}{}\nIts own words: {}\n",
            self.file.title,
            self.args.name,
            self.file.setup.trim_start(),
            waits.unwrap_or_default(),
            pinned.map(|secret| self.trial(secret, &sample)).transpose()?.unwrap_or_default(),
            self.file.docs,
        ))
    }

    /// How a first delivery is posted where the sender alone has the keys.
    fn trial(&self, secret: &SampleSecret, sample: &Sample) -> anyhow::Result<String> {
        let (name, variable) = (&self.args.name, self.variable(secret));
        let beside = sample.secrets.iter().find(|other| other.id != STAND_IN);
        let beside = beside.map(|other| format!("export {}=…\n", self.variable(other))).unwrap_or_default();
        let keys = keys_to_send(sample).join(" ");
        let key = SigningKey::private(&Secret::new(secret.development.as_str()));
        let pair = key.as_ref().and_then(pair_like).context("what is pinned signs as nothing we know")?;
        Ok(format!(
            "\n## Try it before it posts\n\n\
             With a key pair of your own, kept out of every repository:\n\n\
             ```sh\n\
             openssl genpkey -algorithm {pair} -out trial.pem\n\
             export {variable}=\"$(openssl pkey -in trial.pem -pubout)\"\n\
             {beside}# uncomment the pinned key in partner.toml, start `douane serve`, then:\n\
             douane send {name}/{FIRST_CASE} {keys} trial.pem\n\
             ```\n\n\
             As long as that key is pinned no delivery of the sender is believed: comment it out again.\n"
        ))
    }

    fn request(&self) -> anyhow::Result<String> {
        let sample = self.preset.sample()?;
        let mut text =
            format!("POST /in/{}{} HTTP/1.1\r\nHost: hooks.example.com\r\n", self.args.name, sample.query);
        for (name, value) in &sample.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        Ok(text + "\r\n" + &sample.body)
    }

    fn expected(&self) -> anyhow::Result<String> {
        let first = ExpectedRequest { status: 200, ..ExpectedRequest::default() };
        let description = format!("A first delivery of {}, kept and not mapped yet.", self.file.title);
        Ok(serde_json::to_string_pretty(&Expected { description, requests: vec![first] })? + "\n")
    }

    fn tell(&self, folder: &Path, case: &Path) -> anyhow::Result<()> {
        let sample = self.preset.sample()?;
        let mut with = keys_to_send(&sample).join(" ");
        if with.ends_with(PRIVATE_KEY) {
            with.push_str(" FILE, whose public half the gateway has");
        }
        output::say(&format!("wrote {} and {}", folder.display(), case.display()));
        output::say(&format!(
            "next: read {}, then give the gateway its secret",
            folder.join("setup.md").display()
        ));
        output::say(&format!("try:  douane send {}/{FIRST_CASE} {with}", self.args.name));
        Ok(())
    }
}

/// What `send` is told to sign with what the gateway has, and not with development secrets.
fn keys_to_send(sample: &Sample) -> Vec<&'static str> {
    let (public, shared): (Vec<_>, Vec<_>) =
        sample.secrets.iter().partition(|secret| secret.public_key.is_some());
    let real = Some("--real-secrets").filter(|_| !shared.is_empty() || public.is_empty());
    real.into_iter().chain(Some(PRIVATE_KEY).filter(|_| !public.is_empty())).collect()
}

/// How a key pair of the same kind is made, as openssl says it.
fn pair_like(key: &SigningKey<'_>) -> Option<&'static str> {
    let signs =
        |(algorithm, _): &(Algorithm, &str)| key.sign(*algorithm, &Message::from(&b"try"[..])).is_some();
    PAIRS.into_iter().find(signs).map(|(_, pair)| pair)
}

/// A TOML string, on one line: JSON writes them in the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
