//! Room `model`: the addresses that keys are fetched from. A sender may name one (`SigningCertURL`), so an address has one
//! spelling, and a rule of ours says which hosts and paths may stand in it. What a rule did not allow is no [`HttpsUrl`],
//! and nothing else is ever fetched.

use std::fmt;

/// The longest address.
const MAX_URL_BYTES: usize = 2_048;
/// The longest name of a host (RFC 1035).
const MAX_HOST_BYTES: usize = 253;
/// The longest label of a name.
const MAX_LABEL_BYTES: usize = 63;

/// An address that was checked: `https`, the name of a host, the usual port, a plain path, nothing before or behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpsUrl {
    text: String,
    host_end: usize,
}

/// Why a text is no address that keys are fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// It does not begin with `https://`, in just this spelling.
    #[error("it does not begin with https://")]
    Scheme,
    /// It is too long, or has white space, control characters or others that readers take differently.
    #[error("it is too long, or has characters that do not belong in an address")]
    Characters,
    /// A user or a password stands before the host.
    #[error("it has a user before its host")]
    User,
    /// It has a port.
    #[error("it has a port")]
    Port,
    /// The host is no name in lower case: an IP address in any spelling, a name of one label, one with a dot at its end.
    #[error("its host is no full name in lower case")]
    Host,
    /// The path is missing, or has parts that readers resolve differently.
    #[error("its path is missing or not plain")]
    Path,
    /// It has a query.
    #[error("it has a query")]
    Query,
    /// It has a fragment.
    #[error("it has a fragment")]
    Fragment,
    /// The rule does not name this host.
    #[error("its host is not one of those allowed")]
    ForeignHost,
    /// The rule does not name this path.
    #[error("its path is not one of those allowed")]
    ForeignPath,
}

impl HttpsUrl {
    /// Reads an address that stands in a file of ours; it may have a query.
    pub fn parse(text: &str) -> Result<Self, UrlRefused> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !br#"\"<>^`{|}"#.contains(&byte);
        let rest = text.strip_prefix("https://").ok_or(UrlRefused::Scheme)?;
        if text.len() > MAX_URL_BYTES || !text.bytes().all(plain) {
            return Err(UrlRefused::Characters);
        }
        if rest.contains('#') {
            return Err(UrlRefused::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, rest) = rest.split_at(end);
        check_host(host)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        check_path(path)?;
        check_query(query)?;
        Ok(Self { text: text.to_owned(), host_end: "https://".len() + end })
    }

    /// The name of the host.
    pub fn host(&self) -> &str {
        &self.text["https://".len()..self.host_end]
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        let rest = &self.text[self.host_end..];
        rest.split_once('?').map_or(rest, |(path, _)| path)
    }

    /// The whole, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_host(host: &str) -> Result<(), UrlRefused> {
    if host.contains('@') {
        return Err(UrlRefused::User);
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(UrlRefused::Port);
    }
    let labels: Vec<&str> = host.split('.').collect();
    // A name whose last label begins with a digit is an IPv4 address to some readers, whatever stands before it.
    let is_name =
        labels.last().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_lowercase()));
    let sound =
        is_name && labels.len() > 1 && host.len() <= MAX_HOST_BYTES && labels.into_iter().all(is_label);
    sound.then_some(()).ok_or(UrlRefused::Host)
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty()
        && label.len() <= MAX_LABEL_BYTES
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn check_path(path: &str) -> Result<(), UrlRefused> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=".contains(&byte);
    let dots = path.split('/').any(|segment| segment == "." || segment == "..");
    let sound = path.starts_with('/') && !dots && path.bytes().all(plain);
    sound.then_some(()).ok_or(UrlRefused::Path)
}

fn check_query(query: &str) -> Result<(), UrlRefused> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@!$&()*+,;=%?".contains(&byte);
    query.bytes().all(plain).then_some(()).ok_or(UrlRefused::Query)
}

/// Which addresses a sender may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsRule {
    hosts: Vec<String>,
    path: String,
}

/// Why a rule would allow nothing, or too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A host is no pattern of one.
    #[error(
        "{0:?} is no host: write a full name in lower case, in which `*` is one label and `{{region}}` a region of AWS; the last two labels are written out"
    )]
    Host(String),
    /// The path is no pattern of one.
    #[error("{0:?} is no path: begin with `/`; `*` is any text without `/`, once in a segment")]
    Path(String),
    /// No host may be named.
    #[error("there are no hosts")]
    Empty,
}

impl HttpsRule {
    /// A rule for the hosts and the paths of these patterns. `*` is one whole label of a host, or any text within one
    /// segment of the path.
    pub fn new(hosts: &[String], path: &str) -> Result<Self, RuleError> {
        if hosts.is_empty() {
            return Err(RuleError::Empty);
        }
        if let Some(host) = hosts.iter().find(|host| !is_host_pattern(host)) {
            return Err(RuleError::Host(host.clone()));
        }
        let stars = |segment: &str| segment.matches('*').count() <= 1;
        if check_path(path).is_err() || !path.split('/').all(stars) {
            return Err(RuleError::Path(path.to_owned()));
        }
        Ok(Self { hosts: hosts.to_vec(), path: path.to_owned() })
    }

    /// The address, if it may be named. It has no query.
    pub fn check(&self, text: &str) -> Result<HttpsUrl, UrlRefused> {
        let url = self.check_with_query(text)?;
        if url.text.contains('?') { Err(UrlRefused::Query) } else { Ok(url) }
    }

    /// The same for an address that may have a query, as a link that confirms a subscription has.
    pub fn check_with_query(&self, text: &str) -> Result<HttpsUrl, UrlRefused> {
        let url = HttpsUrl::parse(text)?;
        self.pattern_of(&url)?;
        if !path_matches(&self.path, url.path()) {
            return Err(UrlRefused::ForeignPath);
        }
        Ok(url)
    }

    /// The pattern that allows the host of an address. However many hosts it allows, it is one.
    pub fn pattern_of(&self, url: &HttpsUrl) -> Result<&str, UrlRefused> {
        let pattern = self.hosts.iter().find(|pattern| host_matches(pattern, url.host()));
        pattern.map(String::as_str).ok_or(UrlRefused::ForeignHost)
    }
}

/// The patterns, for people.
impl fmt::Display for HttpsRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<_> = self.hosts.iter().map(|host| format!("https://{host}{}", self.path)).collect();
        f.write_str(&patterns.join(" or "))
    }
}

fn is_host_pattern(pattern: &str) -> bool {
    let labels: Vec<&str> = pattern.split('.').collect();
    let Some(free) = labels.len().checked_sub(2) else { return false };
    let sound = |(place, label): (usize, &&str)| {
        is_label(label) || (place < free && matches!(*label, "*" | "{region}"))
    };
    labels.iter().enumerate().all(sound)
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let same = |(pattern, label): (&str, &str)| match pattern {
        "*" => true,
        "{region}" => is_region(label),
        name => name == label,
    };
    pattern.split('.').count() == host.split('.').count() && pattern.split('.').zip(host.split('.')).all(same)
}

/// Whether a label is a region of AWS, as `eu-west-1` or `us-gov-east-1`. Buckets have hosts under the same domain
/// (`sns.s3-us-west-2.amazonaws.com`), and anyone may own a bucket; `s3` has a digit, and no part of a region but the last.
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let [area, middle @ .., number] = parts.as_slice() else { return false };
    let letters = |part: &&str| part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let digits = (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    letters(area) && area.len() <= 4 && !middle.is_empty() && middle.iter().all(letters) && digits
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let same = |(pattern, segment): (&str, &str)| match pattern.split_once('*') {
        None => pattern == segment,
        Some((before, after)) => {
            segment.len() > before.len() + after.len()
                && segment.starts_with(before)
                && segment.ends_with(after)
        }
    };
    pattern.split('/').count() == path.split('/').count() && pattern.split('/').zip(path.split('/')).all(same)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sns() -> HttpsRule {
        let hosts = ["sns.{region}.amazonaws.com", "sns.{region}.amazonaws.com.cn"].map(str::to_owned);
        HttpsRule::new(&hosts, "/*.pem").expect("a rule")
    }

    fn paypal() -> HttpsRule {
        let hosts = ["api.paypal.com", "api.sandbox.paypal.com"].map(str::to_owned);
        HttpsRule::new(&hosts, "/v1/notifications/certs/*").expect("a rule")
    }

    #[test]
    fn what_providers_name_is_allowed() {
        for url in [
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
            "https://sns.us-gov-west-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.ap-southeast-2.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-a.pem",
        ] {
            let checked = sns().check(url).expect(url);
            assert_eq!(checked.as_str(), url);
            assert!(sns().pattern_of(&checked).expect("a pattern").starts_with("sns.{region}.amazonaws.com"));
        }
        let url = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270";
        let checked = paypal().check(url).expect("allowed");
        assert_eq!(paypal().pattern_of(&checked), Ok("api.sandbox.paypal.com"));
        assert_eq!(checked.host(), "api.sandbox.paypal.com");
        assert_eq!(checked.path(), "/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270");
        let entra = "https://login.microsoftonline.com/common/discovery/keys?appid=0bf30f3b-4a52";
        assert_eq!(HttpsUrl::parse(entra).expect("ours").path(), "/common/discovery/keys");
    }

    #[test]
    fn a_link_may_have_a_query_and_nothing_else_besides() {
        let hosts = ["sns.{region}.amazonaws.com".to_owned()];
        let rule = HttpsRule::new(&hosts, "/").expect("a rule");
        let link = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:1:t&Token=2336";
        assert_eq!(
            rule.check_with_query(link).map(|url| url.host().to_owned()).as_deref(),
            Ok("sns.eu-west-1.amazonaws.com")
        );
        assert_eq!(rule.check(link), Err(UrlRefused::Query));
        for other in [
            "https://sns.eu-west-1.amazonaws.com/x?Action=ConfirmSubscription",
            "https://sns.attacker.tld/?https://sns.eu-west-1.amazonaws.com/",
            "https://sns.eu-west-1.amazonaws.com/?a=1#b",
            "https://sns.eu-west-1.amazonaws.com/?a=1 b",
        ] {
            assert!(rule.check_with_query(other).is_err(), "{other}");
        }
    }

    use UrlRefused as R;

    /// Addresses that lead elsewhere, or might with some reader.
    const TRICKS: &[(&str, UrlRefused)] = &[
        // Other hosts that look like the right one.
        ("https://sns.evil.amazonaws.com.attacker.tld/a.pem", R::ForeignHost),
        ("https://sns.us-east-1.amazonaws.com.attacker.tld/a.pem", R::ForeignHost),
        ("https://attacker.tld/sns.us-east-1.amazonaws.com/a.pem", R::ForeignHost),
        ("https://attackersns.us-east-1.amazonaws.com/a.pem", R::ForeignHost),
        ("https://sns.us-east-1.evilamazonaws.com/a.pem", R::ForeignHost),
        ("https://sns-us-east-1.amazonaws.com/a.pem", R::ForeignHost),
        ("https://sns.us-east-1.amazonaws.co/a.pem", R::ForeignHost),
        ("https://us-east-1.amazonaws.com/a.pem", R::ForeignHost),
        ("https://a.sns.us-east-1.amazonaws.com/a.pem", R::ForeignHost),
        // Whoever owns the bucket `sns` has these.
        ("https://sns.s3.amazonaws.com/a.pem", R::ForeignHost),
        ("https://sns.s3-us-west-2.amazonaws.com/a.pem", R::ForeignHost),
        ("https://sns.s3.us-west-2.amazonaws.com/a.pem", R::ForeignHost),
        ("https://sns.s3-website-us-east-1.amazonaws.com/a.pem", R::ForeignHost),
        ("https://s3.amazonaws.com/sns.us-east-1.amazonaws.com/a.pem", R::ForeignHost),
        ("https://sns.evil.amazonaws.com/a.pem", R::ForeignHost),
        // Look-alikes of other scripts, raw and as IDNA writes them.
        ("https://xn--sns-8cd.us-east-1.amazonaws.com/a.pem", R::ForeignHost),
        ("https://sns.us-east-1.xn--mazonaws-4fg.com/a.pem", R::ForeignHost),
        ("https://sns.us-east-1.\u{430}mazonaws.com/a.pem", R::Characters),
        ("https://sns\u{3002}us-east-1.amazonaws.com/a.pem", R::Characters),
        ("https://sns.us-east-1.amazonaws.com\u{ff0f}.attacker.tld/a.pem", R::Characters),
        // Users, ports, fragments, queries, and what hides a host behind them.
        ("https://sns.us-east-1.amazonaws.com@attacker.tld/a.pem", R::User),
        ("https://sns.us-east-1.amazonaws.com:443@attacker.tld/a.pem", R::User),
        ("https://user:word@sns.us-east-1.amazonaws.com/a.pem", R::User),
        ("https://@sns.us-east-1.amazonaws.com/a.pem", R::User),
        ("https://attacker.tld#@sns.us-east-1.amazonaws.com/a.pem", R::Fragment),
        ("https://attacker.tld/#sns.us-east-1.amazonaws.com/a.pem", R::Fragment),
        ("https://attacker.tld?sns.us-east-1.amazonaws.com/a.pem", R::Path),
        ("https://attacker.tld\\@sns.us-east-1.amazonaws.com/a.pem", R::Characters),
        ("https://attacker.tld\\.sns.us-east-1.amazonaws.com/a.pem", R::Characters),
        ("https://sns.us-east-1.amazonaws.com:8443/a.pem", R::Port),
        ("https://sns.us-east-1.amazonaws.com:443/a.pem", R::Port),
        ("https://sns.us-east-1.amazonaws.com:/a.pem", R::Port),
        ("https://sns.us-east-1.amazonaws.com/a.pem?x=1", R::Query),
        ("https://sns.us-east-1.amazonaws.com/a.pem?", R::Query),
        ("https://sns.us-east-1.amazonaws.com/a.pem#x", R::Fragment),
        // Other spellings of the same host: there is one.
        ("https://sns.us-east-1.amazonaws.com./a.pem", R::Host),
        ("https://SNS.us-east-1.amazonaws.com/a.pem", R::Host),
        ("https://sns.us-east-1.amazonaws%2ecom/a.pem", R::Host),
        ("https://sns..us-east-1.amazonaws.com/a.pem", R::Host),
        ("https://.sns.us-east-1.amazonaws.com/a.pem", R::Host),
        // Addresses of IPv4 and IPv6, in all their spellings.
        ("https://127.0.0.1/a.pem", R::Host),
        ("https://127.1/a.pem", R::Host),
        ("https://2130706433/a.pem", R::Host),
        ("https://0x7f000001/a.pem", R::Host),
        ("https://0x7f.0.0.1/a.pem", R::Host),
        ("https://0177.0.0.1/a.pem", R::Host),
        ("https://017700000001/a.pem", R::Host),
        ("https://169.254.169.254/latest/meta-data/a.pem", R::Host),
        ("https://[::1]/a.pem", R::Host),
        ("https://[::ffff:127.0.0.1]/a.pem", R::Host),
        ("https://[::ffff:7f00:1]/a.pem", R::Host),
        ("https://[fe80::1%25eth0]/a.pem", R::Host),
        ("https://sns.us-east-1.amazonaws.com.127.0.0.1/a.pem", R::Host),
        ("https://localhost/a.pem", R::Host),
        ("https:///a.pem", R::Host),
        // Other schemes, and other spellings of this one.
        ("http://sns.us-east-1.amazonaws.com/a.pem", R::Scheme),
        ("file:///etc/passwd", R::Scheme),
        ("gopher://sns.us-east-1.amazonaws.com/a.pem", R::Scheme),
        ("ftp://sns.us-east-1.amazonaws.com/a.pem", R::Scheme),
        ("data:text/plain,a", R::Scheme),
        ("//sns.us-east-1.amazonaws.com/a.pem", R::Scheme),
        ("HTTPS://sns.us-east-1.amazonaws.com/a.pem", R::Scheme),
        ("https:/sns.us-east-1.amazonaws.com/a.pem", R::Scheme),
        ("https:sns.us-east-1.amazonaws.com/a.pem", R::Scheme),
        (" https://sns.us-east-1.amazonaws.com/a.pem", R::Scheme),
        ("https://sns.us-east-1.amazonaws.com /a.pem", R::Characters),
        ("https://sns.us-east-1.amazonaws.com/a.pem\r\nHost: attacker.tld", R::Characters),
        ("https://sns.us-east-1.amazonaws.com\r\n/a.pem", R::Characters),
        ("https://sns.us-east-1.amazonaws.com/a\0.pem", R::Characters),
        ("https://sns.us-\teast-1.amazonaws.com/a.pem", R::Characters),
        // Other paths.
        ("https://sns.us-east-1.amazonaws.com", R::Path),
        ("https://sns.us-east-1.amazonaws.com/", R::ForeignPath),
        ("https://sns.us-east-1.amazonaws.com/.pem", R::ForeignPath),
        ("https://sns.us-east-1.amazonaws.com/a.pem/b", R::ForeignPath),
        ("https://sns.us-east-1.amazonaws.com//a.pem", R::ForeignPath),
        ("https://sns.us-east-1.amazonaws.com/b/a.pem", R::ForeignPath),
        ("https://sns.us-east-1.amazonaws.com/../a.pem", R::Path),
        ("https://sns.us-east-1.amazonaws.com/%2e%2e/a.pem", R::Path),
        ("https://sns.us-east-1.amazonaws.com/a%2fb.pem", R::Path),
        ("https://sns.us-east-1.amazonaws.com/a.pem%00", R::Path),
    ];

    #[test]
    fn every_trick_that_leads_elsewhere_is_refused() {
        let pem = "/SimpleNotificationService-a.pem";
        for (url, why) in TRICKS {
            assert_eq!(sns().check(url), Err(*why), "{url:?}");
        }
        assert!(
            sns().check(&format!("https://sns.us-east-1.amazonaws.com{pem}{}", "a".repeat(2_048))).is_err()
        );
        for url in [
            "https://api.paypal.com/v1/notifications/certs/",
            "https://api.paypal.com/v1/notifications/certs/../../oauth2/token",
            "https://api.paypal.com/v1/notifications/certs/a/b",
            "https://www.paypal.com/v1/notifications/certs/CERT-a",
            "https://api.paypal.com.attacker.tld/v1/notifications/certs/CERT-a",
        ] {
            assert!(paypal().check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_rule_that_allows_too_much_is_none() {
        let rule = |host: &str, path: &str| HttpsRule::new(&[host.to_owned()], path);
        for host in [
            "*",
            "*.com",
            "com",
            "a.*.com",
            "",
            "a..com",
            "A.example.com",
            "a*.example.com",
            "a.{region}.com",
        ] {
            assert!(rule(host, "/a").is_err(), "{host:?}");
        }
        for path in ["", "a", "/**", "/a*b*c", "/..", "/a?b", "/%2e"] {
            assert!(rule("a.example.com", path).is_err(), "{path:?}");
        }
        assert!(rule("*.example.com", "/keys/*").is_ok());
        assert_eq!(HttpsRule::new(&[], "/a"), Err(RuleError::Empty));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".*", tail in "[ -~]{0,40}") {
            let _ = HttpsUrl::parse(&text);
            let _ = sns().check(&format!("https://{tail}"));
            let _ = paypal().check(&format!("https://api.paypal.com/{tail}"));
        }
    }
}
