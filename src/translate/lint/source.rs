//! Room `translate`: what a source may be before the parser reads it. Knows no syntax but quotes, comments, brackets
//! and two words.

use crate::{
    model::Diagnostic,
    translate::limits::{MAX_BRACKET_DEPTH, MAX_ENDINGS, MAX_SOURCE_BYTES},
};

/// Refuses a source that is too long for the parser, or whose brackets nest too deep for it.
pub(in crate::translate) fn check(file: &str, source: &str) -> Option<Diagnostic> {
    if source.len() > MAX_SOURCE_BYTES {
        let message = format!("the module is longer than {MAX_SOURCE_BYTES} bytes");
        return Some(Diagnostic::new("mapping_too_long", file, message, "split it by event type"));
    }
    if source.matches("return").count() + source.matches("abort").count() > MAX_ENDINGS {
        let message = format!("more than {MAX_ENDINGS} `return` and `abort`");
        return Some(Diagnostic::new("mapping_too_long", file, message, "split it by event type"));
    }
    let offset = too_deep_bracket(source)?;
    let message = format!("brackets nested deeper than {MAX_BRACKET_DEPTH}");
    let help = "give the inner part a name: part = …";
    Some(Diagnostic::new("mapping_too_deep", file, message, help).at(source, offset))
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
