//! Many open streams cost little: calls go on beside them, and a revocation still ends its own at once (A2, E5).

use std::time::{Duration, Instant};

use bytes::Bytes;
use coreloop_testkit::{Persona, TestMesh, deep, figure, memory::resident_kib, rpc, run, watcher::WATCH};
use futures::{StreamExt as _, future::join_all, stream};
use tonic::{Code, Status, Streaming, transport::Channel};

const SOON: Duration = Duration::from_secs(10);
/// Streams of each person.
const EACH: usize = 50;

async fn watch(channel: &Channel, person: &Persona) -> Streaming<Bytes> {
    let bearer = format!("Bearer {}", person.access_token);
    let mut open = rpc::open(channel, WATCH, &[], &[("authorization", &bearer)]).await.unwrap();
    open.message().await.unwrap().expect("the first message");
    open
}

async fn end(stream: &mut Streaming<Bytes>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream ended well"),
            Err(status) => return status,
        }
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "the cost of a stream is for a person to read")]
fn thousands_of_idle_streams_leave_calls_and_revocations_alone() {
    run(async {
        let people = if deep() { 200 } else { 20 };
        let mut mesh = TestMesh::builder()
            .setting("limit.enabled", false)
            .setting("auth.watches_per_user", EACH as i64)
            .start()
            .await;
        let persons: Vec<Persona> =
            stream::iter(0..people).map(|_| mesh.persona("watcher")).buffer_unordered(8).collect().await;
        let channels: Vec<Channel> = (0..4).map(|_| mesh.grpc("auth")).collect();
        let before = resident_kib();
        let mut open: Vec<(usize, Streaming<Bytes>)> = Vec::new();
        for (number, person) in persons.iter().enumerate() {
            let of_person = (0..EACH).map(|each| watch(&channels[each % channels.len()], person));
            open.extend(join_all(of_person).await.into_iter().map(|stream| (number, stream)));
        }
        // The streams' both ends, and whatever other tests hold.
        let grown = resident_kib().saturating_sub(before);
        eprintln!("{} streams: {} bytes each, both ends", open.len(), grown * 1024 / (people * EACH) as u64);
        assert_eq!(mesh.node(0, "auth").running().gate.held(), open.len());

        let since = Instant::now();
        for _ in 0..20 {
            persons[1].get("/api/v1/auth/me").await.expect(200);
        }
        assert!(since.elapsed() < figure(Duration::from_secs(2)), "calls beside them took {:?}", since.elapsed());

        let (mut ended, mut others): (Vec<_>, Vec<_>) = open.into_iter().partition(|(number, _)| *number == 0);
        let since = Instant::now();
        persons[0].logout().await;
        for (_, stream) in &mut ended {
            let status = tokio::time::timeout(figure(SOON), end(stream)).await.expect("an end");
            assert_eq!((status.code(), rpc::reason(&status)), (Code::Unauthenticated, "TOKEN_REVOKED".to_owned()));
        }
        assert!(since.elapsed() <= figure(Duration::from_secs(1)), "its streams ended after {:?}", since.elapsed());

        let since = Instant::now();
        let (_, ends) =
            tokio::join!(mesh.node_mut(0, "auth").stop(), join_all(others.iter_mut().map(|(_, stream)| end(stream))));
        assert!(ends.iter().all(|status| status.code() == Code::Unavailable), "all others went on until the drain");
        assert!(since.elapsed() < figure(SOON), "the drain took {:?}", since.elapsed());
    });
}
