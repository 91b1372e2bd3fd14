//! Room `translate`: from a module's text to a [`Mapping`]. Everything that does not depend on the event happens here,
//! once. May not run anything.

use std::{fmt, thread};

use vrl::{
    compiler::{
        CompileConfig, Compiler, Program, TimeZone, TypeState,
        state::{ExternalEnv, LocalEnv},
        unused_expression_checker::check_for_unused_results,
    },
    diagnostic::DiagnosticList,
    parser,
};

use super::{
    allow_list,
    diagnostics::from_vrl,
    limits::MAX_SOURCE_BYTES,
    lint,
    view::{self, Needs},
};
use crate::model::Diagnostic;

/// The stack of the thread that compiles. The deepest tree that [`MAX_SOURCE_BYTES`] can spell (one level a byte) must be
/// built there before it can be judged, and dropped again; 4 KiB a level is ample.
const COMPILE_STACK_BYTES: usize = MAX_SOURCE_BYTES * 4 * 1024;

/// A compiled mapping module.
pub struct Mapping {
    file: String,
    source: String,
    program: Program,
    needs: Needs,
    utc: TimeZone,
}

impl Mapping {
    /// The path of the module, as diagnostics name it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The source, for places in it.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The program.
    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Which metadata it asks for.
    pub(super) fn needs(&self) -> Needs {
        self.needs
    }

    /// UTC: a text without a zone is read as that, never as the machine's.
    pub(super) fn timezone(&self) -> &TimeZone {
        &self.utc
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({})", self.file)
    }
}

/// Compiles and lints a module; `file` is its path for diagnostics. The mistakes are all those of the first step that
/// found any (length, syntax, limits, types, unused results).
pub fn compile(file: &str, source: &str) -> Result<Mapping, Vec<Diagnostic>> {
    if let Some(problem) = lint::source(file, source) {
        return Err(vec![problem]);
    }
    let compiled = thread::scope(|scope| {
        let thread =
            thread::Builder::new().name("compile-mapping".to_owned()).stack_size(COMPILE_STACK_BYTES);
        match thread.spawn_scoped(scope, || build(file, source)) {
            Ok(handle) => handle.join().ok(),
            Err(_) => None,
        }
    });
    compiled.unwrap_or_else(|| {
        let message = "VRL's compiler did not survive this module, or had no thread to run on";
        let help = "reduce the module until it compiles; this is a fault of ours or of VRL";
        Err(vec![Diagnostic::new("mapping_compiler", file, message, help)])
    })
}

fn build(file: &str, source: &str) -> Result<Mapping, Vec<Diagnostic>> {
    let vrl = |list: DiagnosticList| from_vrl(file, source, list);
    let parsed = parse(source).map_err(vrl)?;
    if parsed.0.is_empty() {
        let help = "end it with a domain event, an array of them, or null for none by intent";
        return Err(vec![Diagnostic::new("mapping_empty", file, "the module is empty", help)]);
    }
    let admitted = lint::admit(file, source, parsed)?;
    let mut config = CompileConfig::default();
    config.set_read_only();
    let result = Compiler::compile(allow_list::functions(), admitted, &types(), config).map_err(vrl)?;
    // Lint consumed the tree; reading the text again costs less than keeping a copy around for every module.
    let unused = check_for_unused_results(&parse(source).map_err(vrl)?);
    let warnings: Vec<Diagnostic> = [vrl(result.warnings), vrl(unused)].concat();
    if !warnings.is_empty() {
        return Err(warnings);
    }
    let utc = TimeZone::parse("UTC").ok_or_else(|| {
        vec![Diagnostic::new("mapping_compiler", file, "VRL does not know UTC", "this is a fault of VRL")]
    })?;
    let needs = Needs::of(result.program.info());
    Ok(Mapping { file: file.to_owned(), source: source.to_owned(), program: result.program, needs, utc })
}

fn parse(source: &str) -> Result<parser::Program, DiagnosticList> {
    parser::parse(source)
        .map_err(|error| vec![Box::new(error) as Box<dyn vrl::diagnostic::DiagnosticMessage>].into())
}

fn types() -> TypeState {
    let external = ExternalEnv::new_with_kind(view::event_kind(), view::metadata_kind());
    TypeState { local: LocalEnv::default(), external }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: &str) -> String {
        let problems = compile("partners/acme/order.vrl", source).expect_err("refused");
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_typical_module_compiles() {
        let source = r#"
            # Comments are free.
            charge = object!(.data.object)
            currency = upcase(string!(charge.currency))
            lines = map_values(array!(charge.lines)) -> |line| {
              { "name": string!(line.name), "quantity": int!(line.quantity) * 1 }
            }
            if !exists(.data.object.id) { abort "no charge" }
            reason = if charge.reason == null { "unknown" } else { string!(charge.reason) }
            fee, err = to_int(charge.fee)
            if err != null { fee = 0 }
            event = {
              "type": "payments.PaymentCaptured.v1",
              "subject": "payment/{{currency}}",
              "time": from_unix_timestamp!(.created),
              "data": compact({ "amount": minor_units(charge.amount, currency) ?? 0, "fee": fee, "reason": reason, "lines": lines }, string: false),
            }
            event.data |= { "id": %external_id }
            [event]
        "#;
        let mapping = compile("m.vrl", source).expect("compiles");
        assert_eq!(mapping.needs(), Needs::of(mapping.program().info()));
    }

    #[test]
    fn a_syntax_error_is_shown_where_it_stands() {
        insta::assert_snapshot!(told("a = 1\nb = [1, 2\nb"), @r#"
        partners/acme/order.vrl:3:1: syntax error: unexpected syntax token: "Identifier" [mapping_syntax]
            | b
            | ^
            help: expected one of: "\n", "]"
        "#);
    }

    #[test]
    fn a_type_error_is_shown_in_vrls_words() {
        insta::assert_snapshot!(told("a = \"é\"; x = upcase(.name)\n[a, x]"), @r#"
        partners/acme/order.vrl:1:14: unhandled fallible assignment: this expression is fallible because at least one argument's type cannot be verified to be valid [mapping_compile]
            | a = "é"; x = upcase(.name)
            |              ^
            help: or change this to an infallible assignment: x, err = upcase((.name))
        partners/acme/order.vrl:2:5: call to undefined variable: undefined variable [mapping_compile]
            | [a, x]
            |     ^
            help: did you mean "a"?
        "#);
    }

    #[test]
    fn the_event_is_read_only() {
        insta::assert_snapshot!(told(".a = 1\n."), @r"
        partners/acme/order.vrl:1:1: mutation of read-only value [mapping_read_only]
            | .a = 1
            | ^
            help: the event is read-only; build the result in variables of your own
        ");
        assert!(told("%partner = \"x\"\n.").contains("[mapping_read_only]"));
        assert!(told(".a, err = to_int(.b)\n.").contains("[mapping_read_only]"));
    }

    #[test]
    fn a_result_that_goes_nowhere_is_a_mistake() {
        insta::assert_snapshot!(told("upcase(\"a\")\nnull"), @r#"
        partners/acme/order.vrl:1:1: unused result for function call `upcase("a")` [mapping_unused]
            | upcase("a")
            | ^
            help: assign the result, return it, or delete the line
        "#);
        assert!(told("x = int!(1)\nx").contains("mapping_compile"));
    }
}
