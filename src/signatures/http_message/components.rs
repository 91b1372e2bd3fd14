//! Room `signatures`: what a component of a request is (RFC 9421 §2). Where we are is what the configuration says, never
//! what a header of the request says: a signature for somebody else must not hold here.

use base64::{Engine, engine::general_purpose::STANDARD};
use sfv::{FieldType, List};

use super::{
    super::SignatureError,
    input::{Component, Reading, dictionary},
};
use crate::model::RawRequest;

/// The value of a component.
pub(in super::super) fn value(
    component: &Component,
    request: &RawRequest,
    public_url: Option<&str>,
) -> Result<Vec<u8>, SignatureError> {
    if component.name.starts_with('@') {
        return derived(component, request, public_url).map(String::into_bytes);
    }
    let lines: Vec<&[u8]> =
        request.headers.all(&component.name).map(|value| value.0.as_ref().trim_ascii()).collect();
    if lines.is_empty() {
        return Err(SignatureError::Missing);
    }
    match &component.reading {
        Reading::Lines => {
            let lines: Vec<String> =
                lines.iter().map(|line| format!(":{}:", STANDARD.encode(line))).collect();
            Ok(lines.join(", ").into_bytes())
        }
        Reading::Member(member) => {
            let fields = dictionary(request, &component.name)?.ok_or(SignatureError::Missing)?;
            let entry = fields.get(member.as_str()).ok_or(SignatureError::Missing)?.clone();
            let one: List = vec![entry];
            one.serialize().map(String::into_bytes).ok_or(SignatureError::Missing)
        }
        Reading::Plain | Reading::Parameter(_) => Ok(lines.join(&b", "[..])),
    }
}

fn derived(
    component: &Component,
    request: &RawRequest,
    public_url: Option<&str>,
) -> Result<String, SignatureError> {
    // Without our own address nobody can tell whom a signature is for: our fault.
    let base = || public_url.and_then(split).ok_or(SignatureError::NoKey);
    // What a proxy took off the path stands at the end of our address.
    let prefix = public_url.and_then(split).map_or("", |base| base.prefix);
    let target = format!("{prefix}{}", request.target);
    Ok(match (component.name.as_str(), &component.reading) {
        ("@method", Reading::Plain) => request.method.clone(),
        ("@target-uri", Reading::Plain) => {
            let base = base()?;
            format!("{}://{}{target}", base.scheme, base.authority)
        }
        ("@authority", Reading::Plain) => base()?.normal_authority(),
        ("@scheme", Reading::Plain) => base()?.scheme.to_owned(),
        ("@request-target", Reading::Plain) => target,
        ("@path", Reading::Plain) => path(&target).to_owned(),
        ("@query", Reading::Plain) => format!("?{}", request.query()),
        ("@query-param", Reading::Parameter(name)) => parameter(request, name)?,
        _ => return Err(SignatureError::Malformed("a component is not one of a request")),
    })
}

/// Our public address, taken apart.
struct Base<'u> {
    scheme: &'u str,
    authority: &'u str,
    prefix: &'u str,
}

fn split(url: &str) -> Option<Base<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, prefix) = rest.split_at(end);
    Some(Base { scheme, authority, prefix })
}

impl Base<'_> {
    /// In lower case, without the usual port.
    fn normal_authority(&self) -> String {
        let usual = if self.scheme == "http" { ":80" } else { ":443" };
        self.authority.strip_suffix(usual).unwrap_or(self.authority).to_ascii_lowercase()
    }
}

fn path(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    if path.is_empty() { "/" } else { path }
}

/// The value of a parameter that stands once, percent-encoded anew; `name` is encoded in the same way.
fn parameter(request: &RawRequest, name: &str) -> Result<String, SignatureError> {
    let pairs = form_urlencoded::parse(request.query().as_bytes());
    let mut values = pairs.filter(|(known, _)| encode(known) == name).map(|(_, value)| encode(&value));
    let value = values.next().ok_or(SignatureError::Missing)?;
    if values.next().is_some() { Err(SignatureError::Duplicated) } else { Ok(value) }
}

/// As forms are encoded, but a space is `%20`.
fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
