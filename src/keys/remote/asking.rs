//! Room `keys`: asks a provider for a key by its id, as a scheme says it and with the endpoint's own credentials. None of them
//! is ever part of an address, an error, a log line or a name under which something is held.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::Deserialize;

use super::client::{Call, Cause, Client, Failed};
use crate::{
    clock::Clock,
    config::KeysConfig,
    model::{
        HttpsUrl, KeyId, KeyQuestion, Question, QuestionBody, QuestionText, Secret, Timestamp, TokenQuestion,
    },
};

/// So long before its end a token is no longer used.
const TOKEN_MARGIN: Duration = Duration::from_mins(1);
/// Longest life of a token that is believed.
const MAX_TOKEN_LIFE: Duration = Duration::from_hours(24);

/// A key's id, how it is asked for, and who asks.
#[derive(Clone)]
pub struct Asking {
    /// How.
    pub question: Arc<KeyQuestion>,
    /// The id of the key.
    pub id: KeyId,
    /// The endpoint that asks: what was answered to one is not held for another, whose credentials may be other ones.
    pub asker: String,
    /// The endpoint's secrets, by the names that the question has for them.
    pub secrets: Arc<BTreeMap<String, Secret>>,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asking({} for {})", self.id, self.asker)
    }
}

/// The access tokens that are held, by who asks and where.
#[derive(Debug)]
pub(super) struct Tokens {
    holders: Mutex<HashMap<(String, HttpsUrl), Holder>>,
    pause_after_failure: Duration,
    /// A token is kept for so long at least, whatever the provider answers.
    refresh_pause: Duration,
}

/// Where one token is held. Locked by the one who asks for it.
type Holder = Arc<tokio::sync::Mutex<Option<Answered>>>;

/// What was answered last.
#[derive(Debug)]
enum Answered {
    Given(Token),
    /// None was, and when that was known.
    Failed(String, Timestamp),
}

#[derive(Debug)]
struct Token {
    secret: Secret,
    given: Timestamp,
    until: Timestamp,
}

/// What RFC 6749 §5.1 answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Asking {
    /// What the provider answers.
    pub(super) async fn ask(
        &self,
        client: &Client,
        tokens: &Tokens,
        clock: &dyn Clock,
    ) -> Result<Bytes, Failed> {
        let question = &self.question;
        let token = match &question.token {
            None => None,
            Some(token) => Some(self.token(client, tokens, token, clock).await?),
        };
        let answer = client.call(&self.call(&question.ask, token.as_ref())?).await;
        if let (Err(Failed { cause: Cause::Unauthorized, .. }), Some(token)) = (&answer, &question.token) {
            tokens.forget(self, token, clock.now()).await;
        }
        answer
    }

    /// Whether an answer that nothing stands there is one about the key.
    pub(super) fn names_the_key(&self) -> bool {
        self.question.ask.url.has_id()
    }

    /// The access token that is held, or a new one. While one asks for it the others wait; when that fails it is for all of
    /// them, and for those who come in a while, so that they do not wait for one after the other.
    async fn token(
        &self,
        client: &Client,
        tokens: &Tokens,
        question: &TokenQuestion,
        clock: &dyn Clock,
    ) -> Result<Secret, String> {
        let held = tokens.of(self, question)?;
        let mut held = held.lock().await;
        let now = clock.now();
        match held.as_ref() {
            Some(Answered::Given(token)) if now < token.until => return Ok(token.secret.clone()),
            Some(Answered::Failed(why, at)) if now.since(*at) < tokens.pause_after_failure => {
                return Err(why.clone());
            }
            _ => {}
        }
        match self.granted(client, question, now).await {
            Ok(token) => {
                let secret = token.secret.clone();
                *held = Some(Answered::Given(token));
                Ok(secret)
            }
            Err(why) => {
                *held = Some(Answered::Failed(why.clone(), clock.now()));
                Err(why)
            }
        }
    }

    async fn granted(
        &self,
        client: &Client,
        question: &TokenQuestion,
        now: Timestamp,
    ) -> Result<Token, String> {
        let answer = client.call(&self.call(&question.ask, None)?).await;
        let answer = answer.map_err(|failed| format!("no access token was given: {}", failed.why))?;
        let granted: Granted = serde_json::from_slice(&answer).map_err(|_| {
            "no access token was given: the answer has no access_token and expires_in".to_owned()
        })?;
        let life = Duration::from_secs(granted.expires_in).min(MAX_TOKEN_LIFE).saturating_sub(TOKEN_MARGIN);
        Ok(Token { secret: Secret::new(granted.access_token), given: now, until: now.plus(life) })
    }

    fn call(&self, question: &Question, token: Option<&Secret>) -> Result<Call, String> {
        let missing = || "a credential that it needs is missing".to_owned();
        let url = question.url.at(&self.id).map_err(|error| error.to_string())?;
        let fill = |(name, text): &(String, QuestionText)| {
            let filled = text.fill(&self.id, &self.secrets, token).ok_or_else(missing)?;
            Ok::<_, String>((name.clone(), filled))
        };
        let headers = question.headers.iter().map(fill).collect::<Result<Vec<_>, _>>()?;
        let secret = |name: &String| self.secrets.get(name).cloned().ok_or_else(missing);
        let basic = question.basic.as_ref();
        let basic =
            basic.map(|(user, password)| Ok::<_, String>((secret(user)?, secret(password)?))).transpose()?;
        let fields = |fields: &[(String, _)]| fields.iter().map(fill).collect::<Result<Vec<_>, _>>();
        let body = match &question.body {
            None => None,
            Some(QuestionBody::Json(all)) => Some(("application/json", json(&fields(all)?)?)),
            Some(QuestionBody::Form(all)) => {
                Some(("application/x-www-form-urlencoded", form(&fields(all)?)?))
            }
        };
        Ok(Call { url, headers, basic, body })
    }
}

fn text(secret: &Secret) -> Result<&str, String> {
    std::str::from_utf8(secret.expose()).map_err(|_| "a credential is not text".to_owned())
}

fn json(fields: &[(String, Secret)]) -> Result<Secret, String> {
    let fields = fields.iter().map(|(name, value)| Ok((name.as_str(), text(value)?)));
    let fields = fields.collect::<Result<BTreeMap<_, _>, String>>()?;
    serde_json::to_vec(&fields).map(Secret::new).map_err(|_| "the question cannot be written".to_owned())
}

fn form(fields: &[(String, Secret)]) -> Result<Secret, String> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        form.append_pair(name, text(value)?);
    }
    Ok(Secret::new(form.finish()))
}

impl Tokens {
    pub(super) fn new(config: &KeysConfig) -> Self {
        Self {
            holders: Mutex::default(),
            pause_after_failure: config.pause_after_failure.0,
            refresh_pause: config.refresh_pause.0,
        }
    }

    fn of(&self, asking: &Asking, token: &TokenQuestion) -> Result<Holder, String> {
        let url = token.ask.url.at(&asking.id).map_err(|error| error.to_string())?;
        let mut tokens = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(tokens.entry((asking.asker.clone(), url)).or_default()))
    }

    /// Lets go of a token with which nothing was shown: the provider may have taken it back, and whoever asks next asks for
    /// another. One that is new stays: the provider may as well refuse the id, and ids are anyone's to make up.
    async fn forget(&self, asking: &Asking, token: &TokenQuestion, now: Timestamp) {
        let Ok(held) = self.of(asking, token) else { return };
        let mut held = held.lock().await;
        if matches!(&*held, Some(Answered::Given(token)) if now.since(token.given) >= self.refresh_pause) {
            *held = None;
        }
    }
}
