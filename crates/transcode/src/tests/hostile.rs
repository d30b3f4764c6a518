//! No input makes the codec panic, and what it reads is always a message.

use proptest::prelude::*;

use super::{Request, decode, odd, reference, text};
use crate::response::Encoder;

const PATHS: &[(&str, &str)] = &[
    ("POST", "/v1/echo"),
    ("PUT", "/v1/echo/x"),
    ("POST", "/v1/list"),
    ("POST", "/v1/map"),
    ("POST", "/v1/scalar"),
    ("PATCH", "/v1/things/1"),
    ("POST", "/v1/upload"),
    ("POST", "/v1/struct"),
    ("POST", "/v1/strict"),
];

fn fields() -> Vec<String> {
    let message = super::odd_pool().get_message_by_name("coreloop.odd.v1.Everything").unwrap();
    message.fields().map(|f| f.name().to_owned()).collect()
}

/// Any number.
fn any_number() -> BoxedStrategy<serde_json::Value> {
    prop_oneof![
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
    ]
    .boxed()
}

/// Numbers that `serde_json` reads exactly; it rounds floats of many digits by a last place unless built otherwise.
fn exact_number() -> BoxedStrategy<serde_json::Value> {
    let limit = 1_i64 << 53;
    prop_oneof![(-limit..limit).prop_map(Into::into), any::<i16>().prop_map(|v| (f64::from(v) / 8.0).into()),].boxed()
}

/// JSON of any shape whose member names are often our fields.
fn any_json(number: BoxedStrategy<serde_json::Value>) -> impl Strategy<Value = serde_json::Value> {
    let names = fields();
    let leaf = prop_oneof![
        1 => Just(serde_json::Value::Null),
        1 => any::<bool>().prop_map(Into::into),
        3 => number,
        1 => (-3..100_i32).prop_map(Into::into),
        1 => "[0-9]{1,4}|[a-zA-Z0-9+/_-]{0,8}|.*".prop_map(Into::into),
        1 => "1970-01-01T00:00:0[0-9](\\.[0-9]{1,9})?Z|[0-9]{1,4}s|COLOUR_RED|NaN|a/coreloop.odd.v1.Inner"
            .prop_map(Into::into),
    ];
    let name = prop_oneof![
        8 => prop::sample::select(names),
        2 => prop::sample::select(vec!["name", "count", "inner", "tags", "left", "right", "@type", "value", "true", "5"])
            .prop_map(str::to_owned),
        1 => ".*",
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..256), at in 0..PATHS.len()) {
        let (method, target) = PATHS[at];
        let _ = decode(Request { method, target, content_type: None, body: &body, key: Some("k") });
    }

    #[test]
    fn any_query_is_survived(query in ".*", name in prop::sample::select(fields()), value in ".*") {
        for target in [format!("/v1/echo?{query}"), format!("/v1/echo?{name}={value}"), format!("/v1/echo?{name}{query}")] {
            let _ = decode(Request { method: "GET", target: &target, content_type: None, body: b"", key: None });
        }
    }

    #[test]
    fn any_json_is_a_message_or_refused(json in any_json(any_number()), at in 0..PATHS.len()) {
        let (method, target) = PATHS[at];
        let body = json.to_string();
        // `decode` itself fails the test when what we wrote is not a message.
        let _ = decode(Request { method, target, content_type: None, body: body.as_bytes(), key: None });
    }

    /// What we read and write again, we read as the same message.
    #[test]
    fn json_returns(json in any_json(exact_number())) {
        let body = json.to_string();
        let asked = |body| Request { method: "POST", target: "/v1/echo", content_type: None, body, key: None };
        let Ok(message) = decode(asked(body.as_bytes())) else { return Ok(()) };
        let encoded = prost_reflect::prost::Message::encode_to_vec(&message);
        let Ok(written) = Encoder::new(odd()).message_json("coreloop.odd.v1.Everything", &encoded) else { return Ok(()) };
        let again = decode(asked(&written));
        // The reference can neither write nor read an Any of nothing, which is `{}`.
        if written.windows(11).any(|part| part == b"\"an_any\":{}") {
            prop_assert_eq!(again.is_ok(), true);
            return Ok(());
        }
        prop_assert_eq!(again.map(|m| text(&m)), Ok(text(&message)));
        // The reference reads what we write as what we read.
        let theirs = reference("coreloop.odd.v1.Everything", std::str::from_utf8(&written).unwrap());
        prop_assert_eq!(text(&theirs), text(&message));
    }

    #[test]
    fn any_wire_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        for message in ["coreloop.odd.v1.Everything", "google.protobuf.Struct", "google.protobuf.Any", "google.rpc.Status"] {
            if let Ok(json) = Encoder::new(odd()).message_json(message, &bytes) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
            }
        }
        let reply = Encoder::new(odd()).error(3, "x", &bytes, None);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok());
    }
}
