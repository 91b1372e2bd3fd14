//! Room `translate`: the rules for single parts of a module: literals, paths, metadata, `abort`, calls and their arguments.

use vrl::{
    parser::{
        Literal, Span,
        ast::{Abort, Expr, FunctionCall, Node},
    },
    path::{OwnedSegment, OwnedValuePath},
};

use super::{Depth, Lint};
use crate::translate::{
    allow_list,
    limits::{
        MAX_ABORT_CHARS, MAX_EXPRESSIONS, MAX_INDEX, MAX_INSERTED_BYTES, MAX_LITERAL_BYTES,
        MAX_PATH_SEGMENTS, MAX_REGEXES, MAX_TEMPLATE_SEGMENTS,
    },
    view,
};

impl Lint<'_> {
    pub(super) fn literal(&mut self, node: Node<Literal>, depth: Depth) -> Expr {
        let span = node.span();
        if span.end() - span.start() > MAX_LITERAL_BYTES {
            let message = format!("a literal of more than {MAX_LITERAL_BYTES} bytes");
            self.refuse(
                "mapping_literal_too_long",
                span,
                message,
                "a mapping translates; long texts live elsewhere",
            );
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

    pub(super) fn count(&mut self, span: Span) {
        self.expressions += 1;
        if self.expressions == MAX_EXPRESSIONS + 1 {
            let message = format!("more than {MAX_EXPRESSIONS} expressions");
            self.refuse("mapping_too_long", span, message, "split the module by event type");
        }
    }

    pub(super) fn path(&mut self, span: Span, path: &OwnedValuePath) {
        let too_far = |segment: &OwnedSegment| matches!(segment, OwnedSegment::Index(at) if at.unsigned_abs() > MAX_INDEX.unsigned_abs());
        if path.segments.iter().any(too_far) {
            let message = format!("an array index beyond {MAX_INDEX}");
            self.refuse("mapping_index", span, message, "walk the array with map_values, filter or for_each");
        }
        if path.segments.len() > MAX_PATH_SEGMENTS {
            let message = format!("a path of more than {MAX_PATH_SEGMENTS} segments");
            self.refuse(
                "mapping_path_too_long",
                span,
                message,
                "give the part on the way a name: part = .a.b",
            );
        }
    }

    pub(super) fn metadata(&mut self, span: Span, path: &OwnedValuePath) {
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

    pub(super) fn abort(&mut self, span: Span, abort: Abort) -> Abort {
        // A reason is stored and shown, so it may not carry a value of the payload.
        let fits = |text: &str| text.chars().count() <= MAX_ABORT_CHARS;
        if !abort.message.as_ref().is_none_or(|message| literal_text(message).is_some_and(fits)) {
            let message =
                format!("an abort message that is no literal text of at most {MAX_ABORT_CHARS} characters");
            let help = "write what is wrong, without values: abort \"the refund names no charge\"";
            self.refuse("mapping_abort_message", span, message, help);
        }
        abort
    }

    pub(super) fn allowed(&mut self, span: Span, name: &str) {
        if allow_list::allows(name) {
            return;
        }
        let list = "mappings/README.md lists the functions there are".to_owned();
        let (message, help) = match (allow_list::why_refused(name), allow_list::closest(name)) {
            (Some(why), _) => (format!("`{name}` is not for mappings: {why}"), list),
            (None, Some(known)) => {
                (format!("there is no function `{name}`"), format!("did you mean `{known}`?"))
            }
            (None, None) => (format!("there is no function `{name}`"), list),
        };
        self.refuse("mapping_function", span, message, help);
    }

    /// Arguments that must be known at load, because no step counts what they make a function do.
    pub(super) fn arguments_of(&mut self, name: &str, call: &FunctionCall) {
        match name {
            "join" => self.inserted(call, &["value", "separator"], "separator"),
            "replace" => self.inserted(call, &["value", "pattern", "with", "count"], "with"),
            "parse_timestamp" | "format_timestamp" => self.timezone(call),
            _ => {}
        }
    }

    fn inserted(&mut self, call: &FunctionCall, parameters: &[&str], keyword: &str) {
        let Some(expr) = argument(call, parameters, keyword) else { return };
        if literal_text(expr).is_none_or(|text| text.len() > MAX_INSERTED_BYTES) {
            let message = format!("`{keyword}` is no literal text of at most {MAX_INSERTED_BYTES} bytes");
            self.refuse(
                "mapping_amplifies",
                expr.span(),
                message,
                "it is put in once for each element or match; write it out, as \", \"",
            );
        }
    }

    fn timezone(&mut self, call: &FunctionCall) {
        let Some(expr) = argument(call, &["value", "format", "timezone"], "timezone") else { return };
        if literal_text(expr).is_none_or(|zone| zone.is_empty() || zone.eq_ignore_ascii_case("local")) {
            let message = "a time zone that is no literal name, or is the machine's own";
            self.refuse(
                "mapping_local_time",
                expr.span(),
                message,
                "name the zone, as \"UTC\" or \"Europe/Paris\"",
            );
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
    let Expr::Literal(literal) = node.inner() else { return None };
    match literal.inner() {
        Literal::RawString(text) => Some(text),
        // An empty string has no segment at all.
        Literal::String(template) if template.0.is_empty() => Some(""),
        Literal::String(template) => template.as_literal_string(),
        _ => None,
    }
}
