//! Room `translate`: our own functions, one file each, where the domain needs what VRL lacks. Pure. Their errors never
//! quote a value, so they are stored as they are.

mod minor_units;
mod parse_json;

use vrl::compiler::Function;

/// The names of our functions.
pub(super) const NAMES: &[&str] = &["minor_units", "parse_json"];

/// Our functions.
pub(super) fn all() -> Vec<Box<dyn Function>> {
    vec![Box::new(minor_units::MinorUnits), Box::new(parse_json::ParseJson)]
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use vrl::{
        compiler::{TimeZone, runtime::Runtime},
        value::{ObjectMap, Value},
    };

    use super::*;
    use crate::translate::{compile, view::EventView};

    fn evaluate(source: &str) -> Result<Value, String> {
        let mapping = compile("example.vrl", source).map_err(|problems| problems[0].to_string())?;
        let item = Value::Object(ObjectMap::new());
        let mut view = EventView { item: &item, outer: &[], metadata: &item };
        let timezone = TimeZone::parse("UTC").expect("known");
        let mut control = || ControlFlow::Continue(());
        Runtime::default()
            .resolve_with_control(&mut view, mapping.program(), &timezone, &mut control)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_function_is_documented_by_examples_that_hold() {
        for function in all() {
            assert!(NAMES.contains(&function.identifier()));
            assert!(!function.usage().is_empty() && !function.examples().is_empty());
            for example in function.examples() {
                let result = evaluate(example.source);
                match example.result {
                    Ok(expected) => assert_eq!(result, evaluate(expected), "{}", example.title),
                    Err(expected) => {
                        let error = result.expect_err(example.title);
                        assert!(error.ends_with(expected), "{}: {error}", example.title);
                    }
                }
            }
        }
    }
}
