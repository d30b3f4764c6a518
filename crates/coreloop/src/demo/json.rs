//! Parts of what others answer, by their JSON pointer.

use serde_json::Value;

/// A text; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number; none where there is none. Numbers of a socket's messages are doubles, and 64-bit ones of REST may be text.
pub(crate) fn number(value: &Value, pointer: &str) -> Option<f64> {
    let found = value.pointer(pointer)?;
    found.as_f64().or_else(|| found.as_str()?.parse().ok())
}

/// The values of a list; none where there is none.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_nothing() {
        let value = json!({"a": {"b": "c", "n": 3.0, "m": "4", "l": [1, 2]}});
        assert_eq!((text(&value, "/a/b"), text(&value, "/a/n"), text(&value, "/x")), ("c", "", ""));
        assert_eq!(
            (number(&value, "/a/n"), number(&value, "/a/m"), number(&value, "/a/b")),
            (Some(3.0), Some(4.0), None)
        );
        assert_eq!((list(&value, "/a/l").count(), list(&value, "/a/b").count()), (2, 0));
    }
}
