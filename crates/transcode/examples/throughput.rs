//! Times the matcher and the codec on a sign-in, in a loop: `cargo run --release -p coreloop-transcode --example throughput`.
//!
//! No assertion: figures depend on the machine. They sit beside a bare `serde_json` round over the same text, which is the
//! limit of anything that reads and writes JSON, and beside `DynamicMessage`, the road not taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measuring program for developers"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use coreloop_transcode::{
    descriptor,
    request::{Decoder, Input},
    response::Encoder,
    router::{Match, router},
};
use prost_reflect::{DynamicMessage, SerializeOptions, prost::Message as _};

const ROUNDS: usize = 5;
const CALLS: u32 = 100_000;

/// Median nanoseconds a call over five rounds.
fn measure(name: &str, mut call: impl FnMut()) {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed()
        })
        .collect();
    rounds.sort();
    println!("{name:<48} {:>7} ns", rounds.get(ROUNDS / 2).map_or(0, Duration::as_nanos) / u128::from(CALLS));
}

fn main() {
    let start = Instant::now();
    let messages = descriptor::pool().all_messages().len();
    println!("pool of {messages} messages decoded in {:?}", start.elapsed());
    let start = Instant::now();
    let router = router();
    println!("router of {} routes built in {:?}", router.routes().len(), start.elapsed());
    let body = br#"{"email":"mina@example.com","password":"correct horse battery staple","device_name":"Pixel 9","device_id":"0192f0c1-2b3c-7d4e-8f50-61728394a5b6"}"#;
    let Match::Found { route, vars } = router.find("POST", "/api/v1/auth/login") else { panic!("no route") };
    let input = Input { vars: &vars, query: "", content_type: Some("application/json"), body, idempotency_key: None };
    let (decoder, encoder) = (Decoder::new(router), Encoder::new(router));
    let encoded = decoder.decode(route, &input).unwrap();
    let request = route.method.input();

    measure("find a literal path", || drop(black_box(router.find("POST", black_box("/api/v1/auth/login")))));
    measure("find a path with a variable", || {
        drop(black_box(router.find("GET", black_box("/api/v1/auth/authorize/google"))))
    });
    measure("find nothing", || drop(black_box(router.find("GET", black_box("/api/v1/nothing/here")))));
    measure("request: JSON -> wire", || drop(black_box(decoder.decode(route, black_box(&input)).unwrap())));
    measure("request: JSON -> DynamicMessage -> wire", || {
        let mut json = serde_json::Deserializer::from_slice(black_box(body));
        drop(black_box(DynamicMessage::deserialize(request.clone(), &mut json).unwrap().encode_to_vec()));
    });
    measure("response: wire -> JSON", || {
        drop(black_box(encoder.message_json(request.full_name(), black_box(&encoded)).unwrap()));
    });
    let options = SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true);
    measure("response: wire -> DynamicMessage -> JSON", || {
        let message = DynamicMessage::decode(request.clone(), black_box(&encoded[..])).unwrap();
        let mut serializer = serde_json::Serializer::new(Vec::with_capacity(256));
        message.serialize_with_options(&mut serializer, &options).unwrap();
        drop(black_box(serializer.into_inner()));
    });
    measure("bare serde_json: text -> Value -> text", || {
        let value: serde_json::Value = serde_json::from_slice(black_box(body)).unwrap();
        drop(black_box(serde_json::to_vec(&value).unwrap()));
    });
}
