//! Queries and what the path captured: a request that is accepted is a message of its type.

use coreloop_transcode::{
    request::{Decoder, Input},
    router::{self, Match, Router},
};
use prost_reflect::DynamicMessage;

use crate::{drive::fuzz, mutate::Random, odd};

const WORDS: &[&[u8]] = &[
    b"&",
    b"=",
    b"&&",
    b".",
    b"..",
    b"[",
    b"]",
    b"%5B",
    b"%",
    b"%zz",
    b"%00",
    b"%ff",
    b"+",
    b"%2B",
    b";",
    b",",
    b"a_string",
    b"an_inner",
    b"inner",
    b"name",
    b"count",
    b"tags",
    b"left",
    b"right",
    b"numbers",
    b"words",
    b"labels",
    b"by_number",
    b"a_colour",
    b"COLOUR_RED",
    b"a_bytes",
    b"aGk=",
    b"a_time",
    b"2026-11-21T05:06:07Z",
    b"a_duration",
    b"1h2m3.5s",
    b"3.5s",
    b"a_mask",
    b"a_struct",
    b"{\"a\":[1]}",
    b"a_value",
    b"an_any",
    b"a_float_value",
    b"NaN",
    b"-1",
    b"0",
    b"9223372036854775808",
    b"1e400",
    b"true",
    b"T",
    b"choice_text",
    b"choice_null",
    b"page_size",
    b"page_token",
    b"\xea\xb0\x80",
    b"null",
    b"seconds",
    b"nanos",
];

/// Queries, and a path whose last capture a query is sent in as well.
const CORPUS: &[&str] = &[
    "a_string=x&anInt32=5&an_inner.name=a&an_inner.inner.count=2",
    "numbers=1&numbers=2&words=a&words=&colours=COLOUR_RED&colours=-2",
    "labels[a]=x&labels%5Bb%5D=y&by_number[1].name=z&by_bool[true]=5",
    "a_time=2026-11-21T05:06:07.5Z&a_duration=3.5s&a_mask=a_string,an_inner.name",
    "a_struct=%7B%22a%22:1%7D&a_value=[1,null]&a_list=[]&a_bytes=aGk=&a_bool=t",
    "a_string_value=x&an_int64_value=5&a_bool_value=true&a_bytes_value=aGk&a_float_value=1.5",
    "choice_text=x&maybe=&far_away=3&safe=9007199254740991&a_double=-1e10&a_float=NaN",
    "times=2026-11-21T05:06:07Z&waits[a]=1h2m&zigzags=-1&doubles=1.5&unknown.x=1",
    "page_size=10&page_token=abc&limit=5&state=x&code=y",
];

/// A route of the table, its parts filled from `input` at random.
fn read(router: &Router, (method, path): (&str, &str), query: &str, random: &mut Random) -> bool {
    let target =
        if path.contains("{}") { path.replace("{}", &query.replace(['?', '/'], "_")) } else { path.to_owned() };
    let Match::Found { route, vars } = router.find(method, &target) else { return false };
    let input = Input {
        vars: &vars,
        query,
        content_type: Some("application/json"),
        body: b"",
        idempotency_key: random.one_in(2).then_some("key"),
    };
    let decoder = Decoder::new(router).strict(random.one_in(8));
    match decoder.decode(route, &input) {
        Ok(message) => {
            DynamicMessage::decode(route.method.input(), message).expect("what was read is a message");
            true
        }
        Err(problem) => {
            assert_eq!(problem.kind().code(), tonic::Code::InvalidArgument, "{problem:?}");
            false
        }
    }
}

#[test]
fn queries() {
    let odd_routes = [
        ("GET", "/v1/echo"),
        ("GET", "/v1/m/{}"),
        ("GET", "/v1/time/{}/COLOUR_RED/true/x"),
        ("PATCH", "/v1/things/{}"),
    ];
    let ours: Vec<(String, String)> = router::router()
        .routes()
        .iter()
        .map(|route| (route.http_method.clone(), route.template.fill(|_| "{}".to_owned())))
        .collect();
    let corpus = CORPUS.iter().map(|query| query.as_bytes().to_vec()).collect();
    fuzz("queries", corpus, WORDS, |input, random| {
        let query = String::from_utf8_lossy(input);
        if random.one_in(4) {
            let (method, path) = &ours[random.below(ours.len())];
            return read(router::router(), (method, path), &query, random);
        }
        let route = if random.one_in(3) { odd_routes[1 + random.below(3)] } else { odd_routes[0] };
        read(odd::router(), route, &query, random)
    });
}
