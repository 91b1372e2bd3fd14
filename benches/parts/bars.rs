//! Bars: what was measured beside what must be reached.

use std::fmt;

/// Where a bar lies.
#[derive(Clone, Copy)]
pub enum Limit {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

/// A figure and what it must reach.
pub struct Bar {
    /// What the figure is.
    pub what: &'static str,
    /// The figure.
    pub measured: f64,
    /// What it must reach.
    pub limit: Limit,
    /// The figure's unit, with a space before it.
    pub unit: &'static str,
    /// Why it is not judged in this run.
    pub excuse: Option<String>,
}

impl Bar {
    /// It must be this much or more.
    pub fn at_least(what: &'static str, measured: f64, bar: f64) -> Self {
        Self { what, measured, limit: Limit::AtLeast(bar), unit: "", excuse: None }
    }

    /// It must be this much or less.
    pub fn at_most(what: &'static str, measured: f64, bar: f64, unit: &'static str) -> Self {
        Self { what, measured, limit: Limit::AtMost(bar), unit, excuse: None }
    }

    fn verdict(&self) -> String {
        let reached = match self.limit {
            Limit::AtLeast(bar) => self.measured >= bar,
            Limit::AtMost(bar) => self.measured <= bar,
        };
        match &self.excuse {
            Some(excuse) => excuse.clone(),
            None if self.measured.is_nan() => "not measured (--full)".to_owned(),
            None if reached => "ok".to_owned(),
            None => "BELOW".to_owned(),
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bar) = match self.limit {
            Limit::AtLeast(bar) => ('≥', bar),
            Limit::AtMost(bar) => ('≤', bar),
        };
        let measured = if self.measured.is_nan() {
            "-".to_owned()
        } else {
            format!("{:.2}{}", self.measured, self.unit)
        };
        let bar = format!("{sign} {bar}{}", self.unit);
        write!(f, "  {:<34} {measured:>12}   {bar:<10} {}", self.what, self.verdict())
    }
}

/// The one in the middle; NaN of nothing.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A figure for people; `-` where nothing was measured.
pub fn number(value: f64, decimals: usize) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.decimals$}") }
}
