//! Rows of the table that are about path and query.

use super::{reads, refuses, request};

#[track_caller]
fn asked(query: &str, expected: &str) {
    reads(request(&format!("GET /v1/echo?{query}"), ""), expected);
}

#[track_caller]
fn wrong(query: &str, expected: &str) {
    refuses(request(&format!("GET /v1/echo?{query}"), ""), expected);
}

#[test]
fn names_in_both_spellings_and_dots() {
    asked("a_string=x&anInt32=5", r#"{"aString":"x","anInt32":5}"#);
    asked("odd_json_name=x", r#"{"veryOdd":"x"}"#);
    asked("veryOdd=x", r#"{"veryOdd":"x"}"#);
    asked("an_inner.name=a&anInner.inner.count=2", r#"{"anInner":{"name":"a","inner":{"count":2}}}"#);
    asked("", "{}");
    asked("&&a_string=x&", r#"{"aString":"x"}"#);
    asked("a_string", "{}");
    asked("maybe", r#"{"maybe":""}"#);
    asked("a_string=a%3Db%26c+d%20e=f", r#"{"aString":"a=b&c d e=f"}"#);
    asked("a%5Fstring=x", r#"{"aString":"x"}"#);
    wrong("a_string.x=1", "VALIDATION_FAILED a_string.x: does not lead to a field");
    wrong("inners.name=1", "VALIDATION_FAILED inners.name: does not lead to a field");
    wrong("a_string=%zz", "VALIDATION_FAILED a_string: has a malformed escape");
    wrong("a_string=%ff", "VALIDATION_FAILED a_string: has a malformed escape");
    wrong("%zz=1", "MALFORMED_REQUEST the query has a malformed escape");
}

#[test]
fn unknown_names_are_ignored() {
    asked("nope=1&an_inner.nope=2&an_inner.=3&.=4&=5&nope.nope=6", "{}");
}

#[test]
fn repeated_appends_and_singular_is_given_once() {
    asked("numbers=1&words=a&numbers=-2&words=", r#"{"numbers":[1,-2],"words":["a",""]}"#);
    asked("colours=COLOUR_RED&colours=-2", r#"{"colours":["COLOUR_RED","COLOUR_BLUE"]}"#);
    asked("an_inner.tags=a&an_inner.tags=b", r#"{"anInner":{"tags":["a","b"]}}"#);
    asked("times=1970-01-01T00:00:00Z", r#"{"times":["1970-01-01T00:00:00Z"]}"#);
    wrong("a_string=a&a_string=b", "VALIDATION_FAILED a_string: is given twice");
    wrong("a_string=a&aString=a", "VALIDATION_FAILED aString: is given twice");
    wrong("an_inner.name=a&an_inner.name=b", "VALIDATION_FAILED an_inner.name: is given twice");
}

#[test]
fn enums_by_name_or_known_number() {
    asked("a_colour=COLOUR_RED", r#"{"aColour":"COLOUR_RED"}"#);
    asked("a_colour=-2", r#"{"aColour":"COLOUR_BLUE"}"#);
    wrong("a_colour=7", "VALIDATION_FAILED a_colour: must be a value of the enum");
    wrong("a_colour=red", "VALIDATION_FAILED a_colour: must be a value of the enum");
    wrong("a_colour=", "VALIDATION_FAILED a_colour: must be a value of the enum");
}

#[test]
fn booleans_as_go_parses_them() {
    for text in ["1", "t", "T", "TRUE", "true", "True"] {
        asked(&format!("a_bool={text}"), r#"{"aBool":true}"#);
    }
    for text in ["0", "f", "F", "FALSE", "false", "False"] {
        asked(&format!("a_bool_value={text}"), r#"{"aBoolValue":false}"#);
    }
    for text in ["", "yes", "tRUE", "2", "on"] {
        wrong(&format!("a_bool={text}"), "VALIDATION_FAILED a_bool: must be a boolean");
    }
}

#[test]
fn numbers_and_bytes() {
    asked(
        "a_double=1.5e3&a_float=-Infinity&an_int64=-9223372036854775808",
        r#"{"aDouble":1500,"aFloat":"-Infinity","anInt64":"-9223372036854775808"}"#,
    );
    asked(
        "a_sint32=-1&a_fixed64=18446744073709551615&safe=5",
        r#"{"aSint32":-1,"aFixed64":"18446744073709551615","safe":"5"}"#,
    );
    for text in ["-_8=", "-_8", "%2B/8=", "%2B%2F8"] {
        asked(&format!("a_bytes={text}"), r#"{"aBytes":"+/8="}"#);
    }
    wrong("a_bytes=!", "VALIDATION_FAILED a_bytes: must be base64");
    wrong("an_int32=1.0", "VALIDATION_FAILED an_int32: must be a 32-bit integer");
    wrong("an_int32=2147483648", "VALIDATION_FAILED an_int32: must be a 32-bit integer");
    wrong("an_int32=", "VALIDATION_FAILED an_int32: must be a 32-bit integer");
    wrong("an_int32=%2B1", "VALIDATION_FAILED an_int32: must be a 32-bit integer");
    wrong("a_uint32=-1", "VALIDATION_FAILED a_uint32: must be an unsigned 32-bit integer");
    wrong("a_double=inf", "VALIDATION_FAILED a_double: must be a 64-bit floating point number");
}

#[test]
fn well_known_types() {
    asked("a_time=2026-11-21T12:04:05%2B09:00", r#"{"aTime":"2026-11-21T03:04:05Z"}"#);
    asked("a_mask=a_string,an_inner.name", r#"{"aMask":"aString,anInner.name"}"#);
    asked(
        "a_string_value=&an_int64_value=5&a_bytes_value=_w",
        r#"{"aStringValue":"","anInt64Value":"5","aBytesValue":"/w=="}"#,
    );
    asked(
        "a_value=%5B1%5D&a_struct=%7B%22a%22:null%7D&a_list=%5B%5D",
        r#"{"aValue":[1],"aStruct":{"a":null},"aList":[]}"#,
    );
    for text in ["3.5s", "3500ms", "3s500ms"] {
        asked(&format!("a_duration={text}"), r#"{"aDuration":"3.5s"}"#);
    }
    asked("a_duration=1h2m", r#"{"aDuration":"3720s"}"#);
    wrong("a_duration=5", "VALIDATION_FAILED a_duration: must be a duration");
    wrong("a_time=1", "VALIDATION_FAILED a_time: must be an RFC 3339 time");
    wrong("a_struct=%7B", "VALIDATION_FAILED a_struct: must be JSON");
    wrong("an_empty=", "VALIDATION_FAILED an_empty: cannot be given as a parameter");
    wrong("an_any=%7B%7D", "VALIDATION_FAILED an_any: cannot be given as a parameter");
    wrong("a_file=x", "VALIDATION_FAILED a_file: cannot be given as a parameter");
}

#[test]
fn maps_take_a_key() {
    asked("labels[a]=1&labels%5Bb%5D=2", r#"{"labels":{"a":"1","b":"2"}}"#);
    asked("by_bool[true]=5", r#"{"byBool":{"true":"5"}}"#);
    asked("waits[a]=1m", r#"{"waits":{"a":"60s"}}"#);
    wrong("labels=1", "VALIDATION_FAILED labels: needs a key");
    wrong("a_string[x]=1", "VALIDATION_FAILED a_string[x]: is not a map");
    wrong("by_number[5]=1", "VALIDATION_FAILED by_number[5]: cannot be given as a parameter");
    wrong("by_bool[5]=1", "VALIDATION_FAILED by_bool[5]: must be a boolean");
}

#[test]
fn messages_are_not_parameters() {
    wrong("inners=x", "VALIDATION_FAILED inners: cannot be given as a parameter");
    wrong("an_inner=x", "VALIDATION_FAILED an_inner: cannot be given as a parameter");
}

#[test]
fn oneofs_take_one_member() {
    asked("choice_text=a", r#"{"choiceText":"a"}"#);
    asked("choice_inner.name=a&choice_inner.count=2", r#"{"choiceInner":{"name":"a","count":2}}"#);
    wrong("choice_text=a&choice_inner.name=b", "VALIDATION_FAILED choice_inner.name: excludes another field");
    wrong("an_inner.left=a&an_inner.right=1", "VALIDATION_FAILED an_inner.right: excludes another field");
    // The same oneof of another message is another oneof.
    asked("an_inner.left=a&an_inner.inner.right=1", r#"{"anInner":{"left":"a","inner":{"right":1}}}"#);
    refuses(request("POST /v1/choice?choice_text=a", "{}"), "VALIDATION_FAILED choice_text: excludes another field");
}

#[test]
fn covered_parameters_are_ignored() {
    reads(request("PUT /v1/echo/path?a_string=query", ""), r#"{"aString":"path"}"#);
    reads(
        request("PUT /v1/echo/x?an_inner.name=query&anInner.count=zz", r#"{"name":"b"}"#),
        r#"{"aString":"x","anInner":{"name":"b"}}"#,
    );
}

#[test]
fn pairs_are_limited() {
    asked(&"numbers=1&".repeat(3), r#"{"numbers":[1,1,1]}"#);
    let many = "nope=1&".repeat(1000);
    asked(&many, "{}");
    wrong(&format!("{many}nope=1"), "MALFORMED_REQUEST the query has too many parameters");
}

#[test]
fn path_values_are_typed() {
    reads(
        request("GET /v1/time/2026-11-21T03:04:05Z/COLOUR_RED/t/a%2Fb%20c+d", ""),
        r#"{"aTime":"2026-11-21T03:04:05Z","aColour":"COLOUR_RED","aBool":true,"aStringValue":"a/b c+d"}"#,
    );
    refuses(request("GET /v1/time/x/COLOUR_RED/t/a", ""), "VALIDATION_FAILED a_time: must be an RFC 3339 time");
    refuses(request("POST /v1/whole/x/y", ""), "VALIDATION_FAILED an_inner.count: must be a 32-bit integer");
}

#[test]
fn secrets_are_taken_from_an_address_only_where_a_provider_redirects() {
    let read = |method, path, query| {
        let router = crate::router::router();
        let crate::router::Match::Found { route, vars } = router.find(method, path) else { panic!("no route") };
        let input = crate::request::Input { vars: &vars, query, content_type: None, body: b"", idempotency_key: None };
        crate::request::Decoder::new(router).decode(route, &input)
    };
    let refused = read("DELETE", "/api/v1/auth/me", "password=hunter2hunter2").unwrap_err();
    assert_eq!(refused.reason(), "VALIDATION_FAILED");
    assert!(!format!("{refused:?}").contains("hunter2"));
    assert!(read("GET", "/api/v1/auth/callback/google", "code=c&state=s").is_ok());
}
