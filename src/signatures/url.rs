//! Room `signatures`: the spellings of one public address that a sender may have signed. Twilio signs the address as it
//! parsed it, with or without its port, and its own libraries try them all; these are the same ones. All come from what is
//! configured and from the target as received: nobody's `Host` is ever believed.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::PublicUrl;

/// A public address in two pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Scheme, host, port and path prefix.
    pub(super) base: String,
    /// Path and query.
    pub(super) target: String,
}

/// The query as a WHATWG URL spells it.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'\'');
/// The path as a WHATWG URL spells it.
const PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');
/// What Node's `querystring` escapes.
const LEGACY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The address without its port and with it; as received, as a WHATWG URL and with its query escaped anew. At most six.
pub(super) fn candidates(configured: &PublicUrl, target: &str) -> Vec<Url> {
    let normal = normalised(target);
    let targets = [target.to_owned(), normal.clone(), requeried(&normal)];
    let mut all = Vec::new();
    for base in [configured.without_port(), configured.with_port()] {
        for target in &targets {
            let url = Url { base: base.clone(), target: target.clone() };
            if !all.contains(&url) {
                all.push(url);
            }
        }
    }
    all
}

fn normalised(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let path = utf8_percent_encode(path, PATH).to_string();
    query.map_or(path.clone(), |query| format!("{path}?{}", utf8_percent_encode(query, QUERY)))
}

/// The query taken apart and written anew; parameters of one name come together, where the first of them stood.
fn requeried(target: &str) -> String {
    let Some((path, query)) = target.split_once('?').filter(|(_, query)| !query.is_empty()) else {
        return target.to_owned();
    };
    let mut parameters: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => parameters.push((name, vec![value])),
        }
    }
    let escaped = |text: &str| utf8_percent_encode(text, LEGACY).to_string();
    let pair = |name: &str, value: &str| format!("{}={}", escaped(name), escaped(value));
    let pairs = parameters.iter().flat_map(|(name, values)| values.iter().map(|value| pair(name, value)));
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use vrl::value::Value;

    use super::*;
    use crate::{
        model::{Headers, RawRequest},
        signatures::{Template, View},
    };

    fn spelled(base: &str, target: &str) -> Vec<String> {
        let configured = PublicUrl::parse(base).expect("an address");
        candidates(&configured, target).into_iter().map(|url| format!("{}{}", url.base, url.target)).collect()
    }

    #[test]
    fn a_port_is_added_and_taken_away() {
        assert_eq!(spelled("https://a.example", "/x"), ["https://a.example/x", "https://a.example:443/x"]);
        assert_eq!(
            spelled("http://u:p@a.example", "/x"),
            ["http://u:p@a.example/x", "http://u:p@a.example:80/x"]
        );
        assert_eq!(
            spelled("https://a.example:1234/p", "/x"),
            ["https://a.example/p/x", "https://a.example:1234/p/x"]
        );
    }

    #[test]
    fn a_query_has_three_spellings() {
        let all = spelled("https://a.example", "/x?b=It's+so&b=2&a=%21");
        assert!(all.contains(&"https://a.example/x?b=It's+so&b=2&a=%21".to_owned()));
        assert!(all.contains(&"https://a.example/x?b=It%27s+so&b=2&a=%21".to_owned()));
        assert!(all.contains(&"https://a.example/x?b=It's%20so&b=2&a=!".to_owned()));
        assert_eq!(all.len(), 6);
    }

    const CALL: &str =
        "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
    const CALL_SIGNED: &str =
        "CallSidCA1234567890ABCDECaller+14158675309Digits1234From+14158675309To+18005551212";

    /// The messages that are tried for a request, as Twilio's own libraries try them.
    fn tried(template: &str, base: &str, target: &str, content_type: &str, body: &str) -> Vec<String> {
        let configured = PublicUrl::parse(base).expect("an address");
        let mut headers = Headers::default();
        headers.push("content-type", content_type.to_owned());
        let request = RawRequest {
            method: "POST".to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers,
            body: body.to_owned().into(),
            peer: None,
        };
        let view = View { request: &request, body: &Value::Null, item: &Value::Null };
        let template = Template::parse(template, None).expect("a template").at(Some(configured.clone()));
        let render = |url: &Url| template.render_at(&view, None, Some(url)).expect("a message").to_vec();
        candidates(&configured, target)
            .iter()
            .map(|url| String::from_utf8_lossy(&render(url)).into_owned())
            .collect()
    }

    /// The forms of Twilio's published test vectors: base, target, body, and what is signed: the address and the fields.
    const FORMS: [(&str, &str, &str, &str, &str); 11] = [
        (
            "https://mycompany.com",
            "/myapp.php?foo=1&bar=2",
            CALL,
            "https://mycompany.com/myapp.php?foo=1&bar=2",
            CALL_SIGNED,
        ),
        (
            "https://mycompany.com:1234",
            "/myapp.php?foo=1&bar=2",
            CALL,
            "https://mycompany.com/myapp.php?foo=1&bar=2",
            CALL_SIGNED,
        ),
        (
            "https://mycompany.com",
            "/myapp.php?foo=1&bar=2",
            CALL,
            "https://mycompany.com:443/myapp.php?foo=1&bar=2",
            CALL_SIGNED,
        ),
        (
            "http://mycompany.com",
            "/myapp.php?foo=1&bar=2",
            CALL,
            "http://mycompany.com:80/myapp.php?foo=1&bar=2",
            CALL_SIGNED,
        ),
        (
            "http://mycompany.com:1234",
            "/myapp.php?foo=1&bar=2",
            CALL,
            "http://mycompany.com:1234/myapp.php?foo=1&bar=2",
            CALL_SIGNED,
        ),
        (
            "https://user:pass@mycompany.com",
            "/myapp.php?foo=1&bar=2",
            CALL,
            "https://user:pass@mycompany.com/myapp.php?foo=1&bar=2",
            CALL_SIGNED,
        ),
        (
            "https://user@mycompany.com",
            "/myapp.php?foo=1&bar=2",
            CALL,
            "https://user@mycompany.com/myapp.php?foo=1&bar=2",
            CALL_SIGNED,
        ),
        (
            "https://user:pass@mycompany.com",
            "/myapp.php?foo=1&bar=2",
            CALL,
            "https://user:pass@mycompany.com:443/myapp.php?foo=1&bar=2",
            CALL_SIGNED,
        ),
        (
            "https://mycompany.com",
            "/myapp.php?foo=1&bar=2",
            "MessagingBinding.Address=%2B1325xxxxxxx&MessagingBinding.Address=%2B1415xxxxxxx",
            "https://mycompany.com/myapp.php?foo=1&bar=2",
            "MessagingBinding.Address+1325xxxxxxxMessagingBinding.Address+1415xxxxxxx",
        ),
        (
            "https://mycompany.com",
            "/myapp.php?foo=1&bar=2",
            "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
            "https://mycompany.com/myapp.php?foo=1&bar=2",
            "Digits1234Digits5678SidCA123SidAccountAC123",
        ),
        (
            "https://mycompany.com",
            "/myapp.php?foo=1&bar=2&Body=It's+amazing",
            CALL,
            "https://mycompany.com/myapp.php?foo=1&bar=2&Body=It%27s+amazing",
            CALL_SIGNED,
        ),
    ];

    #[test]
    fn a_form_is_signed_behind_one_of_the_spellings() {
        for (base, target, body, url, fields) in FORMS {
            let all = tried("{url}{form}", base, target, "application/x-www-form-urlencoded", body);
            assert!(all.contains(&format!("{url}{fields}")), "{base}{target}: {all:?}");
        }
    }

    /// The others of them, which sign the address alone and have a digest of the body in it.
    #[test]
    fn a_digest_in_the_query_is_that_of_the_body() {
        for (base, target, body, signed) in [
            (
                "https://mycompany.com",
                "/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
                "{\"property\": \"value\", \"boolean\": true}",
                "https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
            ),
            (
                "https://mycompany.com",
                "/myapp.php?foo=1&bar=2&bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "{}",
                "https://mycompany.com:443/myapp.php?foo=1&bar=2&bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            ),
            (
                "https://mycompany.com",
                "/myapp.php?bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
                "{\"property\": \"value\", \"boolean\": true}",
                "https://mycompany.com/myapp.php?bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
            ),
        ] {
            assert!(
                tried("{url}", base, target, "application/json", body).contains(&signed.to_owned()),
                "{base}{target}"
            );
            let digest = &tried("{body|sha256}", base, target, "application/json", body)[0];
            assert!(target.ends_with(&format!("bodySHA256={digest}")), "{target}");
        }
    }
}
