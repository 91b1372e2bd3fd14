//! Room `signatures`: how an endpoint verifies: by one scheme, by the first of several that a request asks for, or by all of
//! several. What selects a scheme is said in data, and its verdict is final: a request that fails it is never tried by
//! a weaker one.

use std::sync::Arc;

use super::{
    Key, KeyError, Needed, Scheme, SignatureError,
    verify::{judge, spend},
};
use crate::model::{
    Assurance, BodyKind, BodyRules, FieldPath, PublicUrl, RawRequest, Root, Secret, Timestamp, Verification,
    VerifiedRequest,
};

/// How an endpoint verifies.
#[derive(Clone, Debug)]
pub struct Schemes {
    pub(super) how: How,
    pub(super) branches: Vec<Branch>,
    pub(super) covers: Vec<String>,
}

/// Which of the schemes counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The only one.
    One,
    /// The first whose `when` holds.
    AnyOf,
    /// Each of them.
    AllOf,
}

/// One of the schemes.
#[derive(Clone, Debug)]
pub struct Branch {
    /// Its name, as secrets have it in `for`; empty for the only one.
    pub name: String,
    /// When it counts; `None`: always.
    pub when: Option<Condition>,
    /// The scheme.
    pub scheme: Arc<Scheme>,
}

/// What a request must show for a scheme to count. Nothing of it is verified yet: it selects, it never vouches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// This header or query parameter is there.
    Present(FieldPath),
    /// This header or query parameter is not there.
    Absent(FieldPath),
    /// Each of these has exactly this text.
    Equals(Vec<(FieldPath, String)>),
}

impl Condition {
    /// Whether it holds; a header that must have a text and stands twice is an error.
    pub fn holds(&self, request: &RawRequest) -> Result<bool, SignatureError> {
        match self {
            Self::Present(path) => Ok(!texts(request, path).is_empty()),
            Self::Absent(path) => Ok(texts(request, path).is_empty()),
            Self::Equals(pairs) => {
                pairs.iter().try_fold(true, |all, (path, wanted)| match texts(request, path).as_slice() {
                    [] => Ok(false),
                    [one] => Ok(all && one == wanted.as_bytes()),
                    _ => Err(SignatureError::Duplicated),
                })
            }
        }
    }
}

/// As `[signature]` writes it.
impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Present(path) => write!(f, "{path} is present"),
            Self::Absent(path) => write!(f, "{path} is absent"),
            Self::Equals(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(path, text)| format!("{path} is {text:?}")).collect();
                f.write_str(&pairs.join(" and "))
            }
        }
    }
}

/// What stands at a header or query parameter, each time it stands there.
fn texts(request: &RawRequest, path: &FieldPath) -> Vec<Vec<u8>> {
    if path.root() == Root::Header {
        let lines = request.headers.0.iter().filter(|(name, _)| name == path.name());
        return lines.map(|(_, value)| value.0.to_vec()).collect();
    }
    let pairs = form_urlencoded::parse(request.query().as_bytes());
    pairs.filter(|(name, _)| name == path.name()).map(|(_, value)| value.into_owned().into_bytes()).collect()
}

impl From<Scheme> for Schemes {
    fn from(scheme: Scheme) -> Self {
        let covers = scheme.covers().to_vec();
        let branch = Branch { name: String::new(), when: None, scheme: Arc::new(scheme) };
        Self { how: How::One, branches: vec![branch], covers }
    }
}

impl Schemes {
    /// Several schemes. What they cover together: of the first whose `when` holds what all cover, of all what any covers.
    pub(super) fn several(how: How, branches: Vec<Branch>) -> Self {
        let mut covers: Vec<String> = Vec::new();
        for part in branches.iter().flat_map(|branch| branch.scheme.covers()) {
            let by_all = branches.iter().all(|branch| branch.scheme.covers().contains(part));
            if (how == How::AllOf || by_all) && !covers.contains(part) {
                covers.push(part.clone());
            }
        }
        Self { how, branches, covers }
    }

    /// Which of the schemes counts.
    pub fn how(&self) -> How {
        self.how
    }

    /// The schemes, in the order in which they are asked.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// The scheme, where there is one.
    pub fn single(&self) -> Option<&Scheme> {
        match self.branches.as_slice() {
            [one] if self.how == How::One => Some(&one.scheme),
            _ => None,
        }
    }

    /// The key of a secret that a handshake taught: it is for the first of the schemes.
    pub fn learnt_key(&self, id: &str, secret: &Secret) -> Result<Key, KeyError> {
        self.branches.first().map_or(Err(KeyError::Empty), |first| first.scheme.key(id, secret))
    }

    /// The place of the scheme that a secret is for; a single one takes those that say nothing.
    pub fn branch_for(&self, name: Option<&str>) -> Option<usize> {
        match (self.how, name) {
            (How::One, None) => Some(0),
            (How::One, Some(_)) => None,
            (_, name) => self.branches.iter().position(|branch| Some(branch.name.as_str()) == name),
        }
    }

    /// How much a verified request is worth at least: of the first whose `when` holds the weakest, of all the strongest.
    pub fn assurance(&self) -> Assurance {
        let all = self.branches.iter().map(|branch| branch.scheme.assurance());
        let of_all = match self.how {
            How::One | How::AnyOf => all.max_by_key(|assurance| weakness(*assurance)),
            How::AllOf => all.min_by_key(|assurance| weakness(*assurance)),
        };
        of_all.unwrap_or(Assurance::None)
    }

    /// What is covered whichever scheme counts.
    pub fn covers(&self) -> &[String] {
        &self.covers
    }

    /// Whether the value at a path is covered whichever scheme counts.
    pub fn covers_path(&self, path: &FieldPath) -> bool {
        let mut each = self.branches.iter().map(|branch| branch.scheme.covers_path(path));
        if self.how == How::AllOf { each.any(|covered| covered) } else { each.all(|covered| covered) }
    }

    /// The split whose items are verified one by one, where a scheme does so. Those of several schemes are the same.
    pub fn signed_items(&self) -> Option<&str> {
        self.branches.iter().find_map(|branch| branch.scheme.signed_items())
    }

    /// Whether the body must be parsed to verify.
    pub fn reads_body(&self) -> bool {
        self.branches.iter().any(|branch| branch.scheme.reads_body())
    }

    /// Whether a scheme looks into fields of a body of this kind.
    pub fn reads_body_as(&self, kind: BodyKind) -> bool {
        self.branches.iter().any(|branch| branch.scheme.reads_body() && branch.scheme.body() == kind)
    }

    /// Whether the body itself is the token that is verified.
    pub fn body_is_token(&self) -> bool {
        self.branches.iter().any(|branch| branch.scheme.body_is_token())
    }

    /// Whether the provider publishes every key, so that the endpoint has none of its own.
    pub fn has_published_keys(&self) -> bool {
        self.branches.iter().all(|branch| branch.scheme.has_published_keys())
    }

    /// What the secrets are for with which keys are asked for by their ids, each once.
    pub fn asks_with(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.branches.iter().flat_map(|branch| branch.scheme.asks_with()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The same schemes at an endpoint that has keys of its own for the schemes at these places: for those it asks for none.
    #[must_use]
    pub fn with_own_keys(&self, places: &[usize]) -> Self {
        let mut schemes = self.clone();
        for (_, branch) in schemes.branches.iter_mut().enumerate().filter(|(at, _)| places.contains(at)) {
            if branch.scheme.asks() {
                branch.scheme = Arc::new(Scheme::clone(&branch.scheme).with_own_keys());
            }
        }
        schemes
    }

    /// The published keys that a request needs, each with the place of its scheme: of the one that counts, or of all. A scheme
    /// that has keys among `pinned` needs none.
    pub fn needs(
        &self,
        pinned: &[Key],
        request: &RawRequest,
    ) -> Result<Vec<(usize, Needed)>, SignatureError> {
        if !self.branches.iter().any(|branch| branch.scheme.has_published_keys()) {
            return Ok(Vec::new());
        }
        let places = match self.how {
            How::AllOf => 0..self.branches.len(),
            How::One | How::AnyOf => self.selected(request).map(|at| at..at + 1)?,
        };
        let needed = places.filter(|at| keys_of(pinned, *at).is_empty());
        let needed = needed.map(|at| Ok(self.branches[at].scheme.needs(request)?.map(|needed| (at, needed))));
        needed.filter_map(Result::transpose).collect()
    }

    /// Whether a scheme signs the endpoint's public address.
    pub fn signs_url(&self) -> bool {
        self.branches.iter().any(|branch| branch.scheme.signs_url())
    }

    /// The same schemes at a public address.
    #[must_use]
    pub fn at(&self, url: Option<&PublicUrl>) -> Self {
        self.map(|scheme| scheme.at(url.cloned()))
    }

    /// Whether a scheme signs the endpoint's public address, and nobody said which that is.
    pub fn lacks_url(&self) -> bool {
        self.branches.iter().any(|branch| branch.scheme.lacks_url())
    }

    /// The same schemes, reading bodies as the desk does.
    #[must_use]
    pub fn reading(&self, rules: &BodyRules) -> Self {
        self.map(|scheme| scheme.reading(rules.clone()))
    }

    fn map(&self, change: impl Fn(Scheme) -> Scheme) -> Self {
        let changed = |branch: &Branch| {
            let scheme = Arc::new(change(Scheme::clone(&branch.scheme)));
            Branch { scheme, ..branch.clone() }
        };
        Self { branches: self.branches.iter().map(changed).collect(), ..self.clone() }
    }

    /// Verifies a request; it is given back on failure so that it can be described.
    pub fn verify(
        &self,
        keys: &[Key],
        request: RawRequest,
        now: Timestamp,
    ) -> Result<VerifiedRequest, Box<(RawRequest, SignatureError)>> {
        match self.judge(keys, &request, now) {
            Ok(verification) => Ok(VerifiedRequest::attest(request, verification)),
            Err(error) => Err(Box::new((request, error))),
        }
    }

    /// The verdict on a request, which stays where it is.
    pub(super) fn judge(
        &self,
        keys: &[Key],
        request: &RawRequest,
        now: Timestamp,
    ) -> Result<Verification, SignatureError> {
        match self.how {
            How::AllOf => self.judge_all(keys, request, now),
            How::One | How::AnyOf => {
                let selected = self.selected(request);
                let at = selected.inspect_err(|_| self.spend(keys, request))?;
                judge(&self.branches[at].scheme, keys_of(keys, at), request, now)
            }
        }
    }

    /// The place of the scheme that counts for a request: the first whose `when` holds.
    pub fn selected(&self, request: &RawRequest) -> Result<usize, SignatureError> {
        for (at, branch) in self.branches.iter().enumerate() {
            let Some(when) = &branch.when else { return Ok(at) };
            if when.holds(request)? {
                return Ok(at);
            }
        }
        Err(SignatureError::Missing)
    }

    /// Each scheme is asked, whatever the others said; the first failure is the verdict.
    fn judge_all(
        &self,
        keys: &[Key],
        request: &RawRequest,
        now: Timestamp,
    ) -> Result<Verification, SignatureError> {
        let each = self.branches.iter().enumerate();
        let verdicts = each.map(|(at, branch)| judge(&branch.scheme, keys_of(keys, at), request, now));
        let verdicts: Vec<_> = verdicts.collect();
        let held = verdicts.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut ids: Vec<_> = held.into_iter().filter_map(|one| one.secret_id).collect();
        // One secret may be for several.
        ids.dedup();
        Ok(Verification { assurance: self.assurance(), secret_id: Some(ids.join("+").into()) })
    }

    fn spend(&self, keys: &[Key], request: &RawRequest) {
        if let Some(first) = self.branches.first() {
            spend(first.scheme.algorithm(), keys_of(keys, 0), request);
        }
    }
}

/// The keys of one scheme: they stand together, in the order of the schemes.
pub fn keys_of(keys: &[Key], branch: usize) -> &[Key] {
    let from = keys.partition_point(|key| key.branch() < branch);
    let to = keys.partition_point(|key| key.branch() <= branch);
    &keys[from..to]
}

/// The order of assurances, the strongest first.
fn weakness(assurance: Assurance) -> u8 {
    match assurance {
        Assurance::Full => 0,
        Assurance::Body => 1,
        Assurance::Partial => 2,
        Assurance::Origin => 3,
        Assurance::Token => 4,
        Assurance::None => 5,
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::*;
    use crate::{model::Headers, signatures::Encoding};

    /// GitLab's way: a token of old, and a signature for those who have set one up.
    const ANY: &str = r#"
any_of = [
  { name = "signing", when = { present = "header.s" }, algorithm = "hmac-sha256", secret = { as = "text" },
    value = { path = "header.s", as = "hex" }, message = "{body}", assurance = "full" },
  { name = "token", algorithm = "token", value = { path = "header.x-token" }, assurance = "token" },
]
"#;

    /// Adyen's way: a signature, and basic authentication beside it.
    fn all() -> String {
        ANY.replace("any_of", "all_of").replace(" when = { present = \"header.s\" },", "")
    }

    fn request(headers: &[(&str, &str)]) -> RawRequest {
        let mut all = Headers::default();
        for (name, value) in headers {
            all.push(name, value.to_string());
        }
        RawRequest {
            method: "POST".to_owned(),
            target: "/in/x?mode=subscribe".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: all,
            body: "{}".into(),
            peer: None,
        }
    }

    fn keys() -> Vec<Key> {
        vec![
            Key::unchecked("a", "a key of some length").in_branch(0),
            Key::unchecked("b", "a-token").in_branch(1),
        ]
    }

    fn signature(key: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length");
        mac.update(b"{}");
        hex::encode(mac.finalize().into_bytes())
    }

    fn verdict(schemes: &str, headers: &[(&str, &str)]) -> Result<(Arc<str>, Assurance), &'static str> {
        let schemes = Schemes::parse(schemes).expect("schemes");
        let now = Timestamp::from_seconds(1_700_000_000).expect("in range");
        let judged = schemes.judge(&keys(), &request(headers), now);
        judged.map(|held| (held.secret_id.unwrap_or_default(), held.assurance)).map_err(|error| error.code())
    }

    #[test]
    fn the_first_whose_condition_holds_decides_alone() {
        let good = signature("a key of some length");
        assert_eq!(verdict(ANY, &[("s", &good)]), Ok(("a".into(), Assurance::Full)));
        assert_eq!(verdict(ANY, &[("x-token", "a-token")]), Ok(("b".into(), Assurance::Token)));
        assert_eq!(verdict(ANY, &[("x-token", "another")]), Err("signature_mismatch"));
        assert_eq!(verdict(ANY, &[]), Err("signature_missing"));
    }

    #[test]
    fn a_stronger_signature_that_fails_is_never_made_good_by_a_token() {
        let bad = signature("another key of some length");
        for shown in [bad.as_str(), "", "x"] {
            let refused = verdict(ANY, &[("s", shown), ("x-token", "a-token")]);
            assert!(refused.is_err_and(|code| code.starts_with("signature_m")), "{shown:?}");
        }
    }

    #[test]
    fn a_key_of_one_scheme_is_none_of_another() {
        let with_token = signature("a-token");
        assert_eq!(verdict(ANY, &[("s", &with_token)]), Err("signature_mismatch"));
        assert_eq!(verdict(ANY, &[("x-token", "a key of some length")]), Err("signature_mismatch"));
    }

    #[test]
    fn each_of_all_must_hold() {
        let (all, good) = (all(), signature("a key of some length"));
        let both = [("s", good.as_str()), ("x-token", "a-token")];
        assert_eq!(verdict(&all, &both), Ok(("a+b".into(), Assurance::Full)));
        assert_eq!(verdict(&all, &both[..1]), Err("signature_missing"));
        assert_eq!(verdict(&all, &both[1..]), Err("signature_missing"));
        assert_eq!(verdict(&all, &[both[0], ("x-token", "another")]), Err("signature_mismatch"));
    }

    #[test]
    fn conditions_look_at_headers_and_the_query() {
        let holds = |when: Condition, headers: &[(&str, &str)]| when.holds(&request(headers));
        let path = |text| FieldPath::parse(text).expect("a path");
        let equals = |name, text: &str| Condition::Equals(vec![(path(name), text.to_owned())]);
        assert_eq!(holds(Condition::Absent(path("header.s")), &[]), Ok(true));
        assert_eq!(holds(Condition::Present(path("header.s")), &[("s", ""), ("s", "")]), Ok(true));
        assert_eq!(holds(equals("header.v", "v3"), &[("v", "v3")]), Ok(true));
        assert_eq!(holds(equals("header.v", "v3"), &[("v", "V3")]), Ok(false));
        assert_eq!(
            holds(equals("header.v", "v3"), &[("v", "v3"), ("v", "v1")]),
            Err(SignatureError::Duplicated)
        );
        assert_eq!(holds(equals("query.mode", "subscribe"), &[]), Ok(true));
    }

    #[test]
    fn several_promise_no_more_than_the_weakest_of_them() {
        let (any, all) = (Schemes::parse(ANY).expect("schemes"), Schemes::parse(&all()).expect("schemes"));
        let body = FieldPath::parse("body.id").expect("a path");
        assert_eq!((any.assurance(), any.covers_path(&body)), (Assurance::Token, false));
        assert_eq!((all.assurance(), all.covers_path(&body)), (Assurance::Full, true));
        assert!(any.covers().is_empty() && any.single().is_none());
        assert_eq!(all.covers(), ["body"]);
        assert_eq!((any.branch_for(Some("token")), any.branch_for(None)), (Some(1), None));
        assert_eq!(any.branches()[1].scheme.value().form, Encoding::Text);
    }
}
