//! Room `translate`: refuses, before the compiler sees it, what would take the process down or make a run
//! unbounded or impure, and puts the meter around what is left. Works on the parsed module alone; knows no types.

use vrl::{
    parser::{
        Program, Span,
        ast::{
            Abort, Assignment, AssignmentOp, AssignmentTarget, Block, Container, Expr, FunctionArgument,
            FunctionCall, FunctionClosure, Group, Ident, IfStatement, Node, Not, Op, Opcode, Predicate, Query,
            QueryTarget, Return, RootExpr, Unary,
        },
        Literal,
    },
    path::{OwnedSegment, OwnedValuePath, PathPrefix},
};

use super::{allow_list, meter, view};
use crate::model::Diagnostic;

/// The longest source. The parser is given no more, so what it builds, and the stack to drop that, have a bound.
pub(super) const MAX_SOURCE_BYTES: usize = 32 * 1024;
/// How deep expressions may nest, chains of operators and of `else if` included: compiling and running recurse on it.
pub(super) const MAX_DEPTH: usize = 64;
/// How deep brackets may nest. The parser needs time in the square of it.
const MAX_BRACKET_DEPTH: usize = 2 * MAX_DEPTH;
/// How many expressions a module may have: the compiler keeps every variable's type for each.
const MAX_EXPRESSIONS: usize = 4_000;
/// How deep calls may nest in calls: VRL's type inference doubles its work with each.
pub(super) const MAX_CALL_DEPTH: usize = 10;
/// How deep a value may nest while a mapping runs: cloning, comparing and dropping it recurse.
pub(super) const MAX_VALUE_DEPTH: usize = 128;
/// The highest array index: assigning beyond an array's end fills it with nulls up to there.
const MAX_INDEX: isize = 255;
/// The longest path.
const MAX_PATH_SEGMENTS: usize = 32;
/// The longest string literal, templates included: each evaluation may copy it for one step.
const MAX_LITERAL_BYTES: usize = 4 * 1024;
/// How many `{{variables}}` and texts one string literal may alternate: it is compiled as a chain of `+`.
const MAX_TEMPLATE_SEGMENTS: usize = 32;
/// The longest text that `join` and `replace` may put in, once for each element or match.
const MAX_INSERTED_BYTES: usize = 32;
/// How many regular expressions a module may have: each may take megabytes when compiled.
const MAX_REGEXES: usize = 32;
/// The longest `abort` message.
const MAX_ABORT_CHARS: usize = 200;

/// Refuses a source that is too long for the parser, or whose brackets nest too deep for it.
pub(super) fn source(file: &str, source: &str) -> Result<(), Diagnostic> {
    if source.len() > MAX_SOURCE_BYTES {
        let message = format!("the module is longer than {MAX_SOURCE_BYTES} bytes");
        return Err(Diagnostic::new("mapping_too_long", file, message, "split it by event type"));
    }
    let Some(offset) = too_deep_bracket(source) else { return Ok(()) };
    let message = format!("brackets nested deeper than {MAX_BRACKET_DEPTH}");
    let help = "give the inner part a name: part = …";
    Err(Diagnostic::new("mapping_too_deep", file, message, help).at(source, offset))
}

/// Where brackets nest too deep, strings and comments left out.
fn too_deep_bracket(source: &str) -> Option<usize> {
    let (mut depth, mut quote, mut before) = (0_usize, None, b' ');
    for (offset, byte) in source.bytes().enumerate() {
        let escaped = before == b'\\';
        match (quote, byte) {
            (Some(end), _) if byte == end && !escaped => quote = None,
            (None, b'"') => quote = Some(b'"'),
            (None, b'#') => quote = Some(b'\n'),
            (None, b'\'') if matches!(before, b'r' | b's' | b't') => quote = Some(b'\''),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_BRACKET_DEPTH {
            return Some(offset);
        }
        // An escaped backslash escapes nothing.
        before = if escaped { b' ' } else { byte };
    }
    None
}

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
    fn refuse(&mut self, code: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let problem = Diagnostic::new(code, self.file, message, help).at(self.source, span.start());
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn root(&mut self, root: RootExpr) -> RootExpr {
        match root {
            RootExpr::Expr(node) => RootExpr::Expr(self.expr(node, Depth::default())),
            error @ RootExpr::Error(_) => error,
        }
    }

    fn boxed(&mut self, node: Node<Expr>, depth: Depth) -> Box<Node<Expr>> {
        Box::new(self.expr(node, depth))
    }

    fn expr(&mut self, node: Node<Expr>, depth: Depth) -> Node<Expr> {
        let (span, expr) = node.take();
        if depth.levels > MAX_DEPTH || depth.calls > MAX_CALL_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels, or calls deeper than {MAX_CALL_DEPTH}");
            self.refuse("mapping_too_deep", span, message, "give the inner part a name: part = …");
            return Node::new(span, Expr::Literal(Node::new(span, Literal::Null)));
        }
        self.count(span);
        let down = depth.deeper();
        let expr = match expr {
            Expr::Literal(literal) => self.literal(literal, down),
            Expr::Container(node) => Expr::Container(node.map(|container| self.container(container, down))),
            Expr::IfStatement(node) => Expr::IfStatement(node.map(|branch| self.if_statement(branch, down))),
            Expr::Op(node) => Expr::Op(node.map(|op| self.op(op, down))),
            Expr::Assignment(node) => Expr::Assignment(node.map(|assignment| self.assignment(assignment, down))),
            Expr::Query(node) => self.query(span, node, down),
            Expr::FunctionCall(node) => Expr::FunctionCall(node.map(|call| self.call(call, depth.in_call()))),
            variable @ Expr::Variable(_) => hidden(meter::READ, Node::new(span, variable)),
            Expr::Unary(node) => Expr::Unary(node.map(|unary| self.unary(unary, down))),
            Expr::Abort(node) => Expr::Abort(node.map(|abort| self.abort(span, abort))),
            Expr::Return(node) => {
                Expr::Return(node.map(|value| Return { expr: self.boxed(*value.expr, down) }))
            }
            end @ Expr::Break(_) => end,
        };
        Node::new(span, expr)
    }

    fn count(&mut self, span: Span) {
        self.expressions += 1;
        if self.expressions == MAX_EXPRESSIONS + 1 {
            let message = format!("more than {MAX_EXPRESSIONS} expressions");
            self.refuse("mapping_too_long", span, message, "split the module by event type");
        }
    }

    fn literal(&mut self, node: Node<Literal>, depth: Depth) -> Expr {
        let span = node.span();
        if span.end() - span.start() > MAX_LITERAL_BYTES {
            let message = format!("a literal of more than {MAX_LITERAL_BYTES} bytes");
            self.refuse("mapping_literal_too_long", span, message, "a mapping translates; long texts live elsewhere");
        }
        match node.into_inner() {
            Literal::String(template) if template.as_literal_string().is_none() => {
                if template.0.len() > MAX_TEMPLATE_SEGMENTS {
                    let message = format!("a string of more than {MAX_TEMPLATE_SEGMENTS} parts");
                    self.refuse("mapping_too_deep", span, message, "build it in steps");
                    return Expr::Literal(Node::new(span, Literal::Null));
                }
                let concatenated = template.rewrite_to_concatenated_strings();
                // Its chain has a bound of its own, so it starts from the top.
                let start = Depth { levels: 0, ..depth };
                self.expr(Node::new(span, concatenated), start).into_inner()
            }
            literal => {
                self.regex(span, &literal);
                Expr::Literal(Node::new(span, literal))
            }
        }
    }

    fn regex(&mut self, span: Span, literal: &Literal) {
        self.regexes += usize::from(matches!(literal, Literal::Regex(_)));
        if self.regexes > MAX_REGEXES {
            let message = format!("more than {MAX_REGEXES} regular expressions");
            self.refuse("mapping_too_many_regexes", span, message, "split the module by event type");
        }
    }

    fn container(&mut self, container: Container, depth: Depth) -> Container {
        match container {
            Container::Group(node) => {
                Container::Group(Box::new(node.map(|group| Group(self.expr(group.into_inner(), depth)))))
            }
            Container::Block(node) => Container::Block(self.block(node, depth)),
            Container::Array(node) => Container::Array(
                node.map(|items| items.into_iter().map(|item| self.expr(item, depth)).collect()),
            ),
            Container::Object(node) => Container::Object(node.map(|fields| {
                fields.into_iter().map(|(key, value)| (key, self.expr(value, depth))).collect()
            })),
        }
    }

    fn block(&mut self, node: Node<Block>, depth: Depth) -> Node<Block> {
        node.map(|block| Block(self.exprs(block.into_inner(), depth)))
    }

    fn exprs(&mut self, nodes: Vec<Node<Expr>>, depth: Depth) -> Vec<Node<Expr>> {
        nodes.into_iter().map(|node| self.expr(node, depth)).collect()
    }

    fn if_statement(&mut self, branch: IfStatement, depth: Depth) -> IfStatement {
        IfStatement {
            predicate: branch.predicate.map(|predicate| match predicate {
                Predicate::One(one) => Predicate::One(self.boxed(*one, depth)),
                Predicate::Many(many) => Predicate::Many(self.exprs(many, depth)),
            }),
            if_node: self.block(branch.if_node, depth),
            else_node: branch.else_node.map(|block| self.block(block, depth)),
        }
    }

    fn op(&mut self, Op(left, opcode, right): Op, depth: Depth) -> Op {
        let multiplies = *opcode.inner() == Opcode::Mul;
        // The operands of `*` get a hidden call around them, which counts like any other.
        let depth = if multiplies { depth.in_call() } else { depth };
        let mut operand = |node: Node<Expr>| {
            let node = self.expr(node, depth);
            Box::new(if multiplies { factor(node) } else { node })
        };
        let (left, right) = (operand(*left), operand(*right));
        Op(left, opcode, right)
    }

    fn unary(&mut self, Unary::Not(node): Unary, depth: Depth) -> Unary {
        Unary::Not(node.map(|not| {
            let (bang, expr) = not.take();
            Not::new(bang.span(), self.expr(*expr, depth))
        }))
    }

    fn assignment(&mut self, assignment: Assignment, depth: Depth) -> Assignment {
        match assignment {
            Assignment::Single { target, op, expr } => {
                self.target(&target);
                let (op, expr) = self.assigned(&target, op, *expr, depth);
                Assignment::Single { target, op, expr }
            }
            Assignment::Infallible { ok, err, op, expr } => {
                self.target(&ok);
                self.target(&err);
                let (op, expr) = self.assigned(&ok, op, *expr, depth);
                Assignment::Infallible { ok, err, op, expr }
            }
        }
    }

    /// `x |= y` reads `x`, so it is spelled out as `x = x | y` and the read is metered like any other.
    fn assigned(
        &mut self,
        target: &Node<AssignmentTarget>,
        op: AssignmentOp,
        expr: Node<Expr>,
        depth: Depth,
    ) -> (AssignmentOp, Box<Node<Expr>>) {
        if op == AssignmentOp::Assign {
            return (op, self.boxed(expr, depth));
        }
        let span = expr.span();
        let read = Node::new(target.span(), target.inner().to_expr(target.span()));
        let merged = Op(Box::new(read), Node::new(span, Opcode::Merge), Box::new(expr));
        (AssignmentOp::Assign, self.boxed(Node::new(span, Expr::Op(Node::new(span, merged))), depth))
    }

    fn target(&mut self, target: &Node<AssignmentTarget>) {
        match target.inner() {
            AssignmentTarget::Internal(_, Some(path)) => self.path(target.span(), path),
            AssignmentTarget::External(Some(path)) => self.path(target.span(), &path.path),
            AssignmentTarget::Query(query) => self.path(target.span(), query.path.inner()),
            _ => {}
        }
    }

    fn path(&mut self, span: Span, path: &OwnedValuePath) {
        let too_far = |segment: &OwnedSegment| matches!(segment, OwnedSegment::Index(at) if at.unsigned_abs() > MAX_INDEX.unsigned_abs());
        if path.segments.iter().any(too_far) {
            let message = format!("an array index beyond {MAX_INDEX}");
            self.refuse("mapping_index", span, message, "walk the array with map_values, filter or for_each");
        }
        if path.segments.len() > MAX_PATH_SEGMENTS {
            let message = format!("a path of more than {MAX_PATH_SEGMENTS} segments");
            self.refuse("mapping_path_too_long", span, message, "give the part on the way a name: part = .a.b");
        }
    }

    fn query(&mut self, span: Span, node: Node<Query>, depth: Depth) -> Expr {
        let query = node.map(|query| self.query_parts(span, query, depth));
        let reads = matches!(query.inner().target.inner(), QueryTarget::Internal(_) | QueryTarget::External(_));
        let expr = Node::new(span, Expr::Query(query));
        if reads { hidden(meter::READ, expr) } else { expr.into_inner() }
    }

    fn query_parts(&mut self, span: Span, query: Query, depth: Depth) -> Query {
        self.path(span, query.path.inner());
        if *query.target.inner() == QueryTarget::External(PathPrefix::Metadata) {
            self.metadata(span, query.path.inner());
        }
        let target = query.target.map(|target| match target {
            QueryTarget::FunctionCall(call) => QueryTarget::FunctionCall(self.call(call, depth.in_call())),
            QueryTarget::Container(container) => QueryTarget::Container(self.container(container, depth)),
            read => read,
        });
        Query { target, path: query.path }
    }

    fn metadata(&mut self, span: Span, path: &OwnedValuePath) {
        let known = match path.segments.first() {
            None => true,
            Some(OwnedSegment::Field(name)) => view::METADATA.contains(&name.as_str()),
            Some(OwnedSegment::Index(_)) => false,
        };
        if !known {
            let names = view::METADATA.map(|name| format!("%{name}")).join(", ");
            self.refuse("mapping_metadata", span, "no such metadata", format!("there is {names}"));
        }
    }

    fn abort(&mut self, span: Span, abort: Abort) -> Abort {
        // A reason is stored and shown, so it may not carry a value of the payload.
        let fits = |text: &str| text.chars().count() <= MAX_ABORT_CHARS;
        if !abort.message.as_ref().is_none_or(|message| literal_text(message).is_some_and(fits)) {
            let message = format!("an abort message that is no literal text of at most {MAX_ABORT_CHARS} characters");
            let help = "write what is wrong, without values: abort \"the refund names no charge\"";
            self.refuse("mapping_abort_message", span, message, help);
        }
        abort
    }

    fn call(&mut self, call: FunctionCall, depth: Depth) -> FunctionCall {
        let name = call.ident.inner().clone().into_inner();
        self.allowed(call.ident.span(), &name);
        self.arguments_of(&name, &call);
        let arguments = call.arguments.into_iter().map(|node| {
            node.map(|argument| FunctionArgument {
                expr: if name == "exists" { self.existing(argument.expr, depth) } else { self.expr(argument.expr, depth) },
                ident: argument.ident,
            })
        });
        FunctionCall {
            arguments: arguments.collect(),
            closure: call.closure.map(|node| {
                node.map(|closure| FunctionClosure { block: self.block(closure.block, depth), ..closure })
            }),
            ident: call.ident,
            abort_on_error: call.abort_on_error,
        }
    }

    /// `exists` takes a path itself and copies nothing, so its path is not metered.
    fn existing(&mut self, node: Node<Expr>, depth: Depth) -> Node<Expr> {
        let span = node.span();
        match node.into_inner() {
            Expr::Query(query) => {
                Node::new(span, Expr::Query(query.map(|query| self.query_parts(span, query, depth))))
            }
            other => self.expr(Node::new(span, other), depth),
        }
    }

    fn allowed(&mut self, span: Span, name: &str) {
        if allow_list::allows(name) {
            return;
        }
        match allow_list::why_refused(name) {
            Some(why) => self.refuse("mapping_function", span, format!("`{name}` is not for mappings: {why}"), "see mappings/README.md for the functions there are"),
            None => {
                let help = allow_list::closest(name).map_or_else(
                    || "see mappings/README.md for the functions there are".to_owned(),
                    |known| format!("did you mean `{known}`?"),
                );
                self.refuse("mapping_function", span, format!("there is no function `{name}`"), help);
            }
        }
    }

    /// Arguments that must be known at load, because no step counts what they make a function do.
    fn arguments_of(&mut self, name: &str, call: &FunctionCall) {
        match name {
            "join" => self.inserted(call, &["value", "separator"], "separator"),
            "replace" => self.inserted(call, &["value", "pattern", "with", "count"], "with"),
            "parse_timestamp" | "format_timestamp" => self.timezone(call),
            _ => {}
        }
    }

    fn inserted(&mut self, call: &FunctionCall, parameters: &[&str], keyword: &str) {
        let Some(expr) = argument(call, parameters, keyword) else { return };
        if !literal_text(expr).is_some_and(|text| text.len() <= MAX_INSERTED_BYTES) {
            let message = format!("`{keyword}` is no literal text of at most {MAX_INSERTED_BYTES} bytes");
            self.refuse("mapping_amplifies", expr.span(), message, "it is put in once for each element or match; write it out, as \", \"");
        }
    }

    fn timezone(&mut self, call: &FunctionCall) {
        let Some(expr) = argument(call, &["value", "format", "timezone"], "timezone") else { return };
        if literal_text(expr).is_none_or(|zone| zone.is_empty() || zone.eq_ignore_ascii_case("local")) {
            let message = "a time zone that is no literal name, or is the machine's own";
            self.refuse("mapping_local_time", expr.span(), message, "name the zone, as \"UTC\" or \"Europe/Paris\"");
        }
    }
}

/// The argument for a parameter, found as VRL finds it: by keyword, else by place among the arguments without one.
fn argument<'a>(call: &'a FunctionCall, parameters: &[&str], keyword: &str) -> Option<&'a Node<Expr>> {
    let mut place = 0;
    for node in &call.arguments {
        let argument = node.inner();
        let named = argument.ident.as_ref().map(|ident| ident.inner().clone().into_inner());
        let at = match &named {
            Some(name) => parameters.iter().position(|parameter| parameter == name),
            None => Some(place),
        };
        if named.is_none() || at == Some(place) {
            place += 1;
        }
        if at.and_then(|at| parameters.get(at)) == Some(&keyword) {
            return Some(&argument.expr);
        }
    }
    None
}

fn literal_text(node: &Node<Expr>) -> Option<&str> {
    match node.inner() {
        Expr::Literal(literal) => match literal.inner() {
            Literal::RawString(text) => Some(text),
            // An empty string has no segment at all.
            Literal::String(template) if template.0.is_empty() => Some(""),
            Literal::String(template) => template.as_literal_string(),
            _ => None,
        },
        _ => None,
    }
}

fn factor(node: Node<Expr>) -> Node<Expr> {
    let number = |literal: &Node<Literal>| matches!(literal.inner(), Literal::Integer(_) | Literal::Float(_));
    match node.inner() {
        Expr::Literal(literal) if number(literal) => node,
        _ => Node::new(node.span(), hidden(meter::FACTOR, node)),
    }
}

fn hidden(name: &str, expr: Node<Expr>) -> Expr {
    let span = expr.span();
    Expr::FunctionCall(Node::new(
        span,
        FunctionCall {
            ident: Node::new(span, Ident::new(name)),
            abort_on_error: false,
            arguments: vec![Node::new(span, FunctionArgument { ident: None, expr })],
            closure: None,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::compile;

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
            "\"a\" ?? ".repeat(most / 7 - 1) + "1",
        ] {
            let code = refusal(&deep);
            assert!(code.starts_with("mapping_too_deep") || code.starts_with("mapping_syntax"), "{code}");
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
        assert!(refusal(&("1".to_owned() + &" * int!(.a)".repeat(MAX_CALL_DEPTH + 1))).starts_with("mapping_too_deep"));
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
        assert_eq!(refusal("replace(with: string!(.a), value: string!(.a), pattern: \"\")"), "mapping_amplifies 1:15");
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
            help: see mappings/README.md for the functions there are
        m.vrl:2:1: `uuid_v4` is not for mappings: it draws from chance, and a replay must decide the same [mapping_function]
            | uuid_v4()
            | ^
            help: see mappings/README.md for the functions there are
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
            assert!(refusal(&format!("format_timestamp!(.t, \"%F\", {zone})")).starts_with("mapping_local_time"));
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
        assert_eq!(refusal("{ \"a\": %event_type, \"b\": %headers.\"x-event\", \"c\": exists(%external_id) }"), "");
    }
}
