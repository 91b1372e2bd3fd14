//! How long it takes to verify one request of 2 KB, algorithm by algorithm over the raw body and for some presets of all
//! shapes, beside what aws-lc takes for the bare primitive over the same body under the same key, made before on both sides.
//! `cargo bench --bench verify`; `-- stripe` measures only what has that in its name.
//!
//! Both sides run in turn, in rounds of a fraction of a millisecond, and of each the tenth percentile of its rounds is told: what
//! else runs on a machine only ever makes a round longer, so the rounds least disturbed are the truthful ones. Read the ratios.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints, and ends when something is not as it must be"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use aws_lc_rs::{hmac, signature::UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use douane::{
    cli::{sign::sign, signing_key::SigningKey},
    model::{Headers, PublicUrl, RawRequest, Secret, Timestamp},
    signatures::{Algorithm, Key, Scheme, Schemes, presets},
};

const BODY_BYTES: usize = 2_048;
/// A round lasts at least this long: far longer than reading the clock, far shorter than a turn of other programs.
const ROUND: Duration = Duration::from_micros(200);
/// How long a subject is measured, both sides together.
const MEASURED: Duration = Duration::from_secs(1);
const SECRET: &str = "a secret of some length, as they are";

/// Presets whose signatures are HMACs, one of each shape: base64, hex behind a prefix, two ways to sign the time too, a tagged
/// list, and the address.
const PRESETS: [&str; 6] = ["shopify", "github", "slack", "stripe", "standard-webhooks", "square"];

/// A request and who verifies it.
struct Subject {
    name: String,
    algorithm: Algorithm,
    schemes: Schemes,
    key: Key,
    request: RawRequest,
    signature: Vec<u8>,
}

impl Subject {
    /// A scheme over the raw body.
    fn plain(algorithm: Algorithm) -> Self {
        let private = SigningKey::generated(algorithm);
        let (form, message) = match (&private, algorithm) {
            (Some(_), _) => ("pem", "{body}"),
            (None, Algorithm::Md5 | Algorithm::Sha256 | Algorithm::Keccak256) => ("text", "{secret}{body}"),
            _ => ("text", "{body}"),
        };
        let scheme = Scheme::parse(&format!(
            "algorithm = \"{algorithm}\"\nsecret = {{ as = \"{form}\" }}\nmessage = \"{message}\"\n\
             value = {{ path = \"header.s\", as = \"base64\" }}\nassurance = \"full\"\n"
        ))
        .expect("a scheme");
        let mut request = request();
        let Some(private) = private else {
            let key = scheme.key("k", &Secret::new(SECRET)).expect("a key");
            return Self::signed(algorithm.to_string(), scheme, key, request);
        };
        let SigningKey::Private { der, .. } = &private else { unreachable!("a private key was made") };
        let text = Secret::new(STANDARD.encode(der));
        let key = scheme.development_key("k", &text).expect("its half");
        sign(&scheme, private, &mut request, now()).expect("signed");
        let signature = request.headers.0.last().expect("a signature").1.0.clone();
        let signature = STANDARD.decode(signature).expect("base64");
        Self { name: algorithm.to_string(), algorithm, schemes: scheme.into(), key, request, signature }
    }

    /// A preset, with the headers of its sample delivery.
    fn preset(name: &str) -> Self {
        let preset = presets::find(name).expect("a preset");
        let sample = preset.sample().expect("a sample");
        let url = PublicUrl::parse("https://hooks.example.com").expect("an address");
        let scheme = preset.scheme().expect("a scheme").at(Some(url));
        let key = scheme.key("k", &Secret::new(sample.secrets[0].development.as_str())).expect("a key");
        let mut request = request();
        for (name, value) in sample.headers {
            request.headers.0.retain(|(known, _)| *known != name.to_ascii_lowercase());
            request.headers.push(&name, value);
        }
        Self::signed(format!("{} as {name}", scheme.algorithm()), scheme, key, request)
    }

    /// A request that a secret signs.
    fn signed(name: String, scheme: Scheme, key: Key, mut request: RawRequest) -> Self {
        sign(&scheme, &key, &mut request, now()).expect("signed");
        let algorithm = scheme.algorithm();
        Self { name, algorithm, schemes: scheme.into(), key, request, signature: Vec::new() }
    }

    /// Our verdict; the request comes back, for the next one.
    fn verify(&self, request: RawRequest) -> RawRequest {
        let keys = std::slice::from_ref(&self.key);
        let verified = self.schemes.verify(keys, request, now()).expect("it holds");
        black_box(&verified);
        verified.into_parts().0
    }

    /// What aws-lc takes for the body.
    fn bare(&self) -> Option<Box<dyn Fn() + '_>> {
        use aws_lc_rs::signature as of;
        let body = self.request.body.clone();
        let with = match self.algorithm {
            Algorithm::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::HmacSha256 => hmac::HMAC_SHA256,
            Algorithm::HmacSha384 => hmac::HMAC_SHA384,
            Algorithm::HmacSha512 => hmac::HMAC_SHA512,
            _ => {
                let with: &'static dyn of::VerificationAlgorithm = match self.algorithm {
                    Algorithm::Ed25519 => &of::ED25519,
                    Algorithm::EcdsaP256Sha256 => &of::ECDSA_P256_SHA256_ASN1,
                    Algorithm::EcdsaP384Sha384 => &of::ECDSA_P384_SHA384_ASN1,
                    Algorithm::RsaPkcs1Sha256 => &of::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::RsaPssSha512 => &of::RSA_PSS_2048_8192_SHA512,
                    _ => return None,
                };
                let spki = self.key.public_der().expect("a public key");
                let key = UnparsedPublicKey::new(with, spki).parse().expect("a key");
                return Some(Box::new(move || key.verify_sig(&body, &self.signature).expect("it holds")));
            }
        };
        let key = hmac::Key::new(with, self.key.secret_bytes().expect("a secret"));
        let tag = hmac::sign(&key, &body);
        Some(Box::new(move || hmac::verify(&key, &body, tag.as_ref()).expect("it holds")))
    }
}

fn request() -> RawRequest {
    let mut body = br#"{"id":"evt_1","data":""#.to_vec();
    body.resize(BODY_BYTES - 2, b'x');
    body.extend(b"\"}");
    let mut headers = Headers::default();
    for (name, value) in
        [("host", "hooks.example.com"), ("content-type", "application/json"), ("user-agent", "x/1")]
    {
        headers.push(name, value.to_owned());
    }
    RawRequest {
        method: "POST".to_owned(),
        target: "/in/acme".to_owned(),
        version: "HTTP/1.1".to_owned(),
        headers,
        body: body.into(),
        peer: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000).expect("in range")
}

/// Nanoseconds of one call of each.
fn nanoseconds<const N: usize>(mut calls: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut count: u32 = 1;
    while calls.iter_mut().any(|call| time(call, count) < ROUND) {
        count *= 2;
    }
    let mut rounds = [const { Vec::new() }; N];
    let start = Instant::now();
    while start.elapsed() < MEASURED {
        for (call, rounds) in calls.iter_mut().zip(&mut rounds) {
            rounds.push(time(call, count));
        }
    }
    rounds.map(|mut rounds| {
        rounds.sort();
        rounds[rounds.len() / 10].as_secs_f64() * 1e9 / f64::from(count)
    })
}

fn time(call: &mut dyn FnMut(), count: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        call();
    }
    start.elapsed()
}

fn main() {
    println!("{:<32} {:>12} {:>12} {:>12} {:>7}", "2 KB", "verified ns", "ns per KB", "aws-lc ns", "ratio");
    let plain = [
        Algorithm::HmacSha1,
        Algorithm::HmacSha256,
        Algorithm::HmacSha384,
        Algorithm::HmacSha512,
        Algorithm::Md5,
        Algorithm::Sha256,
        Algorithm::Keccak256,
        Algorithm::Ed25519,
        Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384,
        Algorithm::RsaPkcs1Sha256,
        Algorithm::RsaPssSha512,
    ];
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted =
        |subject: &Subject| wanted.is_empty() || wanted.iter().any(|part| subject.name.contains(part));
    let subjects = plain.into_iter().map(Subject::plain).chain(PRESETS.into_iter().map(Subject::preset));
    subjects.filter(is_wanted).for_each(|subject| measure(&subject));
}

fn measure(subject: &Subject) {
    let mut request = Some(subject.request.clone());
    let mut ours = || request = request.take().map(|request| subject.verify(request));
    let (ours, bare) = match subject.bare() {
        Some(mut bare) => {
            let [ours, bare] = nanoseconds([&mut ours, &mut bare]);
            (ours, Some(bare))
        }
        None => (nanoseconds([&mut ours])[0], None),
    };
    let ratio = bare.map_or_else(|| "-".to_owned(), |bare| format!("{:.2}", ours / bare));
    let bare = bare.map_or_else(|| "-".to_owned(), |bare| format!("{bare:.0}"));
    println!("{:<32} {ours:>12.0} {:>12.0} {bare:>12} {ratio:>7}", subject.name, ours / 2.0);
}
