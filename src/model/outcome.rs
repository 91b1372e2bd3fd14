//! Room `model`: verdicts and outcomes, each with a reason a person understands.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{EventRef, StoredEvent};

/// How one external event stands to those the ledger already holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the owner of its external id (or has none); the generation counts how often the id was accepted anew.
    Owner {
        /// 0 for the first owner.
        generation: u32,
    },
    /// The ledger holds an owner within the window.
    Duplicate {
        /// That owner.
        of: EventRef,
    },
    /// The ledger holds an owner within the window, and its identity digest differs.
    Conflict {
        /// That owner.
        with: EventRef,
    },
}

/// The six ways in which an external event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// It became domain events (or, by intent, none).
    Translated,
    /// The same event was accepted before.
    Duplicate,
    /// An event of the same id but other content was accepted before.
    Conflict,
    /// The partner's `[[ignore]]` names its type.
    Ignored,
    /// No mapping names its type.
    Unmapped,
    /// It could not be translated; someone must change the desk and replay it.
    DeadLetter,
}

impl OutcomeKind {
    /// Every kind, in the order of the design.
    pub const ALL: [Self; 6] =
        [Self::Translated, Self::Duplicate, Self::Conflict, Self::Ignored, Self::Unmapped, Self::DeadLetter];

    /// Its word, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Translated => "translated",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Ignored => "ignored",
            Self::Unmapped => "unmapped",
            Self::DeadLetter => "dead_letter",
        }
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutcomeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown outcome {text:?}; known are {known}")
        })
    }
}

/// Why an event is a dead letter: a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// The body is not what the endpoint's partner sends: not JSON or form, duplicate keys, too deep, a number out of range.
    Unreadable,
    /// A needed field is missing or unusable (type, id, key): empty, over 512 bytes, control characters.
    Unidentifiable,
    /// A bound was passed: items per delivery, events per mapping, size, depth.
    OverLimit,
    /// The mapping failed while it ran.
    MappingFailed,
    /// The mapping ended itself with `abort`.
    MappingAborted,
    /// The mapping used up its steps.
    MappingExhausted,
    /// The mapping panicked.
    MappingPanicked,
    /// The mapping's result is not a domain event it said it emits.
    MappingOutput,
    /// The domain event breaks its contract.
    ContractBroken,
    /// The translator process died three times while working on this event alone.
    CrashedTheTranslator,
    /// The intake log's bytes at this place are damaged.
    Damaged,
    /// The database refuses this event's data.
    RefusedByStore,
    /// A replay's result differs from what was published; it needs `--reissue`.
    NeedsReissue,
}

impl ReasonCode {
    /// Its word, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unidentifiable => "unidentifiable",
            Self::OverLimit => "over_limit",
            Self::MappingFailed => "mapping_failed",
            Self::MappingAborted => "mapping_aborted",
            Self::MappingExhausted => "mapping_exhausted",
            Self::MappingPanicked => "mapping_panicked",
            Self::MappingOutput => "mapping_output",
            Self::ContractBroken => "contract_broken",
            Self::CrashedTheTranslator => "crashed_the_translator",
            Self::Damaged => "damaged",
            Self::RefusedByStore => "refused_by_store",
            Self::NeedsReissue => "needs_reissue",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an external event ended, with what a person needs to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It became these domain events, already checked against their contracts.
    Translated {
        /// In the mapping's order; the ledger numbers them at commit.
        events: Vec<StoredEvent>,
    },
    /// The same event was accepted before, as `of`.
    Duplicate {
        /// The owner.
        of: EventRef,
    },
    /// An event of the same id but other content was accepted before, as `with`.
    Conflict {
        /// The owner.
        with: EventRef,
    },
    /// The partner's `[[ignore]]` names its type.
    Ignored {
        /// The `why` of that entry.
        why: String,
    },
    /// No mapping and no ignore names its type.
    Unmapped,
    /// It could not be translated.
    DeadLetter {
        /// The stable code.
        code: ReasonCode,
        /// What happened and where, without any value of the payload.
        detail: String,
    },
}

impl Outcome {
    /// Which of the six it is.
    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Translated { .. } => OutcomeKind::Translated,
            Self::Duplicate { .. } => OutcomeKind::Duplicate,
            Self::Conflict { .. } => OutcomeKind::Conflict,
            Self::Ignored { .. } => OutcomeKind::Ignored,
            Self::Unmapped => OutcomeKind::Unmapped,
            Self::DeadLetter { .. } => OutcomeKind::DeadLetter,
        }
    }

    /// The reason as stored: `code: detail`, the `why` of an ignore, or what the verdict found. `None` when translated.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Translated { .. } => None,
            Self::Duplicate { of } => Some(format!("accepted before as {of}")),
            Self::Conflict { with } => Some(format!("accepted before as {with} with other content")),
            Self::Ignored { why } => Some(why.clone()),
            Self::Unmapped => Some("no mapping and no ignore names this type".to_owned()),
            Self::DeadLetter { code, detail } => Some(format!("{code}: {detail}")),
        }
    }
}
