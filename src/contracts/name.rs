//! Room `contracts`: what a contract file's path says: `contracts/<context>/<Event>.v<major>.<minor>.json`.

/// The name of one contract version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ContractName {
    /// `payments`
    pub context: String,
    /// `PaymentCaptured`
    pub event: String,
    /// Consumers of one major are never broken.
    pub major: u32,
    /// Within a major the newest counts.
    pub minor: u32,
}

impl ContractName {
    /// What the path says; `None` when it is no contract's.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (context, file) = path.strip_prefix("contracts/")?.split_once('/')?;
        let (event, version) = file.strip_suffix(".json")?.split_once(".v")?;
        let (major, minor) = version.split_once('.')?;
        let name = Self {
            context: is_context(context).then(|| context.to_owned())?,
            event: is_event(event).then(|| event.to_owned())?,
            major: number(major).filter(|major| *major > 0)?,
            minor: number(minor)?,
        };
        Some(name)
    }

    /// `payments.PaymentCaptured.v1`: what mappings emit and consumers subscribe to.
    pub(super) fn event_type(&self) -> String {
        format!("{}.{}.v{}", self.context, self.event, self.major)
    }
}

fn is_context(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_event(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// A number as people write it: no sign, no leading zero, so that one version has one name.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_path() {
        let name = ContractName::of("contracts/payments/PaymentCaptured.v1.12.json").expect("a name");
        assert_eq!((name.event_type().as_str(), name.minor), ("payments.PaymentCaptured.v1", 12));
    }

    #[test]
    fn refuses_what_is_no_contracts_path() {
        for path in [
            "payments/PaymentCaptured.v1.0.json",
            "contracts/PaymentCaptured.v1.0.json",
            "contracts/payments/sub/PaymentCaptured.v1.0.json",
            "contracts/Payments/PaymentCaptured.v1.0.json",
            "contracts/payments/paymentCaptured.v1.0.json",
            "contracts/payments/Payment_Captured.v1.0.json",
            "contracts/payments/PAYMENT.v1.0.json",
            "contracts/payments/PaymentCaptured.v1.json",
            "contracts/payments/PaymentCaptured.v0.1.json",
            "contracts/payments/PaymentCaptured.v01.0.json",
            "contracts/payments/PaymentCaptured.v1.+1.json",
            "contracts/payments/PaymentCaptured.v1.0.yaml",
        ] {
            assert_eq!(ContractName::of(path), None, "{path}");
        }
    }
}
