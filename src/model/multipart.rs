//! Room `model`: a `multipart/form-data` body (RFC 7578) as an object of texts. The whole body is there, so nothing waits.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use vrl::value::{KeyString, ObjectMap};

use super::body::{MAX_FORM_FIELDS, Unreadable, add_field, text};

/// Reads a body by its content type. The boundary is the one that the body begins with: the content type is rarely signed,
/// and whoever changes it must not be able to take the same bytes apart elsewhere.
pub(super) fn read(content_type: &str, body: &Bytes) -> Result<ObjectMap, Unreadable> {
    let boundary = multer::parse_boundary(content_type).map_err(|_| Unreadable::Multipart)?;
    if !body.starts_with(format!("--{boundary}\r\n").as_bytes()) {
        return Err(Unreadable::Multipart);
    }
    let whole = stream::iter([Ok::<_, Infallible>(body.clone())]);
    let reading = fields(multer::Multipart::new(whole, boundary));
    reading.now_or_never().unwrap_or(Err(Unreadable::Multipart))
}

async fn fields(mut multipart: multer::Multipart<'_>) -> Result<ObjectMap, Unreadable> {
    let mut form = ObjectMap::new();
    let mut count = 0;
    while let Some(field) = multipart.next_field().await.map_err(|_| Unreadable::Multipart)? {
        count += 1;
        if count > MAX_FORM_FIELDS {
            return Err(Unreadable::FormFields);
        }
        let name = KeyString::from(field.name().ok_or(Unreadable::Multipart)?);
        let bytes = field.bytes().await.map_err(|_| Unreadable::Multipart)?;
        let value = std::str::from_utf8(&bytes).map_err(|_| Unreadable::Multipart)?;
        add_field(&mut form, name, text(value));
    }
    Ok(form)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(boundary: &str, body: &str) -> Result<serde_json::Value, Unreadable> {
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let form = read(&content_type, &Bytes::copy_from_slice(body.as_bytes()))?;
        Ok(serde_json::to_value(vrl::value::Value::Object(form)).expect("JSON"))
    }

    fn part(name: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    #[test]
    fn fields_are_texts_and_repeated_ones_arrays() {
        let body = format!("{}{}{}--b--\r\n", part("json", "{\"a\": 1}"), part("b", "1"), part("b", "2"));
        assert_eq!(of("b", &body), Ok(serde_json::json!({ "json": "{\"a\": 1}", "b": ["1", "2"] })));
    }

    #[test]
    fn the_boundary_is_the_one_that_the_body_begins_with() {
        let inner = "--evil\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{}\r\n--evil--\r\n";
        let body = format!("{}--b--\r\n", part("note", inner));
        assert_eq!(of("evil", &body), Err(Unreadable::Multipart));
        assert!(of("b", &body).is_ok());
        for broken in ["", "--b", "--b\r\n", "--b--\r\n", "--b\r\n\r\n", &part("a", "1")] {
            assert!(of("b", broken).is_err(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in "(--b|--b--|\r\n|Content-Disposition: form-data; name=|\"a\"|x|é){0,12}") {
            let _ = of("b", &body);
        }
    }
}
