//! Room `signatures`: the claims of a token, one by one: what each says, what it must be, and how the two differ. Only claims
//! that the scheme holds against something and the registered ones (RFC 7519) are shown by value: others may be the
//! business of whoever the token is about.

use std::time::Duration;

use vrl::value::{KeyString, ObjectMap, Value};

use super::{
    Step, digests,
    mistakes::{addresses, all_of},
    shown::{distance, from_now, human, printable, value, with_hint},
};
use crate::{
    model::{PublicUrl, RawRequest, Timestamp, strict_json},
    signatures::{
        SignatureError,
        jose::claims::{Bound, Claim, Claims, OR, time},
        jwt::Jwt,
        url::Url,
    },
};

/// Claims that say who and for whom.
const SHOWN: [&str; 4] = ["iss", "sub", "aud", "jti"];

/// What the claims say of a request.
pub(super) fn explain(
    jwt: &Jwt,
    rules: &Claims,
    payload: Option<&[u8]>,
    request: &RawRequest,
    now: Timestamp,
) -> Vec<Step> {
    let Some(payload) = payload else {
        return vec![Step::new(false, "claims", "the payload is not base64url")];
    };
    let said = match strict_json::read(payload) {
        Ok(Value::Object(said)) => said,
        Ok(_) => return vec![Step::new(false, "claims", "the payload is no JSON object")],
        Err(error) => return vec![Step::new(false, "claims", format!("the payload is no JSON: {error}"))],
    };
    let names: Vec<&str> = said.keys().map(KeyString::as_str).collect();
    let mut steps = vec![Step::new(true, "claims", printable(&names.join(", ")))];
    let is_ruled = |name: &str| rules.rules.iter().any(|(ruled, _)| ruled == name);
    let others = SHOWN.into_iter().filter(|name| !is_ruled(name));
    steps.extend(others.filter_map(|name| {
        let said = said.get(name)?;
        Some(Step::new(true, format!("claim {name}"), format!("{}; it is held against nothing", value(said))))
    }));
    let held = |(name, claim): &(String, Claim)| {
        let against = Against { jwt, claim, request };
        // Under whichever of its names the token has it: each that is there must hold.
        let there: Vec<_> = name.split(OR).filter_map(|name| Some((name, said.get(name)?))).collect();
        if there.is_empty() {
            return vec![against.missing(name)];
        }
        there.into_iter().map(|(name, said)| against.step(name, said)).collect()
    };
    steps.extend(rules.rules.iter().flat_map(held));
    steps.extend(Times { rules, said: &said, now }.steps());
    steps
}

/// A claim and what it is held against.
struct Against<'a> {
    jwt: &'a Jwt,
    claim: &'a Claim,
    request: &'a RawRequest,
}

impl Against<'_> {
    fn missing(&self, name: &str) -> Step {
        Step::new(false, format!("claim {name}"), format!("it is missing, and must be {}", self.wanted()))
    }

    fn step(&self, name: &str, said: &Value) -> Step {
        let what = format!("claim {name}");
        let wanted = self.wanted();
        match self.claim.is(said, self.request, self.jwt.public_url.as_deref()) {
            Ok(true) if matches!(self.claim, Claim::Bound(_)) => {
                Step::new(true, what, format!("it is {wanted}"))
            }
            Ok(true) => Step::new(true, what, format!("{}, as it must be", value(said))),
            Ok(false) => {
                let found = format!("{}, and must be {wanted}", value(said));
                Step::new(false, what, with_hint(found, self.hint(said)))
            }
            Err(SignatureError::NoKey) => {
                let found =
                    "nobody said what our address is: set public_url of the endpoint, or intake.public_url";
                Step::new(false, what, found)
            }
            Err(error) => Step::new(false, what, error.to_string()),
        }
    }

    fn wanted(&self) -> String {
        let bound = match self.claim {
            Claim::Text(text) => return format!("{text:?}"),
            Claim::Truth(truth) => return truth.to_string(),
            Claim::Integer(number) => return number.to_string(),
            Claim::Bound(bound) => bound,
        };
        let url = || format!("{}{}", self.jwt.public_url.as_deref().unwrap_or_default(), self.request.target);
        match bound {
            Bound::BodySha256 => "the SHA-256 of the body in hex".to_owned(),
            Bound::BodySha256Base64 => "the SHA-256 of the body in base64".to_owned(),
            Bound::Url => format!("the address, {:?}", url()),
            Bound::UrlSha256 => format!("the SHA-256 in hex of the address, {:?}", url()),
            Bound::QueryStringHash => {
                "the hash of method, path and query that Atlassian calls qsh".to_owned()
            }
        }
    }

    fn hint(&self, said: &Value) -> Option<String> {
        match self.claim {
            Claim::Text(wanted) => alike(said, wanted).map(str::to_owned),
            Claim::Truth(truth) => {
                let text = said.as_bytes().is_some_and(|said| *said == truth.to_string().as_bytes());
                text.then(|| "it is a text, not a truth value".to_owned())
            }
            Claim::Integer(number) => {
                let text = said.as_bytes().is_some_and(|said| *said == number.to_string().as_bytes());
                text.then(|| "it is a text, not a number".to_owned())
            }
            Claim::Bound(bound) if bound.is_of_body() => Some(of_body(said, &self.request.body)),
            Claim::Bound(bound) => self.of_address(*bound, said),
        }
    }

    /// The other address that a claim is about.
    fn of_address(&self, bound: Bound, said: &Value) -> Option<String> {
        let configured = PublicUrl::parse(self.jwt.public_url.as_deref()?).ok()?;
        let others = addresses(&configured, self.request);
        let is = |(_, url): &&(&str, Url)| {
            let mut request = self.request.clone();
            request.target.clone_from(&url.target);
            bound
                .of(&request, Some(&url.base))
                .is_ok_and(|other| said.as_bytes().is_some_and(|said| *said == other.as_bytes()))
        };
        others.iter().find(is).map(|(how, _)| (*how).to_owned())
    }
}

/// How a text differs that is nearly the one it must be.
fn alike(said: &Value, wanted: &str) -> Option<&'static str> {
    let Value::Bytes(said) = said else {
        let is_list = said.as_array().is_some_and(|said| said.len() > 1);
        return is_list.then_some("none of them is it");
    };
    let said = String::from_utf8_lossy(said);
    let bare = |text: &str| text.trim_start_matches("https://").trim_start_matches("http://").to_owned();
    Some(match (&*said, wanted) {
        (said, wanted) if said.trim() == wanted.trim() => "white space stands around it",
        (said, wanted) if said.trim_end_matches('/') == wanted.trim_end_matches('/') => {
            "they differ by the slash at the end"
        }
        (said, wanted) if said.eq_ignore_ascii_case(wanted) => "they differ by case",
        (said, wanted) if bare(said) == bare(wanted) => "they differ by http and https",
        _ => return None,
    })
}

fn of_body(said: &Value, body: &[u8]) -> String {
    let altered = || {
        "no spelling of it is: the body was changed on its way (by a proxy or a framework that reads and rewrites it?), or the \
         token is of another request"
            .to_owned()
    };
    said.as_bytes().and_then(|said| digests::named(said, body)).unwrap_or_else(altered)
}

/// The times of a token.
struct Times<'a> {
    rules: &'a Claims,
    said: &'a ObjectMap,
    now: Timestamp,
}

impl Times<'_> {
    fn steps(&self) -> Vec<Step> {
        let (max_age, leeway) = (self.rules.max_age, self.rules.tolerance);
        let must_end = max_age.is_none() && !self.rules.endless;
        let steps = [
            self.step("iat", max_age.is_some(), |made| {
                let old = max_age.map(|most| format!("at most {} old", human(most)));
                let ahead = format!("at most {} ahead", human(leeway));
                let in_time =
                    made.since(self.now) <= leeway && max_age.is_none_or(|most| self.now.since(made) <= most);
                (in_time, all_of(&[&old.unwrap_or_default(), &ahead]))
            }),
            self.step("nbf", false, |begins| {
                (begins.since(self.now) <= leeway, format!("at most {} ahead", human(leeway)))
            }),
            self.step("exp", must_end, |ends| {
                let over = self.now > ends && self.now.since(ends) >= leeway;
                (!over, format!("less than {} ago", human(leeway)))
            }),
        ];
        steps.into_iter().flatten().collect()
    }

    /// The step of one time; `judge` says whether it is in time and what is tolerated.
    fn step(&self, name: &str, needed: bool, judge: impl Fn(Timestamp) -> (bool, String)) -> Option<Step> {
        let what = format!("claim {name}");
        match time(self.said, name) {
            Ok(None) => needed.then(|| Step::new(false, what, "it is missing, and the scheme needs it")),
            Ok(Some(at)) => {
                let (in_time, tolerated) = judge(at);
                let found = format!("{}; {tolerated} is tolerated", from_now(at, self.now));
                let hint = self.other_unit(name).filter(|_| !in_time);
                Some(Step::new(in_time, what, with_hint(found, hint)))
            }
            Err(_) => {
                let said = self.said.get(name).map(value).unwrap_or_default();
                let found = format!("{said} is no time; it is seconds, as a number");
                Some(Step::new(false, what, with_hint(found, self.other_unit(name))))
            }
        }
    }

    /// The reading under which a time would be near.
    fn other_unit(&self, name: &str) -> Option<&'static str> {
        const NEAR: Duration = Duration::from_hours(24);
        let near = |time: Option<Timestamp>| time.is_some_and(|time| distance(time, self.now) <= NEAR);
        match self.said.get(name)? {
            Value::Integer(number) if near(Timestamp::from_millis(*number)) => {
                Some("it reads as milliseconds")
            }
            Value::Bytes(text) => {
                let text = std::str::from_utf8(text).ok()?;
                if near(text.parse().ok().and_then(Timestamp::from_seconds)) {
                    return Some("it is a text");
                }
                near(Timestamp::from_rfc3339(text)).then_some("it reads as RFC 3339")
            }
            _ => None,
        }
    }
}
