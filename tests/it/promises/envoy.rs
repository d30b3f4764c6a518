//! Envoy is killed in the midst of purchases (M2): what was answered is so for ever, and what was not has one truth by its key.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use coreloop_shop_api::v1::{PurchaseRequest, PurchaseResponse, PurchaseState};
use coreloop_testkit::{Rest, TestMesh, deep, rpc, run, seed, wait::wait_for};
use futures::{StreamExt as _, stream};
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};

use crate::shop::stage::{Buyer, gold, issuer, key, nothing_is_amiss};

const PATIENCE: Duration = Duration::from_secs(60);
/// What an item costs.
const PRICE: i64 = 80;

/// Somebody who buys through Envoy.
struct Through {
    bearer: String,
    rest: Rest,
    grpc: Channel,
    /// Answers that did not come, or told nothing.
    unknown: AtomicUsize,
}

/// What was told of a purchase.
#[derive(Debug, PartialEq)]
enum Told {
    Rest(Value),
    Grpc(Box<PurchaseResponse>),
}

impl Through {
    /// Asks once, over REST or gRPC by turns; none when it is not known what happened.
    async fn ask(&self, number: usize, key: &str) -> Option<Told> {
        let told = if number.is_multiple_of(2) { self.over_rest(key).await } else { self.over_grpc(key).await };
        if told.is_none() {
            self.unknown.fetch_add(1, Ordering::SeqCst);
        }
        told
    }

    async fn over_rest(&self, key: &str) -> Option<Told> {
        let body = json!({"product_id": "spins-5", "idempotency_key": key});
        let call = self.rest.post("/api/shop/purchase", &body).header("authorization", &self.bearer);
        let answer = call.within(Duration::from_secs(20)).try_send().await.ok()?;
        if answer.status.is_server_error() || answer.reason() == "IN_PROGRESS" {
            return None;
        }
        Some(Told::Rest(answer.expect(200)))
    }

    async fn over_grpc(&self, key: &str) -> Option<Told> {
        let asked = PurchaseRequest {
            product_id: "spins-5".to_owned(),
            idempotency_key: key.to_owned(),
            ..PurchaseRequest::default()
        };
        let path = "/coreloop.shop.v1.ShopService/Purchase";
        let metadata = [("authorization", self.bearer.as_str())];
        match rpc::call(&self.grpc, path, &asked.encode_to_vec(), &metadata).await {
            Ok(answer) => {
                let answer = PurchaseResponse::decode(answer).unwrap();
                assert_eq!(answer.status(), PurchaseState::Confirmed);
                Some(Told::Grpc(Box::new(answer)))
            }
            Err(status) => {
                // A connection that breaks has no reason of ours.
                let codes = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::Internal];
                let told_nothing = rpc::reason(&status).is_empty() && codes.contains(&status.code());
                let unknown = [Code::Unavailable, Code::Aborted, Code::DeadlineExceeded];
                assert!(told_nothing || unknown.contains(&status.code()), "{status:?}");
                None
            }
        }
    }

    async fn until_known(&self, number: usize, key: &str) -> Told {
        wait_for("an answer", PATIENCE, async || self.ask(number, key).await).await
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_envoy_is_killed() {
    run(async {
        let mesh = TestMesh::builder().envoy().split().stand_ins().issuer(issuer()).setting("limit.enabled", false);
        let (mut mesh, began) = (mesh.start().await, Instant::now());
        let (purchases, kills) = if deep() { (4_000, 60) } else { (400, 6) };
        let alice = Buyer::with(&mesh, PRICE * i64::try_from(purchases).unwrap()).await;
        let (rest, grpc) = (Rest::to(mesh.front()), rpc::channel(&mesh.front()));
        let through = Through { bearer: alice.bearer(), rest, grpc, unknown: AtomicUsize::new(0) };
        let keys: Vec<(usize, String)> = (0..purchases).map(|number| (number, key())).collect();
        let done = AtomicUsize::new(0);
        let buying = stream::iter(&keys)
            .map(async |(number, key)| {
                let told = through.until_known(*number, key).await;
                done.fetch_add(1, Ordering::SeqCst);
                (*number, key, told)
            })
            .buffer_unordered(24)
            .collect::<Vec<_>>();
        let envoy = mesh.envoy.as_mut().unwrap();
        let killing = async {
            let mut random = StdRng::seed_from_u64(seed("kills of Envoy"));
            for kill in 1..=kills {
                let mark = purchases * kill / (kills + 1) + random.random_range(0..9);
                wait_for("some are done", PATIENCE, async || (done.load(Ordering::SeqCst) >= mark).then_some(())).await;
                envoy.kill();
                envoy.resurrect().await;
            }
        };
        let (told, ()) = tokio::join!(buying, killing);
        let again = through.unknown.load(Ordering::SeqCst);
        assert!(again >= kills, "the kills were felt: {again}");
        stream::iter(told)
            .for_each_concurrent(24, async |(number, key, told)| {
                assert_eq!(through.until_known(number, key).await, told, "the same answer for ever");
            })
            .await;
        let bought = format!("select count(*) from shop.purchases where user_id = '{}' and state = 3", alice.id);
        assert_eq!(usize::try_from(mesh.db.count(&bought).await).unwrap(), purchases);
        assert_eq!(gold(&mesh, &alice.id).await, 0, "each once");
        nothing_is_amiss(&mesh, "true").await;
        let took = began.elapsed();
        println!("{kills} kills of Envoy in {took:.1?}, 0 lost, 0 doubled, {again} answers asked for again");
    });
}
