//! Room `signatures`: answers to challenges, by which a partner's system finds out whether we know the secret. Whoever
//! answers one signs a stranger's text with the key of the deliveries, so nothing is signed that could be one: only a
//! [`Harmless`] text, which its [`Guard`] let through.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::Key;
use crate::model::Secret;

/// Longest text of a stranger that is ever sent back or signed, in bytes.
const MAX_BYTES: usize = 1_024;
/// How long a text may be that is sent back, and one that is signed, where nothing says otherwise.
const ECHO_BYTES: usize = 512;
const SIGNED_BYTES: usize = 128;

/// What is never sent back: a browser, a shell or a log could take it for more than text.
const NEVER_SENT: &[u8] = b"<>&\"'`{}\\";
/// What may be sent back where nothing says otherwise, beside letters and digits.
const SENT: &[u8] = b"-_.~+/=";
/// The most that may be signed, beside letters and digits: nothing that separates the parts of a signed message
/// (`.`, `:`, `&`, space), and nothing that JSON or XML begins with.
const SIGNED: &[u8] = b"-_~+/=";

/// What becomes of a stranger's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardUse {
    /// It is only sent back.
    Sent,
    /// It is signed or hashed.
    Signed,
}

/// Which texts of a stranger are sent back or signed: made of these bytes, within this length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// One bit for each byte of ASCII.
    alphabet: u128,
    least: usize,
    most: usize,
}

/// A text that its guard let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harmless<'t>(&'t str);

/// Why a text is no guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// It is not written as a guard is.
    #[error("a guard is one set of ASCII characters and a length, as \"^[a-f0-9]{{20,32}}$\"")]
    Form,
    /// Its length is impossible or too large.
    #[error("the length of a guard is at least 1 and at most {MAX_BYTES}, the smaller number first")]
    Length,
    /// It lets through what is never sent back.
    #[error("a guard cannot let through control characters, nor any of < > & \" ' ` {{ }} \\")]
    Unsafe,
    /// It lets through what could be a signed delivery.
    #[error(
        "what is signed or hashed may be letters, digits and - _ ~ + / = only, so that it is never a delivery"
    )]
    Oracle,
}

impl Guard {
    /// The guard of a handshake that has none of its own.
    pub fn standard(of: GuardUse) -> Self {
        let (alphabet, most) = match of {
            GuardUse::Sent => (with(SENT), ECHO_BYTES),
            GuardUse::Signed => (with(SIGNED), SIGNED_BYTES),
        };
        Self { alphabet, least: 1, most }
    }

    /// Reads `^[a-f0-9]{20,32}$`. A guard can narrow what is safe for its use, never widen it.
    pub fn parse(text: &str, of: GuardUse) -> Result<Self, GuardError> {
        let inner =
            text.strip_prefix("^[").and_then(|text| text.strip_suffix("}$")).ok_or(GuardError::Form)?;
        let (set, length) = inner.rsplit_once("]{").ok_or(GuardError::Form)?;
        let alphabet = alphabet(set.as_bytes()).ok_or(GuardError::Form)?;
        let (least, most) = length.split_once(',').unwrap_or((length, length));
        let number = |text: &str| text.parse::<usize>().map_err(|_| GuardError::Form);
        let (least, most) = (number(least)?, number(most)?);
        if least == 0 || least > most || most > MAX_BYTES {
            return Err(GuardError::Length);
        }
        match of {
            GuardUse::Sent if alphabet & !may_be_sent() != 0 => Err(GuardError::Unsafe),
            GuardUse::Signed if alphabet & !with(SIGNED) != 0 => Err(GuardError::Oracle),
            _ => Ok(Self { alphabet, least, most }),
        }
    }

    /// The text, if it is harmless.
    pub fn pass<'t>(&self, text: &'t str) -> Option<Harmless<'t>> {
        let fits = (self.least..=self.most).contains(&text.len()) && self.is_made_of(text.as_bytes());
        fits.then_some(Harmless(text))
    }

    /// Whether these bytes could be what was signed for a stranger who sent `parts` texts, or a part of it.
    pub fn could_have_signed(&self, bytes: &[u8], parts: usize) -> bool {
        bytes.len() <= self.most.saturating_mul(parts) && self.is_made_of(bytes)
    }

    fn is_made_of(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| byte.is_ascii() && self.alphabet & (1 << byte) != 0)
    }
}

impl<'t> Harmless<'t> {
    /// The text.
    pub fn text(self) -> &'t str {
        self.0
    }
}

/// How a challenge is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeHash {
    /// HMAC with SHA-1.
    Sha1,
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-384.
    Sha384,
    /// HMAC with SHA-512.
    Sha512,
}

impl ChallengeHash {
    /// By its name in partner files.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }
}

impl fmt::Display for ChallengeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        })
    }
}

/// The HMAC of harmless texts, one after another, under a key of the endpoint.
pub fn sign_challenge(hash: ChallengeHash, key: &Key, texts: &[Harmless<'_>]) -> Vec<u8> {
    let key = key.secret_bytes().unwrap_or_default();
    match hash {
        ChallengeHash::Sha1 => code::<Hmac<Sha1>>(key, texts),
        ChallengeHash::Sha256 => code::<Hmac<Sha256>>(key, texts),
        ChallengeHash::Sha384 => code::<Hmac<Sha384>>(key, texts),
        ChallengeHash::Sha512 => code::<Hmac<Sha512>>(key, texts),
    }
}

fn code<M: Mac + KeyInit>(key: &[u8], texts: &[Harmless<'_>]) -> Vec<u8> {
    // HMAC takes a key of any length.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
    for text in texts {
        mac.update(text.0.as_bytes());
    }
    mac.finalize().into_bytes().to_vec()
}

/// SHA-256 over several pieces, one after another.
pub fn digest_challenge<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update(piece);
    }
    hash.finalize().to_vec()
}

/// Whether a stranger's token is ours; takes the same time for every text of that length.
pub fn is_our_token(theirs: &str, ours: &Secret) -> bool {
    Sha256::digest(theirs).ct_eq(&Sha256::digest(ours.expose())).into()
}

fn with(others: &[u8]) -> u128 {
    (0..128_u8)
        .filter(|byte| byte.is_ascii_alphanumeric() || others.contains(byte))
        .fold(0, |set, byte| set | 1 << byte)
}

fn may_be_sent() -> u128 {
    (b' '..=b'~').filter(|byte| !NEVER_SENT.contains(byte)).fold(0, |set, byte| set | 1 << byte)
}

/// The bytes of a set such as `a-f0-9_-`: a `-` between two characters is a range, at either end it is itself.
fn alphabet(set: &[u8]) -> Option<u128> {
    let mut alphabet = 0_u128;
    let mut rest = set;
    loop {
        let (first, last, after) = match *rest {
            [first, b'-', last, ref after @ ..] => (first, last, after),
            [first, ref after @ ..] => (first, first, after),
            [] => return (alphabet != 0).then_some(alphabet),
        };
        let plain = |byte: u8| byte.is_ascii() && !b"\\^[]".contains(&byte);
        if !plain(first) || !plain(last) || first > last {
            return None;
        }
        alphabet = (first..=last).fold(alphabet, |set, byte| set | 1 << byte);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(bytes: &[u8]) -> Key {
        Key::unchecked("main", bytes)
    }

    #[test]
    fn challenges_are_signed_as_their_providers_document() {
        // Braintree's own SDK test: the key is the SHA-1 of the private key.
        let braintree = key(&Sha1::digest("integration_private_key"));
        let guard = Guard::parse("^[a-f0-9]{20,32}$", GuardUse::Signed).expect("a guard");
        let challenge = guard.pass("20f9f8ed05f77439fe955c977e4c8a53").expect("harmless");
        let code = sign_challenge(ChallengeHash::Sha1, &braintree, &[challenge]);
        assert_eq!(hex::encode(code), "d9b899556c966b3f06945ec21311865d35df3ce4");
        // RFC 4231, test case 2, in two pieces.
        let guard = Guard::parse("^[a-z?]{1,30}$", GuardUse::Sent).expect("a guard");
        let pieces = ["what", "do"].map(|text| guard.pass(text).expect("harmless"));
        let joined = sign_challenge(ChallengeHash::Sha256, &key(b"Jefe"), &pieces);
        let whole =
            sign_challenge(ChallengeHash::Sha256, &key(b"Jefe"), &[guard.pass("whatdo").expect("harmless")]);
        assert_eq!((joined.len(), joined), (32, whole));
    }

    #[test]
    fn a_guard_narrows_and_never_widens() {
        for (text, of, told) in [
            ("^[a-f0-9]{20,32}$", GuardUse::Signed, None),
            ("^[A-Za-z0-9_-]{1,64}$", GuardUse::Signed, None),
            ("^[0-9]{5}$", GuardUse::Signed, None),
            ("^[A-Za-z0-9 :.-]{1,300}$", GuardUse::Sent, None),
            ("^[A-Za-z0-9.]{1,300}$", GuardUse::Signed, Some(GuardError::Oracle)),
            ("^[a-z:]{1,9}$", GuardUse::Signed, Some(GuardError::Oracle)),
            ("^[a-z{]{1,9}$", GuardUse::Signed, Some(GuardError::Oracle)),
            ("^[a-z<]{1,9}$", GuardUse::Sent, Some(GuardError::Unsafe)),
            ("^[!-~]{1,9}$", GuardUse::Sent, Some(GuardError::Unsafe)),
            ("^[\t-z]{1,9}$", GuardUse::Sent, Some(GuardError::Unsafe)),
            ("^[a-z]{0,9}$", GuardUse::Sent, Some(GuardError::Length)),
            ("^[a-z]{9,1}$", GuardUse::Sent, Some(GuardError::Length)),
            ("^[a-z]{1,2000}$", GuardUse::Sent, Some(GuardError::Length)),
            ("^.*$", GuardUse::Sent, Some(GuardError::Form)),
            ("[a-z]{1,9}", GuardUse::Sent, Some(GuardError::Form)),
            ("^[^a]{1,9}$", GuardUse::Sent, Some(GuardError::Form)),
            ("^[]{1,9}$", GuardUse::Sent, Some(GuardError::Form)),
            ("^[z-a]{1,9}$", GuardUse::Sent, Some(GuardError::Form)),
            ("^[a-z]+$", GuardUse::Sent, Some(GuardError::Form)),
        ] {
            assert_eq!(Guard::parse(text, of).err(), told, "{text}");
        }
    }

    #[test]
    fn a_token_is_ours_or_not() {
        let ours = Secret::new("meta-verify-token");
        assert!(is_our_token("meta-verify-token", &ours));
        assert!(!is_our_token("meta-verify-toke", &ours) && !is_our_token("", &ours));
    }

    proptest! {
        #[test]
        fn what_is_signed_for_a_stranger_is_never_a_message_with_borders(text in ".{0,60}") {
            if let Some(harmless) = Guard::standard(GuardUse::Signed).pass(&text) {
                let borders = [':', '.', '{', '[', '<', '&', ' ', '"', '\n'];
                prop_assert!(!harmless.text().contains(borders));
                prop_assert!(Guard::standard(GuardUse::Signed).could_have_signed(text.as_bytes(), 1));
            }
        }

        #[test]
        fn a_guard_never_panics(text in ".{0,40}", set in "[ -~]{0,10}", least in 0_usize..2_000) {
            for of in [GuardUse::Sent, GuardUse::Signed] {
                let _ = Guard::parse(&text, of);
                if let Ok(guard) = Guard::parse(&format!("^[{set}]{{{least},{least}}}$"), of) {
                    prop_assert!(guard.alphabet & !may_be_sent() == 0);
                }
            }
        }
    }
}
