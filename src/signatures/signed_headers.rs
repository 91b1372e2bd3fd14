//! Room `signatures`: the headers that a signed list of headers names, as Contentful signs them: by name, `name:value`, with
//! `;` between them. The list is one of them, and so is the time of sending; without either anything could be left out.

use std::collections::BTreeMap;

use super::{SignatureError, template::begins_another};
use crate::model::Headers;

/// The header that lists the signed ones.
const LIST: &str = "x-contentful-signed-headers";
/// The time of sending.
const TIME: &str = "x-contentful-timestamp";
/// Most headers in a list.
const MAX_HEADERS: usize = 100;

/// The signed headers as they are signed.
pub(super) fn render(headers: &Headers) -> Result<Vec<u8>, SignatureError> {
    let list = text(headers, LIST)?.to_ascii_lowercase();
    let names: Vec<&str> = list.split(',').map(str::trim).collect();
    if names.len() > MAX_HEADERS || ![LIST, TIME].iter().all(|name| names.contains(name)) {
        return Err(SignatureError::Malformed(
            "the list of signed headers is not one of them, or the time is not",
        ));
    }
    let signed = names.into_iter().map(|name| Ok((name, text(headers, name)?.trim())));
    let signed: BTreeMap<&str, &str> = signed.collect::<Result<_, SignatureError>>()?;
    if signed.iter().any(|(name, value)| name.contains([':', ';']) || begins_another(value, ';', ':')) {
        return Err(SignatureError::Malformed("a signed header contains what would begin another"));
    }
    let lines: Vec<String> = signed.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    Ok(lines.join(";").into_bytes())
}

fn text<'h>(headers: &'h Headers, name: &str) -> Result<&'h str, SignatureError> {
    let mut values = headers.0.iter().filter(|(known, _)| known == name);
    let (_, value) = values.next().ok_or(SignatureError::Missing)?;
    if values.next().is_some() {
        return Err(SignatureError::Duplicated);
    }
    value.as_str().ok_or(SignatureError::Malformed("a signed header is not text"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(pairs: &[(&str, &str)]) -> Result<String, SignatureError> {
        let mut headers = Headers::default();
        for (name, value) in pairs {
            headers.push(name, (*value).to_owned());
        }
        render(&headers).map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn the_listed_headers_are_signed_by_name() {
        let list = "X-Contentful-Topic, x-contentful-timestamp,x-contentful-signed-headers";
        let text = signed(&[(LIST, list), (TIME, "17"), ("x-contentful-topic", " a.b "), ("x-other", "c")]);
        let expected = format!("{LIST}:{list};{TIME}:17;x-contentful-topic:a.b");
        assert_eq!(text, Ok(expected));
    }

    #[test]
    fn a_list_that_leaves_itself_or_the_time_out_is_none() {
        assert!(signed(&[(LIST, TIME), (TIME, "17")]).is_err());
        assert!(signed(&[(LIST, LIST), (TIME, "17")]).is_err());
        let both = format!("{LIST},{TIME}");
        assert_eq!(signed(&[(LIST, &both)]), Err(SignatureError::Missing));
        assert_eq!(signed(&[(LIST, &both), (TIME, "1"), (TIME, "2")]), Err(SignatureError::Duplicated));
        let more = format!("{both},x");
        assert!(signed(&[(LIST, &more), (TIME, "1"), ("x", "a;y:b")]).is_err(), "it would begin another");
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic(list in ".{0,60}") {
            let _ = signed(&[(LIST, &list), (TIME, "1")]);
        }
    }
}
