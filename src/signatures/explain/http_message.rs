//! Room `signatures`: an HTTP message signature, step by step: which signature counts, what it covers and when it was made,
//! whether the digest is that of the body, the signature base, and by which key.

use sfv::{BareItem, Dictionary, ListEntry};
use sha2::{Digest, Sha256, Sha512};

use super::{
    Step, digests,
    known_keys::Made,
    mistakes::addresses,
    shown::{distance, from_now, human, printable, shortened, with_hint},
    tried::{Tried, is_der},
};
use crate::{
    model::{PublicUrl, RawRequest, Timestamp},
    signatures::{
        JwsAlgorithm, Key, Scheme, SignatureError,
        http_message::{
            CONTENT_DIGEST, HttpMessage,
            components::value,
            input::{self, Input, Signed, dictionary},
            name_of,
        },
    },
};

/// How many bytes of a signature base are shown: what is signed is seldom more.
const SHOWN_BASE_BYTES: usize = 1_200;

/// Everything but the verdict.
pub(super) fn explain(
    rules: &HttpMessage,
    scheme: &Scheme,
    keys: &[Key],
    request: &RawRequest,
    now: Timestamp,
) -> Vec<Step> {
    let (label, Signed { input, signature }) = match chosen(rules, request) {
        Ok(chosen) => chosen,
        Err(step) => return vec![step],
    };
    let found = format!("{label:?}, {} bytes", signature.len());
    let mut steps = vec![Step::new(true, "signature", found), components(rules, &input)];
    steps.push(parameters(rules, &input));
    steps.extend(times(rules, &input, now));
    steps.extend(digest(rules, &input, request));
    match rules.base(&input, request) {
        Err(error) => steps.push(no_base(rules, &input, request, error)),
        Ok(base) => {
            steps.push(Step::new(true, "signature base", shortened(&base, SHOWN_BASE_BYTES)));
            let made = Made { algorithm: rules.algorithm, signed: &base, signature: &signature };
            let own = made.steps(scheme, keys, now, |key| another_id(&input, key));
            let none = !own.is_empty() && own.iter().all(|step| !step.ok);
            steps.extend(own);
            if none {
                let tried = Instead { rules, input: &input, request, label: &label };
                steps.push(Step::new(false, "common mistakes", tried.told(made, scheme, keys, base.clone())));
            }
        }
    }
    steps
}

/// The one signature that counts, and its label.
fn chosen(rules: &HttpMessage, request: &RawRequest) -> Result<(String, Signed), Step> {
    let failed = |found: String| Step::new(false, "signature", found);
    let all = input::read(request).map_err(|error| failed(with_hint(error, unread(request))))?;
    let names: Vec<_> = all.iter().map(|(label, one)| named(label, &one.input)).collect();
    let mut meant = all.into_iter().filter(|(label, one)| rules.means(label, &one.input));
    let first = meant.next();
    if let (Some(one), None) = (first, meant.next()) {
        return Ok(one);
    }
    let wanted = match (&rules.label, &rules.tag) {
        (None, None) => "one signature".to_owned(),
        (label, tag) => {
            let label = label.as_ref().map(|label| format!("the label {label:?}"));
            let tag = tag.as_ref().map(|tag| format!("the tag {tag:?}"));
            format!("one with {}", [label, tag].into_iter().flatten().collect::<Vec<_>>().join(" and "))
        }
    };
    Err(failed(format!("there are {}; the scheme means {wanted}", names.join(", "))))
}

fn named(label: &str, input: &Input) -> String {
    let tag = input.tag.as_ref().map(|tag| format!(" (tag {tag:?})"));
    format!("{label:?}{}", tag.unwrap_or_default())
}

/// What the two headers are instead.
fn unread(request: &RawRequest) -> Option<String> {
    let text = |name: &str| {
        let mut lines = request.headers.all(name);
        lines.next().map(|value| String::from_utf8_lossy(&value.0).into_owned())
    };
    let (inputs, signature) = (text("signature-input"), text("signature"));
    if let (None, Some(signature)) = (&inputs, &signature) {
        let old = signature.contains("keyId=") || signature.contains("headers=");
        return Some(if old {
            "the Signature header is that of an old draft (Cavage), which is another standard".to_owned()
        } else {
            "there is no Signature-Input header".to_owned()
        });
    }
    let signature = match (inputs, signature) {
        (None, _) => return Some("there is neither a Signature-Input nor a Signature header".to_owned()),
        (Some(_), None) => return Some("there is no Signature header".to_owned()),
        (Some(_), Some(signature)) => signature,
    };
    if !signature.contains("=:") {
        return Some("the signature has no colons around its base64".to_owned());
    }
    let labels = |name: &str| {
        let labels = dictionary(request, name).ok().flatten()?;
        Some(labels.keys().map(|label| label.as_str().to_owned()).collect::<Vec<_>>().join(", "))
    };
    let (inputs, signatures) = labels("signature-input").zip(labels("signature"))?;
    (inputs != signatures)
        .then(|| format!("Signature-Input has the labels {inputs}, and Signature has {signatures}"))
}

fn components(rules: &HttpMessage, input: &Input) -> Step {
    let there: Vec<&str> = input.components.iter().map(|component| component.text.as_str()).collect();
    let missing: Vec<_> =
        rules.components.iter().filter(|wanted| !there.contains(&wanted.as_str())).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(" ") };
    if missing.is_empty() {
        return Step::new(true, "components", there);
    }
    let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
    Step::new(false, "components", format!("{there}; not covered, and must be: {}", missing.join(" ")))
}

/// What stands behind the components.
fn parameters(rules: &HttpMessage, input: &Input) -> Step {
    let spaces = input.components.len().saturating_sub(1);
    let list = input.components.iter().map(|component| component.text.len()).sum::<usize>() + spaces;
    let said = input.text.get(list + "();".len()..).unwrap_or_default();
    let own = name_of(rules.algorithm);
    let is_foreign = input.algorithm.as_deref().is_some_and(|named| Some(named) != own);
    let found = printable(said);
    if !is_foreign {
        return Step::new(true, "parameters", found);
    }
    let own = own.unwrap_or_default();
    Step::new(false, "parameters", format!("{found}; the scheme's algorithm is {own}, whatever is said"))
}

fn times(rules: &HttpMessage, input: &Input, now: Timestamp) -> Vec<Step> {
    let millis = |said: Option<i64>| {
        let near = |time: Timestamp| distance(time, now) <= rules.tolerance;
        said.and_then(Timestamp::from_millis).filter(|time| near(*time)).map(|_| "it reads as milliseconds")
    };
    let tolerated = human(rules.tolerance);
    let created = match input.created.map(Timestamp::from_seconds) {
        None => Step::new(false, "created", "it is missing: nobody can tell how old the signature is"),
        Some(None) => Step::new(false, "created", with_hint("it is no time", millis(input.created))),
        Some(Some(at)) => {
            let in_time = distance(at, now) <= rules.tolerance;
            let found = format!("{}; {tolerated} is tolerated", from_now(at, now));
            Step::new(in_time, "created", with_hint(found, millis(input.created).filter(|_| !in_time)))
        }
    };
    let expires = input.expires.map(|said| match Timestamp::from_seconds(said) {
        None => Step::new(false, "expires", with_hint("it is no time", millis(input.expires))),
        Some(at) => Step::new(now <= at, "expires", from_now(at, now)),
    });
    [Some(created), expires].into_iter().flatten().collect()
}

/// Whether the digest is that of the body, and is covered.
fn digest(rules: &HttpMessage, input: &Input, request: &RawRequest) -> Option<Step> {
    let covered = input.components.iter().any(|component| component.name == CONTENT_DIGEST);
    let unbound = if covered { "" } else { "; it is not covered, so it proves nothing" };
    let step = |ok: bool, found: String| Some(Step::new(ok, CONTENT_DIGEST, format!("{found}{unbound}")));
    match dictionary(request, CONTENT_DIGEST) {
        Ok(None) if covered || rules.binds_body() => {
            let old = request.headers.all("digest").next().map(|_| "there is a Digest header, the old one");
            Some(Step::new(false, CONTENT_DIGEST, with_hint("it is missing", old)))
        }
        Ok(None) => None,
        Err(error) => {
            let text = request.headers.all(CONTENT_DIGEST).next().map(|value| value.0.clone());
            let bare =
                text.filter(|text| !text.contains(&b':')).map(|_| "it has no colons around its base64");
            step(false, with_hint(error, bare))
        }
        Ok(Some(digests)) => {
            let (ok, found) = compared(&digests, &request.body);
            step(ok, found)
        }
    }
}

fn compared(digests: &Dictionary, body: &[u8]) -> (bool, String) {
    let (mut ok, mut found) = (true, Vec::new());
    for (algorithm, entry) in digests {
        let of_body = match algorithm.as_str() {
            "sha-256" => Sha256::digest(body).to_vec(),
            "sha-512" => Sha512::digest(body).to_vec(),
            _ => continue,
        };
        let ListEntry::Item(item) = entry else { continue };
        let (same, what) = held(&item.bare_item, &of_body, body);
        ok &= same;
        found.push(format!("{algorithm} {what}"));
    }
    if found.is_empty() {
        let names: Vec<&str> = digests.keys().map(|name| name.as_str()).collect();
        return (false, format!("it has {}, and neither sha-256 nor sha-512", names.join(", ")));
    }
    (ok, found.join(", "))
}

fn held(said: &BareItem, of_body: &[u8], body: &[u8]) -> (bool, String) {
    let Some(bytes) = said.as_byte_sequence() else {
        return (false, "has no colons around its base64".to_owned());
    };
    if bytes == of_body {
        return (true, "is that of the body".to_owned());
    }
    let altered = "the body was changed on its way, or it is another's".to_owned();
    let hint = digests::named(bytes, body).unwrap_or(altered);
    (false, format!("is not that of the body: {hint}"))
}

/// The component that cannot be had.
fn no_base(rules: &HttpMessage, input: &Input, request: &RawRequest, error: SignatureError) -> Step {
    let url = rules.public_url.as_deref();
    let missing = input.components.iter().find(|component| value(component, request, url).is_err());
    let missing = missing.map(|component| component.text.as_str()).unwrap_or_default();
    let found = match error {
        SignatureError::NoKey => {
            let hint =
                "nobody said what our address is: set public_url of the endpoint, or intake.public_url";
            format!("{missing}: {hint}")
        }
        error => format!("{missing}: {error}"),
    };
    Step::new(false, "signature base", found)
}

fn another_id(input: &Input, key: &Key) -> Option<String> {
    let named = input.key_id.as_ref().filter(|named| **named != *key.id)?;
    Some(format!("keyid says {named:?}, so it does not count: a secret's id must be the sender's keyid"))
}

/// What may have been signed instead.
struct Instead<'a> {
    rules: &'a HttpMessage,
    input: &'a Input,
    request: &'a RawRequest,
    label: &'a str,
}

impl Instead<'_> {
    fn told(&self, made: Made<'_>, scheme: &Scheme, keys: &[Key], base: Vec<u8>) -> String {
        if is_der(made.algorithm, made.signature) {
            return "the signature is DER, and RFC 9421 has r and s side by side".to_owned();
        }
        let called = |algorithm: JwsAlgorithm| name_of(algorithm).unwrap_or(algorithm.name());
        let tried = Tried {
            algorithm: made.algorithm,
            called,
            messages: self.messages(base),
            signature: made.signature,
        };
        let unexplained = || {
            "no common mistake explains it: another key made it (is it the one of this environment, test or live?), or a \
             covered part of the request was changed on its way"
                .to_owned()
        };
        tried.found(scheme.secret(), keys).unwrap_or_else(unexplained)
    }

    fn messages(&self, base: Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
        let text = String::from_utf8_lossy(&base).into_owned();
        let without_last = text.rsplit_once('\n').map_or("", |(before, _)| before).to_owned();
        let mut messages = vec![("", base)];
        messages.extend(self.elsewhere());
        messages.push(("the base ends in a line break", format!("{text}\n").into_bytes()));
        messages.push(("the base has carriage returns", text.replace('\n', "\r\n").into_bytes()));
        messages.push(("the base has no line of @signature-params", without_last.clone().into_bytes()));
        messages.extend(self.as_received().map(|said| {
            let base = format!("{without_last}\n\"@signature-params\": {said}");
            (
                "the parameters are signed as they stand in Signature-Input, not in their one spelling",
                base.into_bytes(),
            )
        }));
        let mut request = self.request.clone();
        request.method.make_ascii_lowercase();
        messages.extend(self.base(self.rules, &request).map(|base| ("the method is in lower case", base)));
        messages
    }

    /// The base at other addresses than the configured one.
    fn elsewhere(&self) -> Vec<(&'static str, Vec<u8>)> {
        let configured = self.rules.public_url.as_deref().and_then(|url| PublicUrl::parse(url).ok());
        let others = configured.map(|url| addresses(&url, self.request)).unwrap_or_default();
        let at = |url: crate::signatures::url::Url| {
            let mut request = self.request.clone();
            request.target = url.target;
            self.base(&HttpMessage { public_url: Some(url.base), ..self.rules.clone() }, &request)
        };
        others.into_iter().filter_map(|(how, url)| Some((how, at(url)?))).collect()
    }

    fn base(&self, rules: &HttpMessage, request: &RawRequest) -> Option<Vec<u8>> {
        rules.base(self.input, request).ok()
    }

    /// What stands behind the label in Signature-Input, up to the next label of one line.
    fn as_received(&self) -> Option<String> {
        let lines = self.request.headers.all("signature-input");
        let start = format!("{}=", self.label);
        let mut said = lines.filter_map(|line| {
            let text = std::str::from_utf8(&line.0).ok()?.trim();
            Some(text.strip_prefix(&start)?.to_owned())
        });
        said.next()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use crate::{
        model::Secret,
        signatures::{
            explain::{
                explain as told_of,
                tests::{all, differences},
            },
            tests::request,
        },
    };

    const SECRET: &str = "YSBzZWNyZXQgb2Ygc29tZSBsZW5ndGg=";
    const BODY: &str = "{\"id\":\"evt_1\"}";
    const NOW: i64 = 1_700_000_000;
    const COVERED: &str =
        r#"("@method" "@target-uri" "content-digest");created=1699999940;keyid="main";nonce="n-1""#;

    const RULES: &str = r#"
algorithm    = "http-message-signatures"
secret       = { as = "base64" }
http_message = { algorithm = "hmac-sha256", components = ["@method", "@target-uri", "content-digest"] }
tolerance    = "5m"
assurance    = "full"
"#;

    fn digest_of(body: &str) -> String {
        format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
    }

    /// What a sender sends, and where it may be mistaken.
    struct Sender {
        method: &'static str,
        address: String,
        digest: String,
        /// The input that it sends, and the one that it signs.
        input: String,
        signs: String,
        secret: Vec<u8>,
        /// What becomes of the base.
        base: fn(String) -> String,
    }

    impl Sender {
        fn new() -> Self {
            Self {
                method: "POST",
                address: "https://hooks.example/in/acme".to_owned(),
                digest: digest_of(BODY),
                input: COVERED.to_owned(),
                signs: COVERED.to_owned(),
                secret: STANDARD.decode(SECRET).expect("base64"),
                base: |base| base,
            }
        }

        fn of(input: &str) -> Self {
            Self { input: input.to_owned(), signs: input.to_owned(), ..Self::new() }
        }

        fn created(seconds: i64) -> Self {
            Self::of(&COVERED.replace("1699999940", &seconds.to_string()))
        }

        fn digest(digest: String) -> Self {
            Self { digest, ..Self::new() }
        }

        fn at(address: &str) -> Self {
            Self { address: address.to_owned(), ..Self::new() }
        }

        fn signature(&self) -> String {
            let base = format!(
                "\"@method\": {}\n\"@target-uri\": {}\n\"content-digest\": {}\n\"@signature-params\": {}",
                self.method, self.address, self.digest, self.signs
            );
            let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
            STANDARD.encode(hmac::sign(&key, (self.base)(base).as_bytes()))
        }

        fn request(&self) -> RawRequest {
            let headers = [
                ("host", "inside.example"),
                ("content-digest", self.digest.as_str()),
                ("signature-input", &format!("sig1={}", self.input)),
                ("signature", &format!("sig1=:{}:", self.signature())),
            ];
            request("POST", "/in/acme", &headers, BODY)
        }
    }

    fn steps(rules: &str, request: &RawRequest) -> Vec<Step> {
        let scheme = Scheme::parse(rules).unwrap_or_else(|error| panic!("{error:?}"));
        let scheme = scheme.at(PublicUrl::parse("https://hooks.example").ok());
        let key = scheme.key("main", &Secret::new(SECRET)).expect("a key");
        let steps = told_of(&scheme, &[key], request, Timestamp::from_seconds(NOW).expect("in range"));
        let text = format!("{steps:?}");
        assert!(!text.contains(SECRET) && !text.contains("a secret of some length"), "{text}");
        steps
    }

    fn told(stories: impl IntoIterator<Item = (&'static str, RawRequest)>) -> String {
        let told = |(title, request)| format!("== {title}\n{}", differences(&steps(RULES, &request)));
        stories.into_iter().map(told).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_genuine_signature_is_taken_apart() {
        insta::assert_snapshot!(all(&steps(RULES, &Sender::new().request())));
    }

    #[test]
    fn what_was_signed_instead_is_named() {
        let spaced = COVERED.replace("\" \"", "\"  \"");
        let senders = [
            ("another secret", Sender { secret: b"another secret".to_vec(), ..Sender::new() }),
            ("the secret as text", Sender { secret: SECRET.as_bytes().to_vec(), ..Sender::new() }),
            ("a proxy that ends TLS", Sender::at("http://hooks.example/in/acme")),
            ("the host that the proxy asks for", Sender::at("https://inside.example/in/acme")),
            ("a port", Sender::at("https://hooks.example:443/in/acme")),
            ("a slash at the end", Sender::at("https://hooks.example/in/acme/")),
            ("another address", Sender::at("https://evil.example/in/acme")),
            ("the method in lower case", Sender { method: "post", ..Sender::new() }),
            ("a line break at the end", Sender { base: |base| base + "\n", ..Sender::new() }),
            ("carriage returns", Sender { base: |base| base.replace('\n', "\r\n"), ..Sender::new() }),
            ("parameters as they stand", Sender { input: spaced.clone(), signs: spaced, ..Sender::new() }),
            (
                "no line of parameters",
                Sender { base: |base| base.rsplit_once('\n').expect("lines").0.to_owned(), ..Sender::new() },
            ),
        ];
        insta::assert_snapshot!(told(senders.map(|(title, sender)| (title, sender.request()))));
    }

    #[test]
    fn clocks_keys_and_coverage_that_differ_are_told_apart() {
        let senders = [
            ("too old", Sender::created(NOW - 301)),
            ("from the future", Sender::created(NOW + 301)),
            ("in milliseconds", Sender::created(NOW * 1_000)),
            ("no time", Sender::of(&COVERED.replace(";created=1699999940", ""))),
            ("expired", Sender::of(&format!("{COVERED};expires=1699999999"))),
            ("the key of another id", Sender::of(&COVERED.replace("\"main\"", "\"other\""))),
            ("another algorithm is said", Sender::of(&format!("{COVERED};alg=\"ed25519\""))),
            ("the digest is not covered", Sender::of(&COVERED.replace(" \"content-digest\"", ""))),
            ("a covered header is missing", Sender::of(&COVERED.replace("@target-uri", "date"))),
        ];
        insta::assert_snapshot!(told(senders.map(|(title, sender)| (title, sender.request()))));
    }

    #[test]
    fn digests_that_differ_are_told_apart() {
        let hashed = STANDARD.encode(Sha256::digest(BODY));
        let of_hex = STANDARD.encode(hex::encode(Sha256::digest(BODY)));
        let senders = [
            ("another body", Sender::digest(digest_of("{}"))),
            ("a line break at the end", Sender::digest(digest_of(&format!("{BODY}\n")))),
            ("white space in its JSON", Sender::digest(digest_of("{\"id\": \"evt_1\"}"))),
            ("hex in base64", Sender::digest(format!("sha-256=:{of_hex}:"))),
            ("the wrong name", Sender::digest(format!("sha-512=:{hashed}:"))),
            ("no colons", Sender::digest(format!("sha-256={hashed}"))),
            ("only an old algorithm", Sender::digest("md5=:YQ==:".to_owned())),
        ];
        insta::assert_snapshot!(told(senders.map(|(title, sender)| (title, sender.request()))));
    }

    fn without(request: &RawRequest, names: &[&str]) -> RawRequest {
        let mut other = request.clone();
        other.headers.0.retain(|(name, _)| !names.contains(&name.as_str()));
        other
    }

    #[test]
    fn headers_that_are_no_signature_are_told_apart() {
        let good = Sender::new().request();
        let with = |names: &[&str], name: &str, value: &str| {
            let mut other = without(&good, names);
            other.headers.push(name, value.to_owned());
            other
        };
        let old = r#"keyId="main",algorithm="hmac-sha256",headers="(request-target) date",signature="YQ==""#;
        let mut digest = with(&["content-digest"], "digest", "SHA-256=YQ==");
        digest.headers.push("x", "y".to_owned());
        insta::assert_snapshot!(told([
            ("neither header", without(&good, &["signature", "signature-input"])),
            ("no input", without(&good, &["signature-input"])),
            ("no signature", without(&good, &["signature"])),
            ("an old draft", with(&["signature", "signature-input"], "signature", old)),
            ("no colons", with(&["signature"], "signature", "sig1=YQ")),
            ("another label", with(&["signature"], "signature", "sig2=:YQ==:")),
            ("the old digest", digest),
        ]));
        let tagged = RULES.replace("\"content-digest\"] }", "\"content-digest\"], tag = \"acme\" }");
        let told = differences(&steps(&tagged, &good));
        insta::assert_snapshot!(told);
    }
}
