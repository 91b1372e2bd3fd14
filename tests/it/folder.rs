//! A mappings folder of a test's own: one partner on an unsigned endpoint, so that a test can say what it is about.

use std::{fs, path::Path};

use tempfile::TempDir;

/// A folder with the partner `lab` and the contract `lab.ThingMeasured.v1`.
pub struct Folder(TempDir);

const CONTRACT: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Thing measured",
  "description": "A thing was measured.",
  "owner": "lab",
  "type": "object",
  "properties": {
    "size": { "type": "integer", "description": "How large it is, in millimetres." },
    "note": { "type": "string", "description": "A remark.", "maxLength": 200000 }
  },
  "required": ["size"],
  "additionalProperties": false,
  "examples": [{ "size": 3 }]
}
"#;

const PARTNER: &str = r#"name = "Lab"
owner = "lab"

[signature]
unsigned = true

[[endpoint]]
name = "default"

[identify]
external_id  = "body.id"
event_type   = "body.type"
ordering_key = "body.thing"

[[mapping]]
on     = ["measured"]
module = "measured.vrl"
emits  = ["lab.ThingMeasured.v1"]

[[ignore]]
on  = ["noise.*"]
why = "nobody listens to it"
"#;

/// The mapping that works.
pub const MAPPING: &str = r#"{ "type": "lab.ThingMeasured.v1", "subject": string!(.thing), "data": { "size": int!(.size) } }
"#;

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir_all(folder.path().join("contracts/lab")).expect("made");
        fs::create_dir_all(folder.path().join("partners/lab")).expect("made");
        folder.write("contracts/lab/ThingMeasured.v1.0.json", CONTRACT);
        folder.write("partners/lab/partner.toml", PARTNER);
        folder.write("partners/lab/setup.md", "# Lab\n\nPost to /in/lab.\n");
        folder.mapping(MAPPING);
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, file: &str, text: &str) {
        // At once, as a deployment would: a poll must not find half a file.
        let draft = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&draft, text).expect("written");
        draft.persist(self.path().join(file)).expect("moved");
    }

    /// Writes the partner's one mapping module.
    pub fn mapping(&self, text: &str) {
        self.write("partners/lab/measured.vrl", text);
    }

    /// Adds a partner like the lab under another name.
    pub fn another_partner(&self, name: &str) {
        fs::create_dir_all(self.path().join("partners").join(name)).expect("made");
        for file in ["partner.toml", "setup.md", "measured.vrl"] {
            let text = fs::read_to_string(self.path().join("partners/lab").join(file)).expect("readable");
            self.write(&format!("partners/{name}/{file}"), &text);
        }
    }

    /// Changes a text in partner.toml.
    pub fn change_partner(&self, from: &str, to: &str) {
        assert!(PARTNER.contains(from), "{from:?} is not in the partner file");
        self.write("partners/lab/partner.toml", &PARTNER.replace(from, to));
    }
}
