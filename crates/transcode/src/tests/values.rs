//! Rows of the table that are about values of JSON.

use super::{ECHO, Request, decode, odd, reads, refuses, request};

#[test]
fn a_key_of_a_map_is_given_once() {
    for (body, expected) in [
        (r#"{"labels":{"a":"1","a":"2"}}"#, r#"VALIDATION_FAILED labels["a"]: is given twice"#),
        (r#"{"by_number":{"1":{},"01":{}}}"#, r#"VALIDATION_FAILED by_number["01"]: is given twice"#),
        (r#"{"a_struct":{"a":1,"b":2,"a":1}}"#, r#"VALIDATION_FAILED a_struct["a"]: is given twice"#),
    ] {
        refuses(request(ECHO, body), expected);
    }
}

/// A service that answers what it was asked must not make a fault of a request that was accepted.
#[test]
fn what_is_read_is_not_too_deep_to_be_written() {
    let body = format!("{{\"an_inner\":{}{{}}{}}}", "{\"inner\":".repeat(99), "}".repeat(99));
    let message = decode(request(ECHO, &body)).unwrap();
    let encoded = prost_reflect::prost::Message::encode_to_vec(&message);
    crate::response::Encoder::new(odd()).message_json("coreloop.odd.v1.Everything", &encoded).unwrap();
}

#[test]
fn integers_take_numbers_and_text() {
    for (body, expected) in [
        (r#"{"an_int32":-2147483648,"a_uint32":4294967295}"#, r#"{"anInt32":-2147483648,"aUint32":4294967295}"#),
        (
            r#"{"an_int64":"-9223372036854775808","a_uint64":"18446744073709551615"}"#,
            r#"{"anInt64":"-9223372036854775808","aUint64":"18446744073709551615"}"#,
        ),
        (
            r#"{"an_int64":9223372036854775807,"a_uint64":18446744073709551615}"#,
            r#"{"anInt64":"9223372036854775807","aUint64":"18446744073709551615"}"#,
        ),
        (r#"{"safe":9007199254740991}"#, r#"{"safe":"9007199254740991"}"#),
        (r#"{"safe":"9007199254740991","safes":[1,"2"]}"#, r#"{"safe":"9007199254740991","safes":["1","2"]}"#),
        (r#"{"an_int32":1.0,"an_int64":1e3,"a_uint32":2.5e1}"#, r#"{"anInt32":1,"anInt64":"1000","aUint32":25}"#),
        (r#"{"an_int32":"1e2"}"#, r#"{"anInt32":100}"#),
        (
            r#"{"a_sint32":-5,"a_sint64":"-6","a_fixed32":7,"a_fixed64":"8","a_sfixed32":-9,"a_sfixed64":-10}"#,
            r#"{"aSint32":-5,"aSint64":"-6","aFixed32":7,"aFixed64":"8","aSfixed32":-9,"aSfixed64":"-10"}"#,
        ),
        (r#"{"zigzags":[-1,"1",-9223372036854775808]}"#, r#"{"zigzags":["-1","1","-9223372036854775808"]}"#),
    ] {
        reads(request(ECHO, body), expected);
    }
    for (body, expected) in [
        (r#"{"an_int32":2147483648}"#, "VALIDATION_FAILED an_int32: must be a 32-bit integer"),
        (r#"{"an_int32":1.5}"#, "VALIDATION_FAILED an_int32: must be a 32-bit integer"),
        (r#"{"an_int32":"x"}"#, "VALIDATION_FAILED an_int32: must be a 32-bit integer"),
        (r#"{"an_int32":""}"#, "VALIDATION_FAILED an_int32: must be a 32-bit integer"),
        (r#"{"an_int32":" 1"}"#, "VALIDATION_FAILED an_int32: must be a 32-bit integer"),
        (r#"{"an_int32":true}"#, "VALIDATION_FAILED an_int32: must be a 32-bit integer"),
        (r#"{"an_int32":[1]}"#, "VALIDATION_FAILED an_int32: must be a 32-bit integer"),
        (r#"{"an_int32":{}}"#, "VALIDATION_FAILED an_int32: must be a 32-bit integer"),
        (r#"{"a_uint32":-1}"#, "VALIDATION_FAILED a_uint32: must be an unsigned 32-bit integer"),
        (r#"{"a_uint64":-1}"#, "VALIDATION_FAILED a_uint64: must be an unsigned 64-bit integer"),
        (r#"{"a_uint64":18446744073709551616}"#, "VALIDATION_FAILED a_uint64: must be an unsigned 64-bit integer"),
        (r#"{"an_int64":9223372036854775808}"#, "VALIDATION_FAILED an_int64: must be a 64-bit integer"),
        (r#"{"an_inner":{"inner":{"count":"many"}}}"#, "VALIDATION_FAILED an_inner.inner.count: must be a 32-bit"),
        (r#"{"inners":[{},{"count":false}]}"#, "VALIDATION_FAILED inners[1].count: must be a 32-bit integer"),
        (r#"{"by_number":{"5":{"count":"x"}}}"#, "VALIDATION_FAILED by_number[\"5\"].count: must be a 32-bit integer"),
        (r#"{"numbers":[1,2,"x"]}"#, "VALIDATION_FAILED numbers[2]: must be a 32-bit integer"),
    ] {
        refuses(request(ECHO, body), expected);
    }
}

#[test]
fn other_scalars_follow_protojson() {
    for (body, expected) in [
        (r#"{"a_double":1.5,"a_float":-0.25}"#, r#"{"aDouble":1.5,"aFloat":-0.25}"#),
        (r#"{"a_double":"NaN","a_float":"-Infinity"}"#, r#"{"aDouble":"NaN","aFloat":"-Infinity"}"#),
        (r#"{"a_double":"1e3","a_float":3}"#, r#"{"aDouble":1000,"aFloat":3}"#),
        (r#"{"doubles":[1,2.5,"Infinity"]}"#, r#"{"doubles":[1,2.5,"Infinity"]}"#),
        (r#"{"a_bool":true}"#, r#"{"aBool":true}"#),
        (r#"{"a_bytes":"-_8="}"#, r#"{"aBytes":"+/8="}"#),
        (r#"{"a_bytes":"+/8"}"#, r#"{"aBytes":"+/8="}"#),
        (r#"{"a_colour":"COLOUR_RED"}"#, r#"{"aColour":"COLOUR_RED"}"#),
        (
            r#"{"a_colour":-2,"colours":[1,"COLOUR_BLUE",99]}"#,
            r#"{"aColour":"COLOUR_BLUE","colours":["COLOUR_RED",-2,99]}"#,
        ),
    ] {
        reads(request(ECHO, body), expected);
    }
    for (body, expected) in [
        (r#"{"a_double":"inf"}"#, "VALIDATION_FAILED a_double: must be a 64-bit floating point number"),
        (r#"{"a_float":1e39}"#, "VALIDATION_FAILED a_float: must be a 32-bit floating point number"),
        (r#"{"a_double":"1e999"}"#, "VALIDATION_FAILED a_double: must be a 64-bit floating point number"),
        (r#"{"a_bool":"true"}"#, "VALIDATION_FAILED a_bool: must be a boolean"),
        (r#"{"a_bool":1}"#, "VALIDATION_FAILED a_bool: must be a boolean"),
        (r#"{"a_string":1}"#, "VALIDATION_FAILED a_string: must be a string"),
        (r#"{"a_bytes":"*"}"#, "VALIDATION_FAILED a_bytes: must be base64"),
        (r#"{"a_colour":"RED"}"#, "VALIDATION_FAILED a_colour: must be a value of the enum"),
        (r#"{"a_colour":"1"}"#, "VALIDATION_FAILED a_colour: must be a value of the enum"),
        (r#"{"an_inner":"x"}"#, "VALIDATION_FAILED an_inner: must be an object"),
        (r#"{"an_inner":[]}"#, "VALIDATION_FAILED an_inner: must be an object"),
        (r#"{"words":"x"}"#, "VALIDATION_FAILED words: has the wrong JSON type"),
        (r#"{"words":[null]}"#, "VALIDATION_FAILED words[0]: must not be null"),
        (r#"{"labels":{"a":null}}"#, "VALIDATION_FAILED labels[\"a\"]: must not be null"),
        (r#"{"labels":[]}"#, "VALIDATION_FAILED labels: has the wrong JSON type"),
        (r#"{"by_number":{"x":{}}}"#, "VALIDATION_FAILED by_number[\"x\"]: must be a 32-bit integer"),
        (r#"{"by_bool":{"TRUE":1}}"#, "VALIDATION_FAILED by_bool[\"TRUE\"]: must be a boolean"),
        (r#"{"a_string":"a","aString":"b"}"#, "VALIDATION_FAILED a_string: is given twice"),
        (r#"{"choice_text":"a","choice_inner":{}}"#, "VALIDATION_FAILED choice_inner: excludes another field"),
    ] {
        refuses(request(ECHO, body), expected);
    }
}

#[test]
fn maps_lists_and_oneofs() {
    for (body, expected) in [
        (r#"{"words":[],"numbers":[],"labels":{}}"#, "{}"),
        (r#"{"words":["a","","b"],"numbers":[0,-1,300]}"#, r#"{"words":["a","","b"],"numbers":[0,-1,300]}"#),
        (r#"{"inners":[{"name":"a"},{},{"tags":["x"]}]}"#, r#"{"inners":[{"name":"a"},{},{"tags":["x"]}]}"#),
        (r#"{"labels":{"a":"1","":"2"}}"#, r#"{"labels":{"a":"1","":"2"}}"#),
        (r#"{"by_number":{"-5":{"name":"a"},"0":{}}}"#, r#"{"byNumber":{"-5":{"name":"a"},"0":{}}}"#),
        (r#"{"by_bool":{"true":1,"false":"2"}}"#, r#"{"byBool":{"true":"1","false":"2"}}"#),
        (r#"{"choice_text":"","choice_inner":null}"#, r#"{"choiceText":""}"#),
        (r#"{"choice_null":null}"#, r#"{"choiceNull":null}"#),
        (r#"{"an_inner":{"left":"x"}}"#, r#"{"anInner":{"left":"x"}}"#),
    ] {
        reads(request(ECHO, body), expected);
    }
}

#[test]
fn well_known_types_have_their_own_json() {
    for same in [
        r#"{"aTime":"2026-11-21T03:04:05.250Z"}"#,
        r#"{"aDuration":"-3.500s"}"#,
        r#"{"aMask":"aString,anInner.name"}"#,
        r#"{"aStruct":{"a":null,"b":1.5,"c":"x","d":true,"e":[1,[]],"f":{"g":{}}}}"#,
        r#"{"aValue":null}"#,
        r#"{"aValue":[1,"a",{"b":null}]}"#,
        r#"{"aList":[null,1,[2]]}"#,
        r#"{"anEmpty":{}}"#,
        r#"{"aStringValue":"","anInt64Value":"5","aBoolValue":false,"aBytesValue":"+/8=","aFloatValue":1.5}"#,
        r#"{"anAny":{"@type":"type.googleapis.com/coreloop.odd.v1.Inner","name":"x","tags":["a"]}}"#,
        r#"{"anAny":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"3s"}}"#,
        r#"{"times":["1970-01-01T00:00:00Z"],"waits":{"a":"1s"}}"#,
        r#"{"aFile":{"contentType":"text/plain","data":"+/8="}}"#,
    ] {
        reads(request(ECHO, same), same);
    }
    reads(request(ECHO, r#"{"a_mask":"a_string, an_inner.name"}"#), r#"{"aMask":"aString,anInner.name"}"#);
    reads(request(ECHO, r#"{"a_time":"2026-11-21T12:04:05+09:00"}"#), r#"{"aTime":"2026-11-21T03:04:05Z"}"#);
    for (body, expected) in [
        (r#"{"a_time":"yesterday"}"#, "VALIDATION_FAILED a_time: must be an RFC 3339 time"),
        (r#"{"a_time":5}"#, "VALIDATION_FAILED a_time: must be an RFC 3339 time"),
        (r#"{"a_time":{"seconds":5}}"#, "VALIDATION_FAILED a_time: must be an RFC 3339 time"),
        (r#"{"a_duration":"1h"}"#, "VALIDATION_FAILED a_duration: must be a duration in seconds"),
        (r#"{"a_mask":"a b"}"#, "VALIDATION_FAILED a_mask: must be field paths"),
        (r#"{"a_mask":"A_STRING"}"#, "VALIDATION_FAILED a_mask: must be field paths"),
        (r#"{"a_mask":"a__string"}"#, "VALIDATION_FAILED a_mask: must be field paths"),
        (r#"{"a_struct":[]}"#, "VALIDATION_FAILED a_struct: must be an object"),
        (r#"{"a_list":{}}"#, "VALIDATION_FAILED a_list: must be an array"),
        (r#"{"an_int64_value":"x"}"#, "VALIDATION_FAILED an_int64_value: must be a 64-bit integer"),
        (r#"{"an_any":{"name":"x"}}"#, "VALIDATION_FAILED an_any: must name its type in `@type`"),
        (r#"{"an_any":{"@type":"a/no.Such"}}"#, "VALIDATION_FAILED an_any: names an unknown type in `@type`"),
        (
            r#"{"an_any":{"@type":"a/coreloop.odd.v1.Inner","count":"x"}}"#,
            "VALIDATION_FAILED an_any.count: must be a 32-bit",
        ),
    ] {
        refuses(request(ECHO, body), expected);
    }
}

#[test]
fn malformed_json_is_told_from_wrong_values() {
    for body in ["{", "nul", "{\"a_string\":\"x\"} x", "{\"a_string\":}", "{'a':1}", "\u{feff}{}", "{\"a\":1,}"] {
        refuses(request(ECHO, body), "MALFORMED_REQUEST the body is not JSON");
    }
    for body in ["null", "[]", "1", "\"x\"", "true"] {
        refuses(request(ECHO, body), "VALIDATION_FAILED body: must be an object");
    }
    let invalid = Request { body: b"{\"a_string\":\"\xff\"}", ..request(ECHO, "") };
    refuses(invalid, "MALFORMED_REQUEST the body is not JSON");
}

#[test]
fn depth_is_limited() {
    let deep =
        |levels: usize| format!("{}{}", "{\"inner\":".repeat(levels), "}".repeat(levels).replacen('}', "{}}", 1));
    let body = |levels| format!("{{\"an_inner\":{}}}", deep(levels));
    assert!(decode(request(ECHO, &body(90))).is_ok());
    refuses(request(ECHO, &body(2000)), "VALIDATION_FAILED an_inner.inner.inner");
    let any = format!("{{\"an_any\":{{\"x\":{}{}}}}}", "[".repeat(200), "]".repeat(200));
    refuses(request(ECHO, &any), "MALFORMED_REQUEST the body is not JSON: recursion limit exceeded");
    let unknown = format!("{{\"unknown\":{}{}}}", "[".repeat(200), "]".repeat(200));
    // Services read messages 100 deep; a Struct takes three of them for each object.
    assert!(decode(request(ECHO, &body(98))).is_ok());
    refuses(request(ECHO, &body(101)), "VALIDATION_FAILED an_inner.inner.inner");
    let nested = |levels: usize| {
        format!("{{\"a_struct\":{}{}}}", "{\"x\":".repeat(levels), "{}".to_owned() + &"}".repeat(levels))
    };
    assert!(decode(request(ECHO, &nested(30))).is_ok());
    refuses(request(ECHO, &nested(40)), "VALIDATION_FAILED a_struct");
    let query = |levels: usize| format!("GET /v1/echo?an_inner.{}name=x", "inner.".repeat(levels));
    assert!(decode(request(&query(98), "")).is_ok());
    refuses(request(&query(101), ""), "VALIDATION_FAILED an_inner.inner");
    // What is not kept is skipped without recursion.
    reads(request(ECHO, &unknown), "{}");
}

#[test]
fn faults_never_echo_values() {
    for body in [
        r#"{"an_int32":"hunter2"}"#,
        r#"{"words":"hunter2"}"#,
        r#"{"labels":"hunter2"}"#,
        r#"{"a_colour":"hunter2"}"#,
        r#"{"an_any":"hunter2"}"#,
        r#"{"an_any":{"@type":5,"x":"hunter2"}}"#,
        r#""hunter2""#,
    ] {
        let error = decode(request(ECHO, body)).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
