//! Room `model`: how a provider is asked for a key that it shows only to its customers, by the key's id. Plain data: a scheme
//! says it, `keys` asks it. Secrets stand in it by name; an id has letters, digits, `-` and `_` only, so that it is never
//! more than one segment of a path, or one value.

use std::{collections::BTreeMap, fmt};

use super::{HttpsUrl, Secret, UrlRefused};

/// Longest id of a key.
const MAX_ID_BYTES: usize = 128;

/// The id of a key, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Takes a text in; `None` when it is empty, longer than 128 bytes, or has other characters than letters, digits, `-`
    /// and `_`.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let fits = (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a key is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuestion {
    /// The question; `{id}` may stand in its address.
    pub ask: Question,
    /// How the access token is had that stands in it as `{token}`, where one does.
    pub token: Option<TokenQuestion>,
}

/// How an access token is asked for (OAuth 2.0, client credentials).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenQuestion {
    /// The question. What is answered has `access_token` and `expires_in` (RFC 6749 §5.1).
    pub ask: Question,
}

/// One HTTP request to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where.
    pub url: QuestionUrl,
    /// What is posted; `None`: it is a GET.
    pub body: Option<QuestionBody>,
    /// Its headers.
    pub headers: Vec<(String, QuestionText)>,
    /// The secrets that are user and password of basic credentials (RFC 7617).
    pub basic: Option<(String, String)>,
}

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionBody {
    /// A JSON object of texts.
    Json(Vec<(String, QuestionText)>),
    /// A form.
    Form(Vec<(String, QuestionText)>),
}

impl QuestionBody {
    /// The fields by name.
    pub fn fields(&self) -> &[(String, QuestionText)] {
        match self {
            Self::Json(fields) | Self::Form(fields) => fields,
        }
    }
}

impl Question {
    /// Its texts, wherever they stand.
    pub fn texts(&self) -> impl Iterator<Item = &QuestionText> {
        let fields = self.body.as_ref().map(QuestionBody::fields).unwrap_or_default();
        self.headers.iter().chain(fields).map(|(_, text)| text)
    }

    /// The names of the secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let basic = self.basic.iter().flat_map(|(user, password)| [user.as_str(), password.as_str()]);
        self.texts().flat_map(QuestionText::secrets).chain(basic)
    }
}

impl KeyQuestion {
    /// The names of the secrets that it needs, each once.
    pub fn secrets(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.ask.secrets().collect();
        names.extend(self.token.iter().flat_map(|token| token.ask.secrets()));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The address of a question: fixed, but for one segment of its path that may be the key's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionUrl(String);

impl QuestionUrl {
    /// What stands for the id.
    const ID: &str = "{id}";

    /// Reads an address. `{id}` may stand once, as a whole segment of the path.
    pub fn parse(text: &str) -> Result<Self, UrlRefused> {
        let url = HttpsUrl::parse(&text.replace(Self::ID, "id"))?;
        let segments = text.split('/').skip(3).filter(|segment| *segment == Self::ID).count();
        if url.as_str().contains('?') || segments != text.matches(Self::ID).count() || segments > 1 {
            return Err(UrlRefused::Path);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether the id stands in it.
    pub fn has_id(&self) -> bool {
        self.0.contains(Self::ID)
    }

    /// The address for an id.
    pub fn at(&self, id: &KeyId) -> Result<HttpsUrl, UrlRefused> {
        HttpsUrl::parse(&self.0.replace(Self::ID, id.as_str()))
    }
}

/// As it is written, with `{id}` where the id stands.
impl fmt::Display for QuestionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text of a question, in which `{id}`, `{token}` and `{secret.<name>}` stand for what is asked, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionText(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Id,
    Token,
    Secret(String),
}

impl QuestionText {
    /// Reads a text; `None` when a brace is open, or what stands in it is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (inner, behind) = after.split_once('}')?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match inner {
                "id" => Piece::Id,
                "token" => Piece::Token,
                name => {
                    Piece::Secret(name.strip_prefix("secret.").filter(|name| !name.is_empty())?.to_owned())
                }
            });
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        (!rest.contains('}')).then_some(Self(pieces))
    }

    /// The names of the secrets in it.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Secret(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the id stands in it.
    pub fn has_id(&self) -> bool {
        self.0.contains(&Piece::Id)
    }

    /// Whether the access token stands in it.
    pub fn has_token(&self) -> bool {
        self.0.contains(&Piece::Token)
    }

    /// The text with everything filled in; `None` when a secret or the token is missing. It is as secret as they are.
    pub fn fill(
        &self,
        id: &KeyId,
        secrets: &BTreeMap<String, Secret>,
        token: Option<&Secret>,
    ) -> Option<Secret> {
        let mut filled = Vec::new();
        for piece in &self.0 {
            filled.extend_from_slice(match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Id => id.as_str().as_bytes(),
                Piece::Token => token?.expose(),
                Piece::Secret(name) => secrets.get(name)?.expose(),
            });
        }
        Some(Secret::new(filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_changes_neither_host_nor_path() {
        for bad in
            ["", ".", "..", "a/b", "a%2fb", "a?b", "a#b", "a b", "a@b", "a:b", "a\\b", "é", &"a".repeat(129)]
        {
            assert_eq!(KeyId::parse(bad), None, "{bad:?}");
        }
        let url = QuestionUrl::parse("https://api.acme.example/v2/keys/{id}").expect("an address");
        let id = KeyId::parse("b3d9d2d5-4c12_A").expect("an id");
        assert_eq!(
            url.at(&id).map(|url| url.to_string()),
            Ok("https://api.acme.example/v2/keys/b3d9d2d5-4c12_A".to_owned())
        );
    }

    #[test]
    fn the_id_stands_in_one_segment_of_the_path_and_nowhere_else() {
        for bad in [
            "https://{id}.acme.example/keys",
            "https://{id}/keys",
            "https://api.acme.example/keys/a{id}",
            "https://api.acme.example/{id}/{id}",
            "https://api.acme.example/keys?id={id}",
            "https://api.acme.example/keys?a=b",
            "https://api.acme.example/{secret.a}",
            "https://api.acme.example:8443/{id}",
            "http://api.acme.example/{id}",
            "https://127.0.0.1/{id}",
        ] {
            assert!(QuestionUrl::parse(bad).is_err(), "{bad}");
        }
        let fixed = QuestionUrl::parse("https://api.acme.example/keys/get").expect("an address");
        assert!(!fixed.has_id());
    }

    #[test]
    fn a_text_is_filled_and_shows_nothing_of_it() {
        let text = QuestionText::parse("Bearer {secret.api-key}:{id}:{token}").expect("a text");
        assert_eq!(text.secrets().collect::<Vec<_>>(), ["api-key"]);
        assert!(text.has_id() && text.has_token());
        let id = KeyId::parse("k1").expect("an id");
        let secrets = BTreeMap::from([("api-key".to_owned(), Secret::new("of acme"))]);
        let token = Secret::new("t");
        let filled = text.fill(&id, &secrets, Some(&token)).expect("all is there");
        assert_eq!(filled.expose(), b"Bearer of acme:k1:t");
        assert!(!format!("{filled:?}").contains("acme"));
        assert_eq!(text.fill(&id, &secrets, None), None);
        assert_eq!(text.fill(&id, &BTreeMap::new(), Some(&token)), None);
        for bad in ["{", "}", "{other}", "{secret.}", "a{id", "id}"] {
            assert_eq!(QuestionText::parse(bad), None, "{bad}");
        }
    }
}
