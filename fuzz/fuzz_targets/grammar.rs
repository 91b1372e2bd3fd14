//! The grammar of `[signature]`: whatever is written, it loads or is refused at a place of the text.
#![no_main]

use douane::signatures::Schemes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Schemes::parse(text) {
        assert!(!error.help.is_empty());
        assert!(error.span.is_none_or(|span| text.get(span).is_some()));
    }
});
