//! Every value that a query or a path can spell, for a field of every type that a parameter can fill.

use super::case::Case;

pub(super) const FIELDS: &[&str] = &[
    "a_string",
    "a_double",
    "a_float",
    "an_int32",
    "an_int64",
    "a_uint32",
    "a_uint64",
    "a_sint64",
    "a_fixed32",
    "a_sfixed64",
    "a_bool",
    "a_bytes",
    "a_colour",
    "an_inner",
    "an_inner.name",
    "an_inner.count",
    "an_inner.inner.tags",
    "anInner.inner.right",
    "maybe",
    "numbers",
    "words",
    "colours",
    "inners",
    "inners.name",
    "labels",
    "choice_text",
    "choice_null",
    "a_time",
    "a_duration",
    "a_mask",
    "a_struct",
    "a_value",
    "an_any",
    "an_empty",
    "a_string_value",
    "an_int64_value",
    "a_bool_value",
    "a_bytes_value",
    "a_float_value",
    "a_string_value.value",
    "a_time.seconds",
    "safe",
    "times",
    "aString",
    "odd_json_name",
    "veryOdd",
    "oddJsonName",
    "unknown",
    "a_string.x",
];

pub(super) const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "-2",
    "7",
    "1.5",
    "1e2",
    "2147483648",
    "9223372036854775807",
    "18446744073709551615",
    "NaN",
    "inf",
    "true",
    "false",
    "TRUE",
    "t",
    "null",
    "text",
    "a%20b",
    "a+b",
    "%ea%b0%80",
    "%2F%3F%26%3D",
    "%zz",
    "%ff",
    "%",
    "a=b",
    "COLOUR_RED",
    "colour_red",
    "aGk=",
    "aGk",
    "-_8",
    "2026-11-21T05:06:07Z",
    "2026-11-21T05:06:07.5%2B09:00",
    "3.5s",
    "1h2m",
    "an_inner.name,a_string",
    "anInner.name",
    "{}",
    "%7B%22name%22:%22a%22%7D",
];

/// The query that gives `field` this value.
pub(super) fn query(field: &str, value: &str) -> Case {
    Case::new(&format!("GET /v1/echo?{field}={value}"), "")
}

/// The binding `/v1/time/{a_time}/{a_colour}/{a_bool}/{a_string_value}` with these values.
pub(super) fn path(values: [&str; 4]) -> Case {
    Case::new(&format!("GET /v1/time/{}", values.join("/")), "")
}

const TIME: &str = "2026-11-21T05:06:07Z";

pub(super) fn all() -> impl Iterator<Item = Case> {
    let queries = FIELDS.iter().flat_map(|field| VALUES.iter().map(|value| query(field, value)));
    let paths = VALUES.iter().filter(|value| !value.is_empty()).flat_map(|value| {
        [
            path([value, "COLOUR_RED", "true", "x"]),
            path([TIME, value, "true", "x"]),
            path([TIME, "COLOUR_RED", value, "x"]),
            path([TIME, "COLOUR_RED", "true", value]),
        ]
    });
    queries.chain(paths)
}
