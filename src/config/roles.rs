//! Room `config`: which parts of the house a process runs.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use validator::Validate;

use super::closest;

/// What this process does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// Which parts of the house run here, so that processes over one PostgreSQL can be scaled apart: `intake` (the public door), `translate` (stage 1), `publish` (stage 2) and `console` (API, feed; health and metrics answer in any case), separated by commas.
    pub roles: Roles,
}

/// What a process does, written as `"intake,console"`. By default everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
#[expect(clippy::struct_excessive_bools, reason = "each role stands for itself: this is a set")]
pub struct Roles {
    /// Opens the public door (steps 1 to 3).
    pub intake: bool,
    /// Runs stage 1 (steps 4 to 8).
    pub translate: bool,
    /// Runs stage 2 (steps 9 to 11).
    pub publish: bool,
    /// Opens the private door's API and feed; health and metrics answer there in any case.
    pub console: bool,
}

/// What is no list of roles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoles {
    /// A word names no role.
    #[error("{word:?} is no role{}; roles are intake, translate, publish and console, separated by commas", meant(.near.as_deref()))]
    Unknown {
        /// The word.
        word: String,
        /// The role that was probably meant.
        near: Option<String>,
    },
}

fn meant(near: Option<&str>) -> String {
    near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default()
}

impl Roles {
    /// No role.
    pub const NONE: Self = Self { intake: false, translate: false, publish: false, console: false };
    /// Every role.
    pub const ALL: Self = Self { intake: true, translate: true, publish: true, console: true };

    fn named(self) -> [(&'static str, bool); 4] {
        [
            ("intake", self.intake),
            ("translate", self.translate),
            ("publish", self.publish),
            ("console", self.console),
        ]
    }

    fn by_name(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "intake" => Some(&mut self.intake),
            "translate" => Some(&mut self.translate),
            "publish" => Some(&mut self.publish),
            "console" => Some(&mut self.console),
            _ => None,
        }
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.named().into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = NoRoles;

    fn from_str(text: &str) -> Result<Self, NoRoles> {
        let mut roles = Self::NONE;
        for word in text.split(',').map(str::trim) {
            let Some(role) = roles.by_name(word) else {
                let near = closest(word, Self::ALL.named().into_iter().map(|(name, _)| name.to_owned()));
                return Err(NoRoles::Unknown { word: word.to_owned(), near });
            };
            *role = true;
        }
        Ok(roles)
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Roles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        let some = Roles { intake: true, console: true, ..Roles::NONE };
        assert_eq!("intake, console".parse(), Ok(some));
        assert_eq!(some.to_string(), "intake,console");
        assert_eq!(Roles::ALL.to_string().parse(), Ok(Roles::ALL));
    }

    #[test]
    fn a_word_that_is_no_role_is_refused() {
        let refused = "intake,transalte".parse::<Roles>().expect_err("refused").to_string();
        assert!(refused.contains("\"transalte\" is no role (did you mean \"translate\"?)"), "{refused}");
        assert!("".parse::<Roles>().is_err());
    }
}
