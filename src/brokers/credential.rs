//! Room `brokers`: a secret that a broker asks for. May not know where secrets are kept: it holds a way to have one, which
//! `app` gives it, so that a secret is read when it is needed and a new one is found at the next connection.

use std::{fmt, sync::Arc};

use super::BrokerError;
use crate::model::Secret;

/// A way to have a secret. Prints nothing of it.
#[derive(Clone)]
pub struct Credential(Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>);

impl Credential {
    /// Calls `read` each time the secret is needed; its error names the source, never the value.
    pub fn new(read: impl Fn() -> Result<Secret, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The secret now. One that cannot be had is ours to mend: the broker waits, loudly.
    pub fn get(&self) -> Result<Secret, BrokerError> {
        (self.0)().map_err(BrokerError::RefusesEveryone)
    }

    /// The secret now, as the text that most protocols want.
    pub fn text(&self) -> Result<String, BrokerError> {
        let secret = self.get()?;
        let text = std::str::from_utf8(secret.expose());
        text.map(str::to_owned)
            .map_err(|_| BrokerError::RefusesEveryone("a secret of this broker is no UTF-8 text".to_owned()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}
