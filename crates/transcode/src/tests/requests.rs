//! Rows of the table that are about bodies: what of a request is read, and into which field.

use super::{ECHO, Request, decode, odd, reads, refuses, request, text};
use crate::{
    request::{Decoder, Input},
    router::Match,
};

#[test]
fn body_star_takes_the_whole_message() {
    for (body, expected) in [
        ("", "{}"),
        (" \n ", "{}"),
        ("{}", "{}"),
        (r#"{"a_string":"x"}"#, r#"{"aString":"x"}"#),
        (r#"{"aString":"x"}"#, r#"{"aString":"x"}"#),
        (r#"{"veryOdd":"x"}"#, r#"{"veryOdd":"x"}"#),
        (r#"{"odd_json_name":"x"}"#, r#"{"veryOdd":"x"}"#),
        (r#"{"a_string":"é\u0000\ud83d\ude00\n"}"#, r#"{"aString":"é\u0000😀\n"}"#),
        (r#"{"unknown":{"deep":[1,{"x":null}]},"a_string":"x"}"#, r#"{"aString":"x"}"#),
        (
            r#"{"an_inner":{"name":"a","inner":{"inner":{"count":3}}}}"#,
            r#"{"anInner":{"name":"a","inner":{"inner":{"count":3}}}}"#,
        ),
        (r#"{"an_inner":{}}"#, r#"{"anInner":{}}"#),
        (r#"{"maybe":""}"#, r#"{"maybe":""}"#),
        (r#"{"maybe":null,"an_inner":null,"numbers":null,"labels":null,"a_colour":null}"#, "{}"),
        (r#"{"far_away":7}"#, r#"{"farAway":7}"#),
    ] {
        reads(request(ECHO, body), expected);
    }
}

#[test]
fn body_star_reads_no_query() {
    reads(request("POST /v1/echo?a_string=x&nonsense=%zz", "{}"), "{}");
}

#[test]
fn body_field_takes_one_field() {
    for (line, body, expected) in [
        ("PUT /v1/echo/x", r#"{"name":"a"}"#, r#"{"aString":"x","anInner":{"name":"a"}}"#),
        ("PUT /v1/echo/x", "", r#"{"aString":"x"}"#),
        ("PUT /v1/echo/x", "null", r#"{"aString":"x"}"#),
        (
            "PUT /v1/echo/x?maybe=q&numbers=1",
            r#"{"count":2}"#,
            r#"{"aString":"x","maybe":"q","numbers":[1],"anInner":{"count":2}}"#,
        ),
        ("POST /v1/list", r#"[{"name":"a"},{}]"#, r#"{"inners":[{"name":"a"},{}]}"#),
        ("POST /v1/map", r#"{"a":"b"}"#, r#"{"labels":{"a":"b"}}"#),
        ("POST /v1/scalar", "5", r#"{"anInt32":5}"#),
        ("POST /v1/choice", r#"{"name":"x"}"#, r#"{"choiceInner":{"name":"x"}}"#),
        // The path wins over the body; what else the body says of the message stays.
        ("POST /v1/echo/path/inner", r#"{"name":"body","count":2}"#, r#"{"anInner":{"name":"path","count":2}}"#),
        (
            "POST /v1/whole/p/0",
            r#"{"a_string":"b","an_inner":{"name":"n","count":9}}"#,
            r#"{"aString":"p","anInner":{"name":"n"}}"#,
        ),
    ] {
        reads(request(line, body), expected);
    }
    refuses(request("POST /v1/list", "{}"), "VALIDATION_FAILED inners: has the wrong JSON type");
    refuses(
        request("POST /v1/list", r#"[{"count":"x"}]"#),
        "VALIDATION_FAILED inners[0].count: must be a 32-bit integer",
    );
    refuses(request("POST /v1/scalar", "{}"), "VALIDATION_FAILED an_int32: must be a 32-bit integer");
}

#[test]
fn absent_body_is_ignored() {
    let asked = Request { content_type: Some("text/plain"), ..request("GET /v1/echo", "not json") };
    reads(asked, "{}");
    reads(request("GET /v1/nothing", "{"), "{}");
}

#[test]
fn media_types_of_json() {
    let sent = |content_type| Request { content_type: Some(content_type), ..request(ECHO, "{}") };
    for good in
        ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/problem+json", ""]
    {
        reads(sent(good), "{}");
    }
    for bad in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json", "multipart/form-data"] {
        refuses(sent(bad), "UNSUPPORTED_MEDIA_TYPE the body must be `application/json`");
    }
    // Without a body there is nothing that could be unsupported.
    reads(Request { content_type: Some("text/plain"), ..request(ECHO, "") }, "{}");
}

#[test]
fn http_body_is_taken_raw() {
    let raw = Request { content_type: Some("image/png"), body: b"\x89PNG\xff", ..request("POST /v1/upload", "") };
    reads(raw, r#"{"contentType":"image/png","data":"iVBOR/8="}"#);
    let named = Request { target: "/v1/upload/cat", ..raw };
    reads(named, r#"{"name":"cat","file":{"contentType":"image/png","data":"iVBOR/8="}}"#);
}

#[test]
fn struct_as_a_request() {
    reads(request("POST /v1/struct", r#"{"a":[1,null]}"#), r#"{"a":[1,null]}"#);
}

#[test]
fn strict_refuses_what_it_does_not_know() {
    reads(request("POST /v1/strict", r#"{"a_string":"x"}"#), r#"{"aString":"x"}"#);
    refuses(request("POST /v1/strict", r#"{"nope":1}"#), "VALIDATION_FAILED nope: is not known");
    refuses(request("POST /v1/strict", r#"{"an_inner":{"nope":1}}"#), "VALIDATION_FAILED an_inner.nope: is not known");
    refuses(request("POST /v1/strict?a_string=x", "{}"), "MALFORMED_REQUEST the query of this request is not read");
    refuses(request("GET /v1/strict?nope=1", ""), "VALIDATION_FAILED nope: is not known");
}

#[test]
fn strict_for_all_routes_by_setting() {
    let Match::Found { route, vars } = odd().find("GET", "/v1/echo") else { panic!("no route") };
    let input = Input { vars: &vars, query: "nope=1", content_type: None, body: b"", idempotency_key: None };
    assert!(Decoder::new(odd()).decode(route, &input).is_ok());
    assert_eq!(Decoder::new(odd()).strict(true).decode(route, &input).unwrap_err().reason(), "VALIDATION_FAILED");
    let Match::Found { route, vars } = odd().find("POST", "/v1/echo") else { panic!("no route") };
    let input = Input { vars: &vars, query: "", body: br#"{"nope":1}"#, ..input };
    assert!(Decoder::new(odd()).decode(route, &input).is_ok());
    assert_eq!(Decoder::new(odd()).strict(true).decode(route, &input).unwrap_err().reason(), "VALIDATION_FAILED");
}

#[test]
fn server_only_fields_are_discarded() {
    reads(request(ECHO, r#"{"stamped":"mine","a_string":"x"}"#), r#"{"aString":"x"}"#);
    reads(request("GET /v1/echo?stamped=mine&a_string=x", ""), r#"{"aString":"x"}"#);
    reads(
        request(ECHO, r#"{"an_any":{"@type":"a/coreloop.odd.v1.Everything","stamped":"x"}}"#),
        r#"{"anAny":{"@type":"a/coreloop.odd.v1.Everything"}}"#,
    );
}

#[test]
fn patch_without_mask_means_what_the_body_names() {
    for (line, body, expected) in [
        (
            "PATCH /v1/things/7",
            r#"{"name":"a","inner":{"count":1,"tags":[]}}"#,
            r#"{"id":"7","inner":{"name":"a","inner":{"count":1}},"updateMask":"name,inner.count,inner.tags"}"#,
        ),
        (
            "PATCH /v1/things/7",
            r#"{"inner":{},"unknown":1,"count":null}"#,
            r#"{"id":"7","inner":{"inner":{}},"updateMask":"inner,count"}"#,
        ),
        (
            "PATCH /v1/things/7?update_mask=name,inner.count",
            r#"{"name":"a","count":5}"#,
            r#"{"id":"7","inner":{"name":"a","count":5},"updateMask":"name,inner.count"}"#,
        ),
        (
            "PATCH /v1/things/7?update_mask=",
            r#"{"name":"a"}"#,
            r#"{"id":"7","inner":{"name":"a"},"updateMask":"name"}"#,
        ),
    ] {
        reads(request(line, body), expected);
    }
}

#[test]
fn idempotency_key_fills_an_empty_field() {
    let keyed = |body| Request { key: Some("k1"), ..request("POST /v1/strict", body) };
    reads(keyed("{}"), r#"{"maybe":"k1"}"#);
    reads(keyed(r#"{"maybe":""}"#), r#"{"maybe":"k1"}"#);
    reads(keyed(r#"{"maybe":"mine"}"#), r#"{"maybe":"mine"}"#);
    reads(Request { key: Some("k1"), ..request(ECHO, "{}") }, "{}");
}

#[test]
fn text_of_messages_is_compared() {
    // Guards the comparison itself: different messages have different text.
    let left = decode(request(ECHO, r#"{"a_string":"x"}"#)).unwrap();
    let right = decode(request(ECHO, r#"{"a_string":"y"}"#)).unwrap();
    assert_ne!(text(&left), text(&right));
}
