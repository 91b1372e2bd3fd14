//! Room `model`: the address under which partners reach an endpoint, as far as it is configured: what stands before the
//! path and query of a request. It is never made up from a request, whose `Host` is the sender's to choose.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Scheme, host and what may stand beside them, as `https://hooks.example.com` or `https://user:pass@example.com:8443/in-front`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl {
    text: String,
    authority: (usize, usize),
}

/// Why a text is no public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write it as https://hooks.example.com: http or https, a host, no `/` at the end, and neither query nor fragment"
)]
pub struct InvalidPublicUrl;

impl PublicUrl {
    /// Reads an address strictly: what is configured is signed byte for byte.
    pub fn parse(text: &str) -> Result<Self, InvalidPublicUrl> {
        let scheme = ["https://", "http://"].into_iter().find(|scheme| text.starts_with(scheme));
        let start = scheme.ok_or(InvalidPublicUrl)?.len();
        let end = text[start..].find('/').map_or(text.len(), |at| start + at);
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !br#""<>\^`{|}?#"#.contains(&byte));
        let url = Self { text: text.to_owned(), authority: (start, end) };
        let (host, port) = url.host_and_port();
        let port_is_one =
            port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        let sound = plain && !text.ends_with('/') && !host.is_empty() && !host.contains('@') && port_is_one;
        sound.then_some(url).ok_or(InvalidPublicUrl)
    }

    /// As it is configured.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its path, which stands before that of a request; empty where it has none.
    pub fn path(&self) -> &str {
        &self.text[self.authority.1..]
    }

    /// The address without its port.
    pub fn without_port(&self) -> String {
        self.spelled(None)
    }

    /// The address with its port, or that of its scheme.
    pub fn with_port(&self) -> String {
        let usual = if self.text.starts_with("https:") { "443" } else { "80" };
        self.spelled(Some(self.host_and_port().1.unwrap_or(usual)))
    }

    fn spelled(&self, port: Option<&str>) -> String {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let before = &self.text[..self.authority.1 - self.after_userinfo().len()];
        format!("{before}{}{port}{}", self.host_and_port().0, self.path())
    }

    fn after_userinfo(&self) -> &str {
        let authority = &self.text[self.authority.0..self.authority.1];
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }

    fn host_and_port(&self) -> (&str, Option<&str>) {
        let host = self.after_userinfo();
        match host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (host, None),
        }
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = InvalidPublicUrl;

    fn try_from(text: String) -> Result<Self, InvalidPublicUrl> {
        Self::parse(&text)
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.text
    }
}

/// Without the password that may stand in it.
impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = &self.text[..self.authority.0];
        write!(f, "{scheme}{}{}", self.after_userinfo(), self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_scheme_and_host_and_what_stands_beside_them() {
        for good in [
            "https://a.example",
            "http://a.example:8080",
            "https://u:p@a.example:1/in/front",
            "https://[::1]:8443",
            "https://[::1]",
        ] {
            assert_eq!(PublicUrl::parse(good).map(String::from), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "https://",
            "a.example",
            "ftp://a",
            "https://a/",
            "https://a?x",
            "https://a#x",
            "https://a b",
            "https://u@",
            "https://a:",
            "https://a:x",
            "https:///x",
            "HTTPS://a",
            "https://a{b}",
            "https://ä",
        ] {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_is_spelled_with_and_without_its_port() {
        let spelled = |text: &str| {
            let url = PublicUrl::parse(text).expect("an address");
            (url.without_port(), url.with_port(), url.path().to_owned())
        };
        let (without, with) =
            ("https://u:p@a.example/x".to_owned(), "https://u:p@a.example:443/x".to_owned());
        assert_eq!(spelled("https://u:p@a.example/x"), (without, with, "/x".to_owned()));
        assert_eq!(spelled("http://[::1]:80").0, "http://[::1]");
    }

    #[test]
    fn a_password_in_it_is_not_shown() {
        let url = PublicUrl::parse("https://u:hidden@a.example/x").expect("an address");
        assert_eq!(format!("{url:?}"), "https://a.example/x");
    }
}
