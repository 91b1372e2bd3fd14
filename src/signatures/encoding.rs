//! Room `signatures`: how a signature is written as text. One spelling for one value, so that no two texts pass for the
//! same signature.

use std::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE, HEXUPPER};
use serde::Deserialize;

/// How a signature is written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal, lower case.
    Hex,
    /// Hexadecimal, upper case.
    HexUpper,
    /// Hexadecimal in either case, for senders that promise none.
    HexAny,
    /// Base64 (RFC 4648 §4) with padding, canonical.
    Base64,
    /// Base64 for URLs (RFC 4648 §5), canonical, with its padding or without: senders disagree, and the bytes are the same.
    Base64url,
    /// Base64 of lower-case hexadecimal text.
    Base64Hex,
    /// As it is: for tokens.
    Text,
    /// `Basic` and base64 of user and password (RFC 7617).
    Basic,
}

impl Encoding {
    /// The bytes that a text stands for; `None` when it is not written so.
    pub fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => HEXLOWER.decode(text.as_bytes()).ok(),
            Self::HexAny => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
            Self::HexUpper => HEXUPPER.decode(text.as_bytes()).ok(),
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64url if text.ends_with('=') => URL_SAFE.decode(text).ok(),
            Self::Base64url => URL_SAFE_NO_PAD.decode(text).ok(),
            Self::Base64Hex => {
                let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
                Self::Hex.decode(&text)
            }
            Self::Text => Some(text.as_bytes().to_vec()),
            Self::Basic => credentials(text),
        }
    }

    /// Writes bytes as [`Encoding::decode`] reads them.
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex | Self::HexAny => hex::encode(bytes),
            Self::HexUpper => hex::encode_upper(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64url => URL_SAFE_NO_PAD.encode(bytes),
            Self::Base64Hex => STANDARD.encode(hex::encode(bytes)),
            Self::Text => String::from_utf8_lossy(bytes).into_owned(),
            Self::Basic => format!("Basic {}", STANDARD.encode(bytes)),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hex => "hex",
            Self::HexUpper => "hex in upper case",
            Self::HexAny => "hex in either case",
            Self::Base64 => "base64",
            Self::Base64url => "base64url",
            Self::Base64Hex => "base64 of hex",
            Self::Text => "text",
            Self::Basic => "basic",
        })
    }
}

/// The user and password of an `authorization` header; the scheme's name in either case (RFC 9110 §11.1).
fn credentials(text: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = text.split_once(' ')?;
    let encoded = scheme.eq_ignore_ascii_case("basic").then(|| rest.trim_start_matches(' '))?;
    STANDARD.decode(encoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Encoding; 6] = [
        Encoding::Hex,
        Encoding::HexUpper,
        Encoding::HexAny,
        Encoding::Base64,
        Encoding::Base64url,
        Encoding::Base64Hex,
    ];

    #[test]
    fn a_signature_has_one_spelling() {
        let bytes = [0xab_u8; 32];
        let (hex, base64) = (hex::encode(bytes), STANDARD.encode(bytes));
        let decodes = |text: &str, encoding: Encoding| encoding.decode(text).is_some();
        assert!(decodes(&hex, Encoding::Hex));
        assert!(decodes(&base64, Encoding::Base64));
        assert!(!decodes(&hex.to_uppercase(), Encoding::Hex));
        assert!(!decodes(&hex, Encoding::HexUpper));
        assert!(decodes(&hex, Encoding::HexAny) && decodes(&hex.to_uppercase(), Encoding::HexAny));
        assert!(!decodes(&format!(" {hex}"), Encoding::Hex));
        assert!(!decodes(base64.trim_end_matches('='), Encoding::Base64));
        assert!(!decodes(&format!("{base64}\n"), Encoding::Base64));
        assert!(
            !decodes(&base64.replace("s=", "t="), Encoding::Base64),
            "the bits after the end must be zero"
        );
        assert!(!decodes(&STANDARD.encode([0xff_u8; 32]), Encoding::Base64url), "another alphabet");
        assert!(!decodes(&STANDARD.encode(hex.to_uppercase()), Encoding::Base64Hex));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            for encoding in ALL {
                prop_assert_eq!(encoding.decode(&encoding.encode(&bytes)), Some(bytes.clone()));
            }
            prop_assert_eq!(Encoding::Base64url.decode(&URL_SAFE.encode(&bytes)), Some(bytes));
        }

        #[test]
        fn what_decodes_is_written_back_the_same(text in "[0-9a-fA-F]{0,68}|[A-Za-z0-9+/=_-]{0,46}|.{0,20}") {
            for encoding in ALL {
                let Some(bytes) = encoding.decode(&text) else { continue };
                let written = encoding.encode(&bytes);
                match encoding {
                    Encoding::HexAny => prop_assert_eq!(written, text.to_lowercase()),
                    Encoding::Base64url => prop_assert_eq!(written, text.trim_end_matches('=')),
                    _ => prop_assert_eq!(written, text.as_str()),
                }
            }
        }
    }
}
