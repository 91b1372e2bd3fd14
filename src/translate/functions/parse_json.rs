//! Room `translate`: `parse_json`, the house's one JSON reader for JSON that a partner put into a string.

use vrl::compiler::prelude::*;

use crate::model::strict_json;

const PARAMETERS: &[Parameter] = &[Parameter::required("value", kind::BYTES, "The JSON text.")];

/// `parse_json(value)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParseJson;

impl Function for ParseJson {
    fn identifier(&self) -> &'static str {
        "parse_json"
    }

    fn summary(&self) -> &'static str {
        "the value of a JSON text"
    }

    fn usage(&self) -> &'static str {
        "Reads a JSON text with the same strict reader that read the body: duplicate keys, integers beyond 64 bits and \
         nesting beyond 64 levels are refused."
    }

    fn category(&self) -> &'static str {
        Category::Parse.as_ref()
    }

    fn internal_failure_reasons(&self) -> &'static [&'static str] {
        &["the text is not JSON as the strict reader reads it"]
    }

    fn return_kind(&self) -> u16 {
        kind::ANY
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn examples(&self) -> &'static [Example] {
        &[
            example! { title: "an object in a string", source: r#"parse_json!("{\"a\":[1]}")"#, result: Ok(r#"{ "a": [1] }"#) },
            example! { title: "duplicate keys", source: r#"parse_json!("{\"a\":1,\"a\":2}")"#, result: Err("a key stands twice in one object at line 1 column 10") },
        ]
    }

    fn compile(&self, _: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        Ok(Call { value: arguments.required("value") }.as_expr())
    }
}

#[derive(Clone, Debug)]
struct Call {
    value: Box<dyn Expression>,
}

impl FunctionExpression for Call {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let text = self.value.resolve(ctx)?.try_bytes()?;
        strict_json::read(&text).map_err(|error| error.to_string().into())
    }

    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::any().fallible()
    }
}
