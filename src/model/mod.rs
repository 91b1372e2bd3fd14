//! Room `model`: the nouns of the road, in the words of the design. No I/O, no clock, knows nobody.
//!
//! A request climbs a ladder of types, and nothing accepts the rung below:
//! [`RawRequest`] → (verify) [`VerifiedRequest`] → (append, read) [`Delivery`] → (identify) [`ExternalEvent`]
//! → (decide) [`Verdict`] → (translate) [`DomainEvent`] → (check) [`CheckedEvent`] → (commit) [`StoredEvent`].

mod body;
mod delivery;
mod diagnostic;
mod entry;
mod event;
mod fields;
mod https;
mod ids;
mod key_question;
mod multipart;
mod outcome;
mod pattern;
mod public_address;
mod public_url;
mod request;
mod secret;
mod secret_source;
pub mod strict_json;
mod template;
mod timestamp;

pub use body::{BodyKind, BodyRules, MAX_FORM_FIELDS, Unreadable, body_kind, read_body, reads_as_form};
pub use delivery::{Assurance, Delivery, Verification, VerifiedRequest};
pub use diagnostic::Diagnostic;
pub use entry::{ConfirmMeta, DeliveryMeta, Entry, EntryMeta, LearntMeta, NewEntry, ReplayMeta};
pub use event::{CheckedEvent, DomainEvent, ExternalEvent, StoredEvent};
pub use fields::{FieldPath, Fields, PathError, Root};
pub use https::{HttpsRule, HttpsUrl, RuleError, UrlRefused};
pub use ids::{
    DeliveryId, EndpointName, EntryNumber, Epoch, EventNumber, EventRef, Incarnation, Revision, Tenure,
};
pub use key_question::{
    KeyId, KeyQuestion, Question, QuestionBody, QuestionText, QuestionUrl, TokenQuestion,
};
pub use outcome::{Outcome, OutcomeKind, ReasonCode, Verdict};
pub use pattern::TypePattern;
pub use public_address::is_public;
pub use public_url::{InvalidPublicUrl, PublicUrl};
pub use request::{
    CREDENTIAL_PARTS, HeaderValue, Headers, RawRequest, is_credential_header, is_credential_parameter,
};
pub use secret::Secret;
pub use secret_source::{NoSource, SecretSource};
pub use template::{AddressField, AddressTemplate, Part, TemplateError};
pub use timestamp::Timestamp;
