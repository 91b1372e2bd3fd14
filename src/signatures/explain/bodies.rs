//! Room `signatures`: what a body may have been before something on its way wrote it anew.

/// What a body may have been before it was changed on its way.
pub(super) fn bodies(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let without_returns = body.iter().copied().filter(|byte| *byte != b'\r').collect();
    vec![
        ("the body has no line break at its end", body.trim_ascii_end().to_vec()),
        ("the body has a line break at its end", [body, b"\n"].concat()),
        ("the body has a carriage return and line break at its end", [body, b"\r\n"].concat()),
        ("the body has no carriage returns", without_returns),
        ("the form's spaces are written as %20, not +", replaced(body, "+", "%20")),
        ("the form's spaces are written as +, not %20", replaced(body, "%20", "+")),
        ("the form was taken apart and written anew", rewritten(body)),
        ("the body has no white space between its JSON values", spelled(body, Spaces::None)),
        ("the body has a space behind each comma and colon of its JSON", spelled(body, Spaces::Behind)),
        ("the body's letters beyond ASCII are written as \\u and their numbers", in_ascii(body)),
        ("the body's slashes are written as \\/", replaced(body, "/", "\\/")),
        ("the body's slashes are written as /, not \\/", replaced(body, "\\/", "/")),
    ]
}

fn replaced(body: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(body).replace(from, to).into_bytes()
}

fn rewritten(form: &[u8]) -> Vec<u8> {
    let pairs = form_urlencoded::parse(form);
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes()
}

/// Where white space stands between the values of JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spaces {
    /// Nowhere.
    None,
    /// Behind commas and colons, as Python writes it.
    Behind,
}

/// JSON with other white space between its values. Strings stay as they are.
fn spelled(json: &[u8], spaces: Spaces) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let mut written = Vec::with_capacity(json.len());
    for byte in json.iter().copied() {
        if in_string || !byte.is_ascii_whitespace() {
            written.push(byte);
        }
        if !in_string && spaces == Spaces::Behind && matches!(byte, b',' | b':') {
            written.push(b' ');
        }
        in_string ^= byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
    }
    written
}

/// JSON whose letters beyond ASCII are escaped.
fn in_ascii(json: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(json);
    let units = text.encode_utf16().map(|unit| match u8::try_from(unit) {
        Ok(ascii) if ascii.is_ascii() => char::from(ascii).to_string(),
        _ => format!("\\u{unit:04x}"),
    });
    units.collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written_anew() {
        assert_eq!(rewritten(b"a=x%20y&b=%7e"), b"a=x+y&b=%7E");
        assert_eq!(replaced(b"a=x+y", "+", "%20"), b"a=x%20y");
    }

    #[test]
    fn other_white_space_leaves_strings_alone() {
        let json = b"{ \"a b\" : \"c \\\" d\\\\\" ,\n\t\"e\": [ 1 , 2 ] }";
        assert_eq!(spelled(json, Spaces::None), b"{\"a b\":\"c \\\" d\\\\\",\"e\":[1,2]}");
        assert_eq!(spelled(json, Spaces::Behind), b"{\"a b\": \"c \\\" d\\\\\", \"e\": [1, 2]}");
    }

    #[test]
    fn letters_beyond_ascii_are_escaped() {
        assert_eq!(in_ascii("\"caf\u{e9} \u{1f600}\"".as_bytes()), b"\"caf\\u00e9 \\ud83d\\ude00\"");
    }
}
