//! Room `cli`: `douane partner presets`: the presets as a table, as JSON, and as the page `mappings/PRESETS.md`.

use std::fmt::Write;

use clap::ValueEnum;

use super::{Verdict, output};
use crate::signatures::{PresetSummary, presets};

/// How presets are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Listing {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// The page mappings/PRESETS.md.
    Markdown,
}

pub(super) fn run(word: Option<&str>, listing: Listing) -> anyhow::Result<Verdict> {
    let chosen = word.map_or_else(|| presets::all().iter().collect(), presets::like);
    let summaries = chosen.into_iter().map(presets::Preset::summary).collect::<Result<Vec<_>, _>>()?;
    match listing {
        Listing::Json => output::json(&summaries)?,
        Listing::Markdown => output::print(&page(&summaries)),
        Listing::Table => {
            let head = ["preset", "provider", "family", "assurance", "handshake", "window", "batch", "waits"];
            let none = "no preset is of this name: see \"Spell a signature out\" in mappings/README.md";
            output::table(&head, summaries.iter().map(row).collect(), none);
        }
    }
    Ok(Verdict::Fine)
}

fn row(preset: &PresetSummary) -> Vec<String> {
    vec![
        preset.name.to_owned(),
        preset.title.clone(),
        preset.family.clone(),
        preset.assurance.clone(),
        preset.handshakes.join(", "),
        preset.window.clone(),
        // Each path in a line of its own: side by side they are wider than a screen.
        preset.batch.as_deref().unwrap_or_default().replace(", ", "\n"),
        preset.ack_deadline.clone().unwrap_or_default(),
    ]
}

/// The page, written anew by `douane partner presets --format markdown > mappings/PRESETS.md`.
fn page(presets: &[PresetSummary]) -> String {
    let mut page = format!(
        "# Presets\n\n\
         {} providers whose signature, ids, handshakes and answers are known: `[signature]` with `preset = \"…\"`, or\n\
         `douane partner new <name> --preset <preset>`, which writes a folder to begin with. This page is written by\n\
         `douane partner presets --format markdown`.\n\n\
         **Assurance** is what the signature vouches for: `full` (the body, and with it id and type), `body` (id or type come from headers\n\
         that are not signed), `partial` (some fields), `origin` (who, not what), `token` (a secret that is shown, nothing signed).\n\
         **Window** is how long an id is remembered, **batch** where one delivery is taken apart into events, **waits** how long the\n\
         provider waits for an answer, where it says so.\n\n\
         | preset | provider | family | assurance | handshake | window | batch | waits |\n\
         |---|---|---|---|---|---|---|---|\n",
        presets.len(),
    );
    for preset in presets {
        let batch = preset.batch.as_deref().map(|path| format!("`{path}`")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | [{}]({}) | {} | {} | {} | {} | {batch} | {} |",
            preset.name,
            preset.title,
            preset.docs,
            preset.family,
            preset.assurance,
            preset.handshakes.join(", "),
            preset.window,
            preset.ack_deadline.as_deref().unwrap_or_default(),
        );
    }
    page.push_str("\n## What is signed\n\n");
    for preset in presets {
        let _ = writeln!(page, "- `{}`: {}", preset.name, preset.signs);
        for (name, place) in &preset.parameters {
            let _ = writeln!(page, "  Parameter `{name}`: {place}.");
        }
    }
    page
}
