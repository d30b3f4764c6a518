//! Bodies: what is accepted is a message of its type, and what we write of it we read again.

use coreloop_transcode::{
    request::{Decoder, Input},
    response::Encoder,
    router::{self, Match, Route, Router, Vars},
};
use prost_reflect::DynamicMessage;

use crate::{drive::fuzz, odd};

const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"false",
    b"0",
    b"-1",
    b"1.5",
    b"1e400",
    b"-0",
    b"9223372036854775808",
    b"18446744073709551616",
    b"\\u0000",
    b"\\ud83d\\ude00",
    b"\\ud800",
    b"\xff",
    b"\"\"",
    b"\"a_string\":",
    b"\"an_inner\":",
    b"\"inner\":",
    b"\"name\":",
    b"\"count\":",
    b"\"tags\":",
    b"\"left\":",
    b"\"numbers\":",
    b"\"inners\":",
    b"\"labels\":",
    b"\"by_number\":",
    b"\"1\":",
    b"\"by_bool\":",
    b"\"true\":",
    b"\"a_time\":",
    b"\"2026-11-21T05:06:07Z\"",
    b"\"a_duration\":",
    b"\"-3.5s\"",
    b"\"a_mask\":",
    b"\"aString,anInner\"",
    b"\"a_struct\":",
    b"\"a_value\":",
    b"\"an_any\":",
    b"\"@type\":\"a/coreloop.odd.v1.Inner\",",
    b"\"value\":",
    b"\"@type\":\"a/google.protobuf.Duration\",",
    b"\"an_int64_value\":",
    b"\"a_colour\":",
    b"\"COLOUR_RED\"",
    b"\"a_bytes\":",
    b"\"aGk=\"",
    b"\"NaN\"",
    b"\"choice_null\":",
    b"\"safe\":",
    b"[[[[[[[[[[[[[[[[",
    b"]]]]]]]]",
    b"{\"inner\":",
    b" ",
    b"\n",
];

const CORPUS: &[&str] = &[
    r#"{"a_string":"x","a_double":1.5,"a_float":"NaN","an_int32":-5,"an_int64":"7","a_uint32":1,"a_uint64":"2"}"#,
    r#"{"a_sint32":-1,"a_sint64":"-2","a_fixed32":3,"a_fixed64":"4","a_sfixed32":-5,"a_sfixed64":"-6","a_bool":true}"#,
    r#"{"a_bytes":"aGk=","a_colour":"COLOUR_RED","an_inner":{"name":"n","inner":{"tags":["a","b"],"right":3}}}"#,
    r#"{"numbers":[1,"2",3e0],"words":["é\u0000"],"colours":["COLOUR_BLUE",1],"inners":[{},{"left":""}]}"#,
    r#"{"labels":{"a":"b"},"by_number":{"1":{"count":2}},"by_bool":{"true":"1"},"choice_inner":{}}"#,
    r#"{"a_time":"2026-11-21T05:06:07.123Z","a_duration":"-3.5s","a_mask":"aString,anInner.name","a_empty":{}}"#,
    r#"{"a_struct":{"a":[1,null,{"b":"c"}]},"a_value":[true],"a_list":[1,"x"],"choice_null":null}"#,
    r#"{"an_any":{"@type":"a/coreloop.odd.v1.Inner","name":"a"},"an_empty":{},"a_file":{"contentType":"x","data":"aGk="}}"#,
    r#"{"an_any":{"@type":"a/google.protobuf.Value","value":[1]},"times":["2026-11-21T05:06:07Z"],"waits":{"a":"1s"}}"#,
    r#"{"a_string_value":"x","an_int64_value":"5","a_bool_value":true,"a_bytes_value":"aGk","a_float_value":"Infinity"}"#,
    r#"{"safe":9007199254740991,"safes":[1,"2"],"zigzags":[-1],"doubles":[1e3],"maybe":"","far_away":1,"x":{"y":[1]}}"#,
    r#"{"name":"n","count":3,"inner":{"name":"m"},"tags":["t"],"left":"l"}"#,
    r#"[{"name":"a"},{}]"#,
    r#"{"email":"a@b.c","password":"correct horse battery","nickname":"n","device":{"id":"d"},"role":"ROLE_VIP"}"#,
    "5",
];

fn routes(router: &'static Router) -> impl Iterator<Item = (&'static Router, &'static Route, Vars<'static>)> {
    router.routes().iter().filter(|route| !matches!(route.body, router::Body::Absent)).map(move |route| {
        let path: &'static str = route.template.fill(|_| "1".to_owned()).leak();
        let method = if route.http_method == "*" { "POST" } else { &route.http_method };
        match router.find(method, path) {
            Match::Found { route, vars } => (router, route, vars),
            other => panic!("{method} {path}: {other:?}"),
        }
    })
}

#[test]
fn bodies() {
    let odd_routes: Vec<_> = routes(odd::router()).collect();
    let our_routes: Vec<_> = routes(router::router()).collect();
    let echo = odd_routes.iter().position(|(_, route, _)| route.template.source() == "/v1/echo").unwrap();
    let corpus = CORPUS.iter().map(|body| body.as_bytes().to_vec()).collect();
    fuzz("bodies", corpus, WORDS, |body, random| {
        let (router, route, vars) = match random.below(4) {
            0 => &our_routes[random.below(our_routes.len())],
            1 => &odd_routes[random.below(odd_routes.len())],
            _ => &odd_routes[echo],
        };
        let input =
            Input { vars, query: "", content_type: Some("application/json"), body, idempotency_key: Some("key") };
        let message = match Decoder::new(router).strict(random.one_in(8)).decode(route, &input) {
            Ok(message) => message,
            Err(problem) => {
                assert_eq!(problem.kind().code(), tonic::Code::InvalidArgument, "{problem:?}");
                return false;
            }
        };
        let kind = route.method.input();
        DynamicMessage::decode(kind.clone(), message.clone()).expect("what was read is a message");
        let whole = random.one_in(4) && *route.http_method == *"POST" && route.template.source() == "/v1/echo";
        if whole && let Ok(written) = Encoder::new(router).message_json(kind.full_name(), &message) {
            let again = Decoder::new(router).decode(route, &Input { body: &written, ..input });
            again.unwrap_or_else(|problem| panic!("{problem:?}: {}", String::from_utf8_lossy(&written)));
        }
        true
    });
}
