//! Slow clients, rapid resets, floods, oversized and deep inputs (H): refused cheaply, and nobody else notices.
//!
//! Each attack goes through Envoy and straight to the edge and to a service's gRPC port, while others go on calling.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coreloop_testkit::{Answer, TestMesh, alone, memory::resident_kib, raw, wait::PATIENCE, wait_until};
use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What may be added to the memory of the test's process by any of these, attackers and all, in KiB.
const MEMORY_KIB: u64 = 300_000;
/// Good calls made beside each, at the least.
const LEAST: u64 = 1_000;
/// A refusal of what is too large or too deep takes no longer.
const CHEAP: Duration = Duration::from_millis(50);

/// A mesh with its fronts, and people who use it.
pub(super) struct Stage {
    pub(super) mesh: TestMesh,
    /// Envoy, the edge, and auth's gRPC port.
    pub(super) fronts: [String; 3],
}

impl Stage {
    async fn set() -> Self {
        Self::with("").await
    }

    /// A stage with other settings.
    pub(super) async fn with(toml: &str) -> Self {
        // Every request here comes from one address: limits by address are another test's.
        let mesh = TestMesh::builder().envoy().setting("limit.enabled", false).toml(toml).start().await;
        let plain = |url: String| url.trim_start_matches("http://").to_owned();
        let auth = mesh.node(0, "auth").running().grpc_addrs["auth"].to_string();
        let fronts = [plain(mesh.front()), plain(mesh.gateway()), auth];
        Self { mesh, fronts }
    }

    /// Runs an attack while good calls are made through Envoy; all but one in a thousand of them must succeed, and the
    /// process must not grow.
    pub(super) async fn goes_on<T>(&self, attack: impl Future<Output = T>) -> T {
        let alice = self.mesh.persona("alice").await;
        let (over, good, bad) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let before = resident_kib();
        let callers = join_all((0..4).map(async |_| {
            while !over.load(Ordering::Relaxed) || good.load(Ordering::Relaxed) < LEAST {
                let me = alice.rest().get("/api/v1/auth/me").within(Duration::from_secs(10)).try_send().await;
                let counted = match me {
                    Ok(answer) if answer.status == 200 => &good,
                    other => {
                        let logged = other.as_ref().map(Answer::logged).unwrap_or_default();
                        println!("a good call failed: {other:?}, logged {logged:?}");
                        &bad
                    }
                };
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let attack = async {
            let outcome = attack.await;
            over.store(true, Ordering::Relaxed);
            outcome
        };
        let (_, outcome) = tokio::join!(callers, attack);
        let (good, bad) = (good.into_inner(), bad.into_inner());
        let grown = resident_kib().saturating_sub(before);
        println!("{good} good calls, {bad} failed; {grown} KiB grown");
        assert!(bad * 1_000 <= good + bad, "{bad} of {} good calls failed", good + bad);
        assert!(grown < MEMORY_KIB, "the process grew by {grown} KiB");
        outcome
    }
}

/// Connects, writes `first` and then `drop` each half second until the peer closes; answers how long that took.
async fn trickle(front: &str, first: &[u8], drop: &[u8], patience: Duration) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(front).await.unwrap();
    stream.write_all(first).await.unwrap();
    let mut piece = [0; 1024];
    while began.elapsed() < patience {
        match tokio::time::timeout(Duration::from_millis(500), stream.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) if stream.write_all(drop).await.is_err() => break,
            Err(_) => {}
        }
    }
    began.elapsed()
}

/// Slow heads and bodies, and connections on which nothing comes at all.
#[test]
fn slow_clients_are_let_go() {
    alone(async {
        let stage = Stage::set().await;
        let [envoy, edge, auth] = &stage.fronts;
        let patience = Duration::from_secs(25);
        let head = b"POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\n".as_slice();
        let body = b"POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"
            .as_slice();
        let slow = [
            ("a slow head at Envoy", envoy, head, b"x: y\r\n".as_slice()),
            ("a slow head at the edge", edge, head, b"x: y\r\n"),
            ("a slow body at the edge", edge, body, b" "),
            ("silence at the edge", edge, b"", b""),
            ("half a preface at the edge", edge, b"PRI * HT", b""),
            ("silence at auth", auth, b"", b""),
        ];
        let all = slow.iter().flat_map(|slow| std::iter::repeat_n(*slow, 40));
        let attack =
            join_all(all.map(async |(what, front, first, drop)| (what, trickle(front, first, drop, patience).await)));
        for (what, took) in stage.goes_on(attack).await {
            assert!(took < patience, "{what}: still open after {took:?}");
        }
    });
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET /healthz` in HPACK without a table.
fn healthz() -> Vec<u8> {
    [&[0x82, 0x86, 0x04, 8][..], b"/healthz", &[0x01, 1], b"a"].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

/// Sends what `next` makes of 0, 1, 2… until the peer closes or `count` were sent, reading as `reads` says. Answers how
/// many went out.
async fn flood(front: &str, reads: bool, count: u32, next: impl Fn(u32) -> Vec<u8>) -> u32 {
    let Ok(stream) = TcpStream::connect(front).await else { return 0 };
    let (mut from, mut to) = stream.into_split();
    let closed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&closed);
    let reader = tokio::spawn(async move {
        let mut piece = vec![0; 65_536];
        while reads && matches!(from.read(&mut piece).await, Ok(read) if read > 0) {}
        if reads {
            seen.store(true, Ordering::Relaxed);
        } else {
            std::future::pending::<()>().await;
        }
        drop(from);
    });
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, b"")].concat();
    let _ = to.write_all(&hello).await;
    let mut sent = 0;
    for number in 0..count {
        // A peer that reads no more has shut the door as well as one that closes.
        let wrote = tokio::time::timeout(Duration::from_secs(2), to.write_all(&next(number))).await;
        if closed.load(Ordering::Relaxed) || !matches!(wrote, Ok(Ok(()))) {
            break;
        }
        sent += 1;
    }
    reader.abort();
    sent
}

/// The same flood at every front, four times over.
async fn everywhere(stage: &Stage, reads: bool, count: u32, next: impl Fn(u32) -> Vec<u8> + Copy) -> Vec<u32> {
    let floods = stage.fronts.iter().flat_map(|front| std::iter::repeat_n(front, 4));
    let sent = stage.goes_on(join_all(floods.map(|front| flood(front, reads, count, next)))).await;
    println!("frames sent of {count}: {sent:?}");
    sent
}

#[test]
fn rapid_resets_are_survived() {
    alone(async {
        let stage = Stage::set().await;
        everywhere(&stage, true, 3_000, |number| {
            let stream = 2 * number + 1;
            [frame(HEADERS, 0x5, stream, &healthz()), frame(RESET, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .await;
    });
}

#[test]
fn floods_of_pings_settings_and_empty_data_are_survived() {
    alone(async {
        let stage = Stage::set().await;
        // The answers are not read: a peer that queues them without bound would grow.
        everywhere(&stage, false, 50_000, |number| match number % 2 {
            0 => frame(PING, 0, 0, b"12345678"),
            _ => frame(SETTINGS, 0, 0, b"\x00\x03\x00\x00\x00\x64"),
        })
        .await;
        everywhere(&stage, true, 20_000, |number| match number {
            0 => frame(HEADERS, 0x4, 1, &healthz()),
            _ => frame(DATA, 0, 1, b""),
        })
        .await;
    });
}

#[test]
fn a_head_without_end_is_cut_off() {
    alone(async {
        let stage = Stage::set().await;
        // 16 KiB each: no front reads a gigabyte of one head.
        let piece = [&[0x00, 1][..], b"x", &[0x7f, 0x80, 0x7e], &vec![b'a'; 16_000]].concat();
        let next = |number| match number {
            0 => frame(HEADERS, 0x1, 1, &healthz()),
            _ => frame(CONTINUATION, 0, 1, &piece),
        };
        let sent = everywhere(&stage, true, 60_000, &next).await;
        assert!(sent.iter().all(|sent| *sent < 5_000), "a head of so many frames was read: {sent:?}");
    });
}

/// The status of a request, and how long the answer took.
async fn asked(front: &str, head: &str, body: &[u8]) -> (u16, Duration) {
    let request = [format!("{head}\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes(), body].concat();
    let mut stream = TcpStream::connect(front).await.unwrap();
    let began = Instant::now();
    let _ = stream.write_all(&request).await;
    let mut piece = [0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut piece)).await.unwrap().unwrap_or(0);
    let took = began.elapsed();
    let status =
        String::from_utf8_lossy(&piece[..read]).split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, took)
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_cheaply() {
    alone(async {
        let stage = Stage::set().await;
        let post = "POST /api/v1/auth/login HTTP/1.1\r\ncontent-type: application/json";
        let many: String = (0..300).map(|number| format!("\r\nx-{number}: y")).collect();
        let deep = format!("{{\"device\":{}{}}}", "{\"device\":".repeat(5_000), "}".repeat(5_001));
        let listed = format!("{{\"email\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        let bomb = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3].as_slice();
        let cases: Vec<(&str, String, Vec<u8>, u16)> = vec![
            ("large headers", format!("GET /healthz HTTP/1.1\r\nx-large: {}", "x".repeat(40_000)), vec![], 431),
            ("many headers", format!("GET /healthz HTTP/1.1{many}"), vec![], 431),
            ("a large body", format!("{post}\r\ncontent-length: 104857600"), vec![], 413),
            ("deep JSON", format!("{post}\r\ncontent-length: {}", deep.len()), deep.into_bytes(), 400),
            ("deep lists", format!("{post}\r\ncontent-length: {}", listed.len()), listed.into_bytes(), 400),
            ("a packed body", format!("{post}\r\ncontent-encoding: gzip\r\ncontent-length: 10"), bomb.to_vec(), 415),
        ];
        let attack = async {
            for front in &stage.fronts[..2] {
                for (what, head, body, expected) in &cases {
                    // The best of a few: other tests run on the same cores.
                    let mut best = Duration::MAX;
                    for _ in 0..10 {
                        let (status, took) = asked(front, head, body).await;
                        assert_eq!(status, *expected, "{what} at {front}");
                        best = best.min(took);
                    }
                    assert!(best <= CHEAP, "{what} at {front} took {best:?}");
                }
            }
        };
        stage.goes_on(attack).await;
    });
}

#[test]
fn a_body_that_does_not_end_is_cut_off_at_the_limit() {
    alone(async {
        let stage = Stage::set().await;
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(65_536));
        let head = "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let request = [head, &chunk.repeat(200)].concat();
        let attack = join_all(stage.fronts[..2].iter().map(|front| raw::send(front, request.as_bytes())));
        for answer in stage.goes_on(attack).await {
            assert_eq!(answer.status, 413, "{}", answer.head);
        }
    });
}

#[test]
fn idle_connections_take_nothing_from_others() {
    alone(async {
        let stage = Stage::set().await;
        let attack = async {
            let mut open = Vec::new();
            for _ in 0..1_000 {
                for front in &stage.fronts {
                    open.push(TcpStream::connect(front).await.unwrap());
                }
            }
            let rest = stage.mesh.rest();
            wait_until("the service answers beside them", PATIENCE, async || {
                rest.get("/healthz").try_send().await.is_ok_and(|answer| answer.status == 200)
            })
            .await;
            open.len()
        };
        assert_eq!(stage.goes_on(attack).await, 3_000);
    });
}
