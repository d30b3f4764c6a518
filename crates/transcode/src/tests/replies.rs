//! Rows of the table that are about answers.

use prost_reflect::{DynamicMessage, SerializeOptions, prost::Message as _};
use serde_json::{Value, json};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{odd, odd_pool, reference};
use crate::{
    options::Lang,
    response::{Encoder, Reply, ndjson_error, ndjson_result, sse_event},
    router::Match,
};

fn json_of(message: &str, json: &str) -> String {
    let encoded = reference(message, json).encode_to_vec();
    let bytes = Encoder::new(odd()).message_json(message, &encoded).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn reply(path: &str, message: &str, json: &str) -> Reply {
    let Match::Found { route, .. } = odd().find("GET", path) else { panic!("no route {path}") };
    Encoder::new(odd()).encode(route, &reference(message, json).encode_to_vec()).unwrap()
}

#[test]
fn defaults_are_written_in_declaration_order_and_unset_messages_are_not() {
    assert_eq!(
        json_of("coreloop.odd.v1.Everything", "{}"),
        concat!(
            r#"{"a_string":"","a_double":0.0,"a_float":0.0,"an_int32":0,"an_int64":"0","a_uint32":0,"a_uint64":"0","#,
            r#""a_sint32":0,"a_sint64":"0","a_fixed32":0,"a_fixed64":"0","a_sfixed32":0,"a_sfixed64":"0","a_bool":false,"#,
            r#""a_bytes":"","a_colour":"COLOUR_UNSPECIFIED","numbers":[],"words":[],"colours":[],"inners":[],"labels":{},"#,
            r#""by_number":{},"by_bool":{},"safe":0,"safes":[],"stamped":"","odd_json_name":"","times":[],"waits":{},"#,
            r#""zigzags":[],"doubles":[],"far_away":0}"#
        )
    );
}

#[test]
fn values_follow_protojson() {
    let written = |json: &str| -> Value {
        let all: Value = serde_json::from_str(&json_of("coreloop.odd.v1.Everything", json)).unwrap();
        all
    };
    for (json, field, expected) in [
        (r#"{"aString":"a\"\\\u0001é😀"}"#, "a_string", json!("a\"\\\u{1}é😀")),
        (r#"{"aDouble":1.5}"#, "a_double", json!(1.5)),
        (r#"{"aDouble":"NaN"}"#, "a_double", json!("NaN")),
        (r#"{"aFloat":"-Infinity"}"#, "a_float", json!("-Infinity")),
        (r#"{"aFloat":0.1}"#, "a_float", json!(0.1)),
        (r#"{"anInt32":-5}"#, "an_int32", json!(-5)),
        (r#"{"anInt64":"-9223372036854775808"}"#, "an_int64", json!("-9223372036854775808")),
        (r#"{"aUint64":"18446744073709551615"}"#, "a_uint64", json!("18446744073709551615")),
        (r#"{"aSint32":-2147483648}"#, "a_sint32", json!(-2_147_483_648_i64)),
        (r#"{"aSint64":"-9223372036854775808"}"#, "a_sint64", json!("-9223372036854775808")),
        (r#"{"aSfixed32":-1}"#, "a_sfixed32", json!(-1)),
        (r#"{"aSfixed64":"-1"}"#, "a_sfixed64", json!("-1")),
        (r#"{"aFixed32":4294967295}"#, "a_fixed32", json!(4_294_967_295_u32)),
        (r#"{"safe":"9007199254740991"}"#, "safe", json!(9_007_199_254_740_991_i64)),
        (r#"{"safes":["-1","2"]}"#, "safes", json!([-1, 2])),
        (r#"{"zigzags":["-1","2"]}"#, "zigzags", json!(["-1", "2"])),
        (r#"{"aBytes":"+/8="}"#, "a_bytes", json!("+/8=")),
        (r#"{"aColour":"COLOUR_BLUE"}"#, "a_colour", json!("COLOUR_BLUE")),
        (r#"{"colours":[1,99]}"#, "colours", json!(["COLOUR_RED", 99])),
        (r#"{"maybe":""}"#, "maybe", json!("")),
        (r#"{"anInner":{}}"#, "an_inner", json!({"name":"","count":0,"tags":[]})),
        (r#"{"labels":{"b":"2","a":"1"}}"#, "labels", json!({"a":"1","b":"2"})),
        (r#"{"byNumber":{"-5":{}}}"#, "by_number", json!({"-5":{"name":"","count":0,"tags":[]}})),
        (r#"{"byBool":{"true":"5"}}"#, "by_bool", json!({"true":"5"})),
        (r#"{"choiceText":""}"#, "choice_text", json!("")),
        (r#"{"choiceNull":null}"#, "choice_null", json!(null)),
        (r#"{"aTime":"2026-11-21T03:04:05.25Z"}"#, "a_time", json!("2026-11-21T03:04:05.250Z")),
        (r#"{"aDuration":"-0.5s"}"#, "a_duration", json!("-0.500s")),
        (r#"{"aMask":"aString,anInner.name"}"#, "a_mask", json!("aString,anInner.name")),
        (r#"{"aStruct":{"a":[1,2.5,null,true,"x",{}]}}"#, "a_struct", json!({"a":[1,2.5,null,true,"x",{}]})),
        (r#"{"aValue":null}"#, "a_value", json!(null)),
        (r#"{"aList":[]}"#, "a_list", json!([])),
        (r#"{"anEmpty":{}}"#, "an_empty", json!({})),
        (r#"{"aStringValue":""}"#, "a_string_value", json!("")),
        (r#"{"anInt64Value":"5"}"#, "an_int64_value", json!("5")),
        (r#"{"aBoolValue":false}"#, "a_bool_value", json!(false)),
        (
            r#"{"anAny":{"@type":"a/google.protobuf.Duration","value":"1s"}}"#,
            "an_any",
            json!({"@type":"a/google.protobuf.Duration","value":"1s"}),
        ),
        (
            r#"{"anAny":{"@type":"a/coreloop.odd.v1.Inner","name":"x"}}"#,
            "an_any",
            json!({"@type":"a/coreloop.odd.v1.Inner","name":"x","count":0,"tags":[]}),
        ),
        (r#"{"times":["1970-01-01T00:00:00Z"]}"#, "times", json!(["1970-01-01T00:00:00Z"])),
        (r#"{"waits":{"a":"1s"}}"#, "waits", json!({"a":"1s"})),
        (r#"{"farAway":7}"#, "far_away", json!(7)),
    ] {
        assert_eq!(written(json).get(field), Some(&expected), "{json}");
    }
}

/// prost-reflect's own serializer agrees wherever ours does not differ by intent.
#[test]
fn agrees_with_the_reference() {
    let options = SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true);
    for json in [
        "{}",
        r#"{"aString":"x","anInner":{"name":"a","inner":{"tags":["x"]}},"numbers":[1,2],"words":["a"],"inners":[{},{"left":""}]}"#,
        r#"{"aTime":"2026-11-21T03:04:05.000001Z","aDuration":"1.000000001s","labels":{"a":"b"},"choiceInner":{"right":0}}"#,
        r#"{"aStruct":{"x":{"y":[true,null,"s"]}},"aValue":"s","aBytesValue":"AA==","anEmpty":{},"aFile":{"data":"AA=="}}"#,
    ] {
        let message = reference("coreloop.odd.v1.Everything", json);
        let mut serializer = serde_json::Serializer::new(Vec::new());
        message.serialize_with_options(&mut serializer, &options).unwrap();
        let mut theirs: Value = serde_json::from_slice(&serializer.into_inner()).unwrap();
        theirs["safe"] = json!(0);
        let ours: Value = serde_json::from_str(&json_of("coreloop.odd.v1.Everything", json)).unwrap();
        assert_eq!(ours, theirs, "{json}");
    }
}

#[test]
fn parts_on_the_wire_are_merged() {
    let one = reference(
        "coreloop.odd.v1.Everything",
        r#"{"anInner":{"name":"a"},"numbers":[1],"choiceText":"x","anInt32":1}"#,
    );
    let two = reference(
        "coreloop.odd.v1.Everything",
        r#"{"anInner":{"count":2},"numbers":[2],"choiceInner":{},"anInt32":2}"#,
    );
    let wire = [one.encode_to_vec(), two.encode_to_vec()].concat();
    let json: Value =
        serde_json::from_slice(&Encoder::new(odd()).message_json("coreloop.odd.v1.Everything", &wire).unwrap())
            .unwrap();
    assert_eq!(json["an_inner"], json!({"name":"a","count":2,"tags":[]}));
    assert_eq!(json["numbers"], json!([1, 2]));
    assert_eq!(json["an_int32"], json!(2));
    assert_eq!((json.get("choice_text"), &json["choice_inner"]["count"]), (None, &json!(0)));
}

#[test]
fn unknown_fields_and_types_are_survived() {
    let mut wire = reference("coreloop.odd.v1.Inner", r#"{"name":"a"}"#).encode_to_vec();
    wire.extend([0xfa, 0x07, 1, 9, 0xf8, 0x07, 5]);
    let json = Encoder::new(odd()).message_json("coreloop.odd.v1.Inner", &wire).unwrap();
    assert_eq!(json, r#"{"name":"a","count":0,"tags":[]}"#);
    let any = [&[0x0a, 6][..], b"a/no.x", &[0x12, 1, 0xff]].concat();
    let json = Encoder::new(odd()).message_json("google.protobuf.Any", &any).unwrap();
    assert_eq!(json, r#"{"@type":"a/no.x","value":"/w=="}"#);
    assert!(Encoder::new(odd()).message_json("coreloop.odd.v1.Inner", &[0x0a, 2, 0xff, 0xff]).is_err());
    assert!(Encoder::new(odd()).message_json("coreloop.odd.v1.Inner", &[0x08, 2]).is_err());
    assert!(Encoder::new(odd()).message_json("no.Such", b"").is_err());
}

#[test]
fn response_body_is_one_field() {
    let reply_of = |path: &str, json: &str| {
        let reply = reply(path, "coreloop.odd.v1.StringReply", json);
        assert_eq!((reply.http_status, &*reply.content_type, reply.location), (202, "application/json", None));
        String::from_utf8(reply.body.to_vec()).unwrap()
    };
    for (path, json, expected) in [
        ("/v1/reply/inner", r#"{"inner":{"name":"a"}}"#, r#"{"name":"a","count":0,"tags":[]}"#),
        ("/v1/reply/inner", "{}", r#"{"name":"","count":0,"tags":[]}"#),
        ("/v1/reply/inners", r#"{"inners":[{"name":"a","tags":["t"]}]}"#, r#"[{"name":"a","count":0,"tags":["t"]}]"#),
        ("/v1/reply/inners", "{}", "[]"),
        ("/v1/reply/counts", r#"{"counts":{"b":2,"a":1},"location":"x"}"#, r#"{"a":1,"b":2}"#),
        ("/v1/reply/location", r#"{"location":"here"}"#, r#""here""#),
    ] {
        assert_eq!(reply_of(path, json), expected);
    }
}

#[test]
fn http_body_is_answered_raw() {
    let Match::Found { route, .. } = odd().find("POST", "/v1/upload") else { panic!("no route") };
    let body = reference("google.api.HttpBody", r#"{"contentType":"text/csv","data":"YSxi"}"#).encode_to_vec();
    let reply = Encoder::new(odd()).encode(route, &body).unwrap();
    assert_eq!((&*reply.content_type, &*reply.body), ("text/csv", &b"a,b"[..]));
    let Match::Found { route, .. } = odd().find("POST", "/v1/upload/x") else { panic!("no route") };
    let nested = reference("coreloop.odd.v1.StringReply", r#"{"file":{"data":"AA=="}}"#).encode_to_vec();
    let reply = Encoder::new(odd()).encode(route, &nested).unwrap();
    assert_eq!((&*reply.content_type, &*reply.body), ("application/octet-stream", &[0][..]));
    assert_eq!(Encoder::new(odd()).stream_json(route, &nested).unwrap(), &[0][..]);
}

#[test]
fn redirects_and_empty() {
    let redirected = reply("/v1/redirect", "coreloop.odd.v1.StringReply", r#"{"location":"app://x?y=1"}"#);
    assert_eq!((redirected.http_status, redirected.location.as_deref()), (302, Some("app://x?y=1")));
    let stayed = reply("/v1/redirect", "coreloop.odd.v1.StringReply", "{}");
    assert_eq!((stayed.http_status, stayed.location), (200, None));
    assert_eq!(reply("/v1/nothing", "google.protobuf.Empty", "{}").body, "{}");
}

#[test]
fn frames_of_streams() {
    assert_eq!(ndjson_result(b"{}"), "{\"result\":{}}\n");
    assert_eq!(ndjson_error(b"{}"), "{\"error\":{}}\n");
    assert_eq!(sse_event(b"{}"), "data: {}\n\n");
}

fn error(status: &tonic::Status, lang: Option<Lang>) -> (crate::status::ErrorReply, Value) {
    let reply = Encoder::new(odd()).error(status.code().into(), status.message(), status.details(), lang);
    let json = serde_json::from_slice(&reply.body).unwrap();
    (reply, json)
}

#[test]
fn errors_are_google_rpc_status() {
    let mut details = ErrorDetails::new();
    details.set_error_info("RATE_LIMITED", "coreloop", [("limit".to_owned(), "5".to_owned())]);
    details.set_retry_info(Some(std::time::Duration::from_millis(1500)));
    details.add_bad_request_violation("email", "must be an address");
    let status = tonic::Status::with_error_details(tonic::Code::ResourceExhausted, "slow \"down\"", details);
    let (reply, json) = error(&status, Some(Lang::Ko));
    assert_eq!((reply.http_status, reply.retry_after_secs), (429, Some(2)));
    assert_eq!((reply.domain.as_str(), reply.reason.as_str()), ("coreloop", "RATE_LIMITED"));
    assert_eq!(
        json,
        json!({"code": 8, "message": "slow \"down\"", "details": [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "1.500s"},
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMITED", "domain": "coreloop", "metadata": {"limit": "5"}},
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "field_violations": [
                {"field": "email", "description": "must be an address", "reason": "", }]},
            {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "ko", "message": "요청이 너무 많습니다."},
        ]})
    );
    let (_, json) = error(&status, None);
    assert_eq!(json["details"].as_array().unwrap().len(), 3);
}

#[test]
fn undecodable_details_are_dropped() {
    let any = |url: &str, value: &[u8]| {
        let mut any = vec![0x0a, u8::try_from(url.len()).unwrap()];
        any.extend_from_slice(url.as_bytes());
        any.extend([0x12, u8::try_from(value.len()).unwrap()]);
        any.extend_from_slice(value);
        let mut detail = vec![0x1a, u8::try_from(any.len()).unwrap()];
        detail.extend(any);
        detail
    };
    let details = [
        any("x/no.Such", b""),
        any("x/google.rpc.ErrorInfo", &[0x0a, 9, 1]),
        any("x/google.rpc.ErrorInfo", b"\x0a\x01R\x12\x01D"),
    ]
    .concat();
    let reply = Encoder::new(odd()).error(5, "gone", &details, Some(Lang::En));
    let json: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        json,
        json!({"code":5,"message":"gone","details":[{"@type":"x/google.rpc.ErrorInfo","reason":"R","domain":"D","metadata":{}}]})
    );
    for garbage in [&b"\xff\xff"[..], b"\x1a\x05x", b"\x1a\x02\xff\xff", b"garbage"] {
        let reply = Encoder::new(odd()).error(5, "gone", garbage, None);
        assert_eq!(reply.body, r#"{"code":5,"message":"gone","details":[]}"#);
        assert_eq!(reply.http_status, 404);
    }
}

#[test]
fn failures_on_the_way_are_not_quoted() {
    let (reply, json) = error(&tonic::Status::unavailable("tcp connect error: 10.0.0.7:50051"), Some(Lang::En));
    assert_eq!((reply.http_status, reply.reason.as_str()), (503, "DEPENDENCY_UNAVAILABLE"));
    assert!(!json.to_string().contains("10.0.0.7"));
    assert_eq!(json["details"][1]["message"], "Please try again in a moment.");
    let (reply, json) = error(&tonic::Status::unknown("panicked at src/secret.rs"), None);
    assert_eq!((reply.http_status, json["message"].as_str()), (500, Some("internal error")));
    let (reply, json) = error(&tonic::Status::not_found("no such shop"), None);
    assert_eq!((reply.http_status, json["message"].as_str()), (404, Some("no such shop")));
}

#[test]
fn codes_have_their_http_status() {
    let expected = [500, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500];
    for (code, http) in (0..18).zip(expected) {
        // 0 is no error; an error reply of it, or of a code that does not exist, is UNKNOWN.
        assert_eq!(Encoder::new(odd()).error(code, "", b"", None).http_status, http, "{code}");
    }
    for (code, reason, http) in [
        (0, "", 200),
        (12, "METHOD_NOT_ALLOWED", 405),
        (12, "UNIMPLEMENTED", 501),
        (3, "BODY_TOO_LARGE", 413),
        (3, "UNSUPPORTED_MEDIA_TYPE", 415),
        (3, "UPGRADE_REQUIRED", 426),
        (3, "HEADERS_TOO_LARGE", 431),
        (3, "VALIDATION_FAILED", 400),
        (-1, "", 500),
    ] {
        assert_eq!(crate::status::http_status(code, reason), http);
    }
}

#[test]
fn reference_pool_is_the_odd_one() {
    assert!(
        DynamicMessage::new(odd_pool().get_message_by_name("coreloop.odd.v1.Everything").unwrap())
            .encode_to_vec()
            .is_empty()
    );
}
