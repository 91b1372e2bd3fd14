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
    cases::{self, Expected, ExpectedRequest, Sign},
    output,
    test::Player,
};
use crate::signatures::{
    SampleSecret,
    presets::{self, Preset, PresetFile},
};

/// The case that shows a first delivery.
const FIRST_CASE: &str = "first-delivery";
/// What stands in for the address under which partners reach this gateway.
const PUBLIC_URL: &str = "https://hooks.example.com";

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
    let preset = presets::find(&args.preset).with_context(|| {
        format!("there is no preset {:?}; `douane partner presets` lists them", args.preset)
    })?;
    let config = common.load(Vec::new())?;
    if !is_name(&args.name) {
        bail!("{:?} cannot be part of an address: use a to z, 0 to 9 and `-`, at most 63", args.name);
    }
    let folder = config.mappings.path.join("partners").join(&args.name);
    let case = args.fixtures.join(&args.name).join(FIRST_CASE);
    let new = NewPartner { args, preset, file: preset.file()? };
    write_new(&folder.join("partner.toml"), &new.partner_file()?)?;
    write_new(&folder.join("setup.md"), &new.setup())?;
    write_new(&case.join("request.http"), &new.request()?)?;
    write_new(&case.join("expected.json"), &new.expected(Sign::Valid, 200)?)?;
    let player = Player::new(config);
    let first = || cases::one(&args.fixtures, &format!("{}/{FIRST_CASE}", args.name));
    let (written, found, signed) = match block_on(player.play(&first()?)) {
        Ok(found) => (first()?, found, true),
        // Keys that only the provider has, and tokens: then the case shows what a request without a signature is answered.
        Err(why) => {
            fs::write(case.join("expected.json"), new.expected(Sign::None, 401)?)?;
            output::complain(&format!(
                "this preset's requests cannot be signed here ({why}): the case has none"
            ));
            (first()?, block_on(player.play(&first()?))?, false)
        }
    };
    let kept = found.iter().all(|request| request.refusal.is_none() == signed);
    written.bless(found)?;
    new.tell(&folder, &case);
    Ok(if kept { Verdict::Fine } else { Verdict::FoundWrong })
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
        if !sample.secrets.is_empty() {
            let secrets: Vec<String> = sample.secrets.iter().map(|secret| self.secret(secret)).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "secrets = [\n  {},\n]", secrets.join(",\n  "));
        }
        for (name, place) in &self.file.parameters {
            let value = sample.parameters.get(name).map(String::as_str).unwrap_or_default();
            let _ = writeln!(text, "# {place}\nparameters.{name} = {}", quoted(value));
        }
        if sample.signs_its_address {
            let _ = writeln!(
                text,
                "# Where partners reach this gateway: the provider signs it.\npublic_url = {PUBLIC_URL:?}"
            );
        }
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

    fn secret(&self, secret: &SampleSecret) -> String {
        let purpose =
            secret.purpose.as_ref().map(|purpose| format!(", for = {purpose:?}")).unwrap_or_default();
        let partner = self.args.name.to_ascii_uppercase().replace('-', "_");
        let kind = if secret.public_key.is_some() { "PUBLIC_KEY" } else { "SECRET" };
        let which = secret.purpose.as_ref().map(|purpose| format!("_{}", purpose.to_ascii_uppercase()));
        let name = format!("{partner}_WEBHOOK_{kind}{}", which.unwrap_or_default());
        format!("{{ id = {:?}, from = \"env:{name}\"{purpose} }}", secret.id)
    }

    fn setup(&self) -> String {
        let waits = self.file.ack_deadline.map(|wait| format!("\nIt waits {wait} for an answer.\n"));
        format!(
            "# Setting up {}\n\nThe address of this endpoint: `https://<your host>/in/{}`.\n\n{}{}\nIts own words: {}\n",
            self.file.title,
            self.args.name,
            self.file.setup.trim_start(),
            waits.unwrap_or_default(),
            self.file.docs,
        )
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

    fn expected(&self, sign: Sign, status: u16) -> anyhow::Result<String> {
        let first = ExpectedRequest { sign, status, ..ExpectedRequest::default() };
        let what =
            if sign == Sign::None { "without a signature, refused" } else { "kept and not mapped yet" };
        let description = format!("A first delivery of {}, {what}.", self.file.title);
        Ok(serde_json::to_string_pretty(&Expected { description, requests: vec![first] })? + "\n")
    }

    fn tell(&self, folder: &Path, case: &Path) {
        output::say(&format!("wrote {} and {}", folder.display(), case.display()));
        output::say(&format!(
            "next: read {}, then give the gateway its secret",
            folder.join("setup.md").display()
        ));
        output::say(&format!("try:  douane send {}/{FIRST_CASE} --real-secrets", self.args.name));
    }
}

/// A TOML string, on one line: JSON writes them in the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
