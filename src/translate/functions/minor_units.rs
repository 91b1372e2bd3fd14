//! Room `translate`: `minor_units`, because money goes by decimal text and never through a float.

use iso_currency::Currency;
use vrl::compiler::prelude::*;

const PARAMETERS: &[Parameter] = &[
    Parameter::required("amount", kind::BYTES | kind::INTEGER, "Decimal text (`19.99`, `-5`) or an integer."),
    Parameter::required("currency", kind::BYTES, "The ISO 4217 code, upper case."),
    Parameter::optional(
        "decimals",
        kind::INTEGER,
        "How many decimals of the amount are already counted in it (0 to 9): `4200` with `decimals: 2` is 42.00.",
    ),
];

/// `minor_units(amount, currency, [decimals])`.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinorUnits;

impl Function for MinorUnits {
    fn identifier(&self) -> &'static str {
        "minor_units"
    }

    fn summary(&self) -> &'static str {
        "an amount of money as an integer of the currency's minor units"
    }

    fn usage(&self) -> &'static str {
        "Turns an amount of money into an integer of the currency's minor units by its ISO 4217 exponent (EUR 2, JPY 0, \
         KWD 3). Exact: it never rounds and never goes through a float. Refuses floats, more decimals than the currency \
         has (trailing zeros too: a price in parts of a yen is a misunderstanding), currencies without an exponent \
         (XAU, XXX) and what does not fit 64 bits. Some payment providers count in minor units of their own where ISO \
         4217 says otherwise (two decimals for CLP or ISK, for example): give their exponent as `decimals`, and a \
         whole amount comes out by ISO 4217."
    }

    fn category(&self) -> &'static str {
        Category::Convert.as_ref()
    }

    fn internal_failure_reasons(&self) -> &'static [&'static str] {
        &[
            "the amount is no decimal text or integer",
            "the currency is unknown",
            "the amount is not a whole number of minor units",
        ]
    }

    fn return_kind(&self) -> u16 {
        kind::INTEGER
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn examples(&self) -> &'static [Example] {
        &[
            example! { title: "decimal text", source: r#"minor_units!("19.99", "EUR")"#, result: Ok("1999") },
            example! { title: "fewer decimals than the currency has", source: r#"minor_units!("-5", "KWD")"#, result: Ok("-5000") },
            example! { title: "a provider that counts CLP in hundredths", source: r#"minor_units!(4200, "CLP", decimals: 2)"#, result: Ok("42") },
            example! { title: "more decimals than the currency has", source: r#"minor_units!("10.5", "JPY")"#, result: Err("the amount has more decimals than the currency") },
        ]
    }

    fn compile(&self, _: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let amount = arguments.required("amount");
        let currency = arguments.required("currency");
        let decimals = arguments.optional("decimals");
        Ok(Call { amount, currency, decimals }.as_expr())
    }
}

#[derive(Clone, Debug)]
struct Call {
    amount: Box<dyn Expression>,
    currency: Box<dyn Expression>,
    decimals: Option<Box<dyn Expression>>,
}

impl FunctionExpression for Call {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let amount = self.amount.resolve(ctx)?;
        let currency = self.currency.resolve(ctx)?;
        let decimals = self.decimals.as_ref().map(|decimals| decimals.resolve(ctx)).transpose()?;
        let units = minor_units(&amount, &currency, decimals.as_ref())?;
        Ok(Value::Integer(units))
    }

    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::integer().fallible()
    }
}

const NO_AMOUNT: &str = "the amount is neither decimal text, as 19.99, nor an integer";
const NO_CURRENCY: &str = "the currency is no ISO 4217 code with an exponent";
const NO_DECIMALS: &str = "decimals is no integer from 0 to 9";
const TOO_FINE: &str = "the amount has more decimals than the currency";
const TOO_LARGE: &str = "the amount does not fit 64 bits";

fn minor_units(amount: &Value, currency: &Value, decimals: Option<&Value>) -> Result<i64, &'static str> {
    let exponent = currency.to_str_lossy().and_then(|code| exponent(&code)).ok_or(NO_CURRENCY)?;
    let counted = match decimals {
        None => 0,
        Some(Value::Integer(count @ 0..=9)) => u32::try_from(*count).map_err(|_| NO_DECIMALS)?,
        Some(_) => return Err(NO_DECIMALS),
    };
    let (digits, written) = match amount {
        Value::Integer(units) => (i128::from(*units), 0),
        Value::Bytes(_) | Value::String(_) => {
            amount.to_str_lossy().and_then(|text| decimal(&text)).ok_or(NO_AMOUNT)?
        }
        _ => return Err(NO_AMOUNT),
    };
    let units = scale(digits, written, counted, exponent)?;
    i64::try_from(units).map_err(|_| TOO_LARGE)
}

/// `digits` stand for `digits / 10^(written + counted)`; written decimals may not exceed the currency's, counted ones
/// may when they are whole.
fn scale(digits: i128, written: u32, counted: u32, exponent: u32) -> Result<i128, &'static str> {
    if written > 0 && written + counted > exponent {
        return Err(TOO_FINE);
    }
    let fine = written + counted;
    if fine <= exponent {
        return digits.checked_mul(10_i128.pow(exponent - fine)).ok_or(TOO_LARGE);
    }
    let unit = 10_i128.pow(fine - exponent);
    if digits % unit == 0 { Ok(digits / unit) } else { Err(TOO_FINE) }
}

fn exponent(code: &str) -> Option<u32> {
    Currency::from_code(code)?.exponent().map(u32::from)
}

/// `-?digits[.digits]` with at most 30 digits: the number without its point, and how many digits stood after it.
fn decimal(text: &str) -> Option<(i128, u32)> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || unsigned.len() > 31 {
        return None;
    }
    let fraction = if unsigned.len() == whole.len() { "" } else { fraction };
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let written = u32::try_from(fraction.len()).ok()?;
    Some((if text.starts_with('-') { -digits } else { digits }, written))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(amount: impl Into<Value>, currency: &str) -> Result<i64, &'static str> {
        minor_units(&amount.into(), &Value::from(currency), None)
    }

    #[test]
    fn goes_by_the_exponent_of_the_currency() {
        assert_eq!(units("19.99", "EUR"), Ok(1_999));
        assert_eq!(units("19.9", "EUR"), Ok(1_990));
        assert_eq!(units(19, "EUR"), Ok(1_900));
        assert_eq!(units("1000", "JPY"), Ok(1_000));
        assert_eq!(units("0.001", "BHD"), Ok(1));
        assert_eq!(units("-0.01", "USD"), Ok(-1));
        assert_eq!(units("92233720368547758.07", "USD"), Ok(i64::MAX));
    }

    #[test]
    fn refuses_what_it_cannot_say_exactly() {
        assert_eq!(units("19.999", "EUR"), Err(TOO_FINE));
        assert_eq!(units("19.990", "EUR"), Err(TOO_FINE));
        assert_eq!(units("10.0", "JPY"), Err(TOO_FINE));
        assert_eq!(units("92233720368547758.08", "USD"), Err(TOO_LARGE));
        assert_eq!(units(i64::MAX, "USD"), Err(TOO_LARGE));
        for no_currency in ["eur", "EURO", "", "XAU", "XXX"] {
            assert_eq!(units("1", no_currency), Err(NO_CURRENCY), "{no_currency:?}");
        }
        for no_amount in ["", "-", ".", "1.", ".5", "1e3", "+1", " 1", "1,000.00", "NaN", "١", "--1", "1.2.3"]
        {
            assert_eq!(units(no_amount, "EUR"), Err(NO_AMOUNT), "{no_amount:?}");
        }
        assert_eq!(units("9".repeat(40).as_str(), "EUR"), Err(NO_AMOUNT));
        assert_eq!(units(Value::from_f64_or_zero(19.99), "EUR"), Err(NO_AMOUNT));
        assert_eq!(units(Value::Null, "EUR"), Err(NO_AMOUNT));
    }

    #[test]
    fn rescales_a_provider_that_counts_otherwise() {
        let rescaled = |amount: i64, currency: &str, decimals: i64| {
            minor_units(&amount.into(), &Value::from(currency), Some(&decimals.into()))
        };
        assert_eq!(rescaled(4_200, "CLP", 2), Ok(42));
        assert_eq!(rescaled(4_250, "CLP", 2), Err(TOO_FINE));
        assert_eq!(rescaled(1_999, "EUR", 2), Ok(1_999));
        assert_eq!(rescaled(199, "KWD", 2), Ok(1_990));
        assert_eq!(rescaled(1, "EUR", 10), Err(NO_DECIMALS));
        assert_eq!(rescaled(1, "EUR", -1), Err(NO_DECIMALS));
    }

    proptest! {
        #[test]
        fn agrees_with_a_decimal_model(
            negative: bool,
            whole in 0_u64..1_000_000_000_000,
            fraction in "[0-9]{0,5}",
            (currency, exponent) in prop_oneof![
                Just(("JPY", 0_usize)), Just(("EUR", 2)), Just(("USD", 2)), Just(("KWD", 3)), Just(("CLF", 4)),
            ],
        ) {
            let sign = if negative { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            let result = units(format!("{sign}{whole}{point}{fraction}").as_str(), currency);
            if fraction.len() > exponent {
                prop_assert_eq!(result, Err(TOO_FINE));
            } else {
                // The model: pad the fraction with zeros to the exponent and read the digits as they stand.
                let digits = format!("{whole}{fraction:0<exponent$}");
                let model: i64 = digits.parse().expect("at most 17 digits");
                prop_assert_eq!(result, Ok(if negative { -model } else { model }));
            }
        }

        #[test]
        fn never_panics(amount in ".{0,40}", currency in ".{0,4}", decimals: i64) {
            let _ = minor_units(&Value::from(amount), &Value::from(currency), Some(&decimals.into()));
        }
    }
}
