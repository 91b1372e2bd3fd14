//! Room `translate`: refuses, before the compiler sees it, what would take the process down or make a run
//! unbounded or impure, and puts the meter around what is left. Works on the parsed module alone; knows no types.
//!
//! [`source()`] looks at the text before the parser does, [`walk`] takes the parsed tree apart and puts it together again
//! with the meter in it, [`rules`] judges what it meets.

mod rules;
mod source;
mod walk;

use vrl::parser::{Program, Span};

pub(super) use source::check as source;

use crate::model::Diagnostic;

/// Lints a parsed module and puts the meter in. On success the module cannot exhaust stack or memory at load.
pub(super) fn admit(file: &str, source: &str, program: Program) -> Result<Program, Vec<Diagnostic>> {
    let mut lint = Lint { file, source, problems: Vec::new(), expressions: 0, regexes: 0 };
    let nodes = program.0.into_iter().map(|node| node.map(|root| lint.root(root))).collect();
    if lint.problems.is_empty() { Ok(Program(nodes)) } else { Err(lint.problems) }
}

struct Lint<'a> {
    file: &'a str,
    source: &'a str,
    problems: Vec<Diagnostic>,
    expressions: usize,
    regexes: usize,
}

/// How deep an expression stands.
#[derive(Clone, Copy, Default)]
struct Depth {
    levels: usize,
    calls: usize,
}

impl Depth {
    fn deeper(self) -> Self {
        Self { levels: self.levels + 1, ..self }
    }

    fn in_call(self) -> Self {
        Self { levels: self.levels + 1, calls: self.calls + 1 }
    }
}

impl Lint<'_> {
    fn refuse(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Diagnostic::new(code, self.file, message, help).at(self.source, span.start());
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::translate::{compile, limits::*};

    /// The code and place of the first mistake; empty when the module is admitted.
    fn refusal(source: &str) -> String {
        match compile("m.vrl", source) {
            Ok(_) => String::new(),
            Err(problems) => format!("{} {}:{}", problems[0].code, problems[0].line, problems[0].column),
        }
    }

    #[test]
    fn the_parser_is_given_no_more_than_it_can_survive() {
        assert_eq!(refusal(&"#".repeat(MAX_SOURCE_BYTES + 1)), "mapping_too_long 0:0");
        assert_eq!(refusal("  \n# nothing\n"), "mapping_empty 0:0");
    }

    #[test]
    fn the_deepest_trees_that_fit_a_source_do_not_overflow_the_stack() {
        let most = MAX_SOURCE_BYTES;
        for deep in [
            "!".repeat(most - 5) + "false",
            "1".to_owned() + &"+1".repeat(most / 2 - 1),
            "a=".repeat(most / 2 - 1) + "1",
            "(".repeat(most / 2 - 1) + "1" + &")".repeat(most / 2 - 1),
            "[".repeat(most / 2) + &"]".repeat(most / 2),
            "{\"a\":".repeat(most / 6 - 1) + "1" + &"}".repeat(most / 6 - 1),
            "{".repeat(most / 2 - 1) + "1" + &"}".repeat(most / 2 - 1),
            "if true {1}".to_owned() + &" else if true {1}".repeat(most / 17 - 1),
            "upcase(".repeat(most / 8 - 1) + "\"a\"" + &")".repeat(most / 8 - 1),
            "return ".repeat(most / 7 - 1) + "1",
            "return ".repeat(128) + "1",
            "abort ".repeat(128) + "\"a\"",
            "\"a\" ?? ".repeat(most / 7 - 1) + "1",
        ] {
            let code = refusal(&deep);
            assert!(code.starts_with("mapping_"), "{code}");
        }
        for unclosed in ["(", "[", "{", "{\"a\":[", "a[", "\"{{", "!", "-", "r'(", "if "] {
            let code = refusal(&unclosed.repeat(most / unclosed.len()));
            assert!(!code.is_empty(), "{unclosed}");
        }
    }

    #[test]
    fn nesting_is_bounded_where_it_is_still_cheap() {
        let nested = |open: &str, depth: usize, close: &str| open.repeat(depth) + "1" + &close.repeat(depth);
        assert_eq!(refusal(&nested("[", MAX_DEPTH, "]")), "");
        assert_eq!(refusal(&nested("[", MAX_DEPTH + 1, "]")), "mapping_too_deep 1:66");
        assert_eq!(refusal(&nested("abs(", MAX_CALL_DEPTH, ")")), "");
        assert_eq!(refusal(&nested("abs(", MAX_CALL_DEPTH + 1, ")")), "mapping_too_deep 1:45");
        assert!(
            refusal(&("1".to_owned() + &" * int!(.a)".repeat(MAX_CALL_DEPTH + 1)))
                .starts_with("mapping_too_deep")
        );
        let branches = |count: usize| "if true {1}".to_owned() + &" else if false {1}".repeat(count);
        assert_eq!(refusal(&branches(MAX_DEPTH / 2)), "");
        assert!(refusal(&branches(MAX_DEPTH + 1)).starts_with("mapping_too_deep"));
    }

    #[test]
    fn repeating_a_string_is_refused() {
        assert_eq!(refusal("\"s\" * 1000000000000"), "mapping_repeats 1:1");
        assert_eq!(refusal("n = int!(.n)\n\"s\" * n"), "mapping_repeats 2:1");
        assert_eq!(refusal("string!(.s) * 3"), "mapping_repeats 1:1");
        assert_eq!(refusal("x = \"s\"\ny = 3 * x\ny"), "mapping_repeats 2:9");
        assert_eq!(refusal("(.s * 1000000) ?? 1"), "mapping_repeats 1:2");
        assert_eq!(refusal("int!(.quantity) * 100"), "");
        assert_eq!(refusal("x = int!(.a)\ny = x * (x + 1) * 1.5\ny"), "");
        assert_eq!(refusal("{ \"s\" } * 3"), "mapping_repeats 1:1");
    }

    #[test]
    fn indexes_and_paths_that_would_allocate_are_refused() {
        assert_eq!(refusal("x = []\nx[999999999] = 1\nx"), "mapping_index 2:1");
        assert_eq!(refusal("x = []\nx[-999999999] = 1\nx"), "mapping_index 2:1");
        assert_eq!(refusal(".a[999999999]"), "mapping_index 1:1");
        assert_eq!(refusal("x = []\nx[255] = 1\nx"), "");
        let path = format!("x = {{}}\nx{} = 1\nx", ".a".repeat(MAX_PATH_SEGMENTS + 1));
        assert_eq!(refusal(&path), "mapping_path_too_long 2:1");
    }

    #[test]
    fn what_functions_put_in_again_and_again_is_literal_and_short() {
        assert_eq!(refusal("join(array!(.a), string!(.s)) ?? \"\""), "mapping_amplifies 1:18");
        assert_eq!(refusal("join(array!(.a), separator: string!(.s)) ?? \"\""), "mapping_amplifies 1:29");
        assert_eq!(refusal("replace(string!(.a), \"\", string!(.a))"), "mapping_amplifies 1:26");
        assert_eq!(
            refusal("replace(with: string!(.a), value: string!(.a), pattern: \"\")"),
            "mapping_amplifies 1:15"
        );
        let long = format!("replace(string!(.a), \"\", \"{}\")", "x".repeat(MAX_INSERTED_BYTES + 1));
        assert_eq!(refusal(&long), "mapping_amplifies 1:26");
        assert_eq!(refusal("join(array!(.a), \", \") ?? replace(string!(.a), r'\\s+', \"\")"), "");
    }

    #[test]
    fn long_literals_templates_and_many_patterns_are_refused() {
        let long = format!("\"{}\"", "x".repeat(MAX_LITERAL_BYTES));
        assert_eq!(refusal(&long), "mapping_literal_too_long 1:1");
        let template = format!("a = \"\"\n\"{}\"", "{{a}}-".repeat(MAX_TEMPLATE_SEGMENTS));
        assert_eq!(refusal(&template), "mapping_too_deep 2:1");
        let patterns = format!("[{}]", "match(string!(.a), r'a'),".repeat(MAX_REGEXES + 1));
        assert_eq!(refusal(&patterns), "mapping_too_many_regexes 1:821");
        assert!(refusal("match(string!(.a), r'((a{1000}){1000}){1000}')").starts_with("mapping_compile"));
    }

    #[test]
    fn functions_beside_the_list_are_refused_with_the_reason() {
        let problems = compile("m.vrl", "x = now()\nuuid_v4()\nminor_unit(x)").expect_err("refused");
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        m.vrl:1:5: `now` is not for mappings: it reads the clock, and a replay must decide the same [mapping_function]
            | x = now()
            |     ^
            help: mappings/README.md lists the functions there are
        m.vrl:2:1: `uuid_v4` is not for mappings: it draws from chance, and a replay must decide the same [mapping_function]
            | uuid_v4()
            | ^
            help: mappings/README.md lists the functions there are
        m.vrl:3:1: there is no function `minor_unit` [mapping_function]
            | minor_unit(x)
            | ^
            help: did you mean `minor_units`?
        "#);
    }

    #[test]
    fn local_time_is_refused() {
        for zone in ["\"local\"", "\"LOCAL\"", "\"\"", "string!(.zone)"] {
            assert_eq!(
                refusal(&format!("parse_timestamp!(.t, \"%F\", timezone: {zone})")),
                "mapping_local_time 1:38"
            );
            assert!(
                refusal(&format!("format_timestamp!(.t, \"%F\", {zone})")).starts_with("mapping_local_time")
            );
        }
        assert_eq!(refusal("parse_timestamp!(.t, \"%F %T\", \"Europe/Paris\")"), "");
    }

    #[test]
    fn abort_carries_no_value_and_metadata_has_no_typos() {
        assert_eq!(refusal("abort \"no charge\""), "");
        assert_eq!(refusal("if !exists(.a) { abort }\n1"), "");
        assert_eq!(refusal("s = string!(.s)\nabort \"bad {{s}}\""), "mapping_abort_message 2:1");
        assert_eq!(refusal("abort string!(.s)"), "mapping_abort_message 1:1");
        assert_eq!(refusal("%event_typ"), "mapping_metadata 1:1");
        assert_eq!(
            refusal("{ \"a\": %event_type, \"b\": %headers.\"x-event\", \"c\": exists(%external_id) }"),
            ""
        );
    }
}
