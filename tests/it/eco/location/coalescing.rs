//! However many ask for a cell at once, on however many replicas, the provider is asked once.

use coreloop_testkit::{Rest, run, wait_until};
use futures::future::join_all;
use serde_json::json;

use super::stage::{HALL, LONG, NOWON, Shop, asked, counts, fault, ids, mesh, path, there};

#[test]
fn a_thousand_misses_of_a_cell_on_two_replicas_are_one_search() {
    run(async {
        // More than a service takes at once where nobody says.
        let mesh = mesh().setting("server.max_in_flight", 4_000_i64).split().replicas(2).start().await;
        fault(&mesh, json!({"kind": "latency", "ms": 500})).await;
        let rests: Vec<Rest> = (0..20).map(|n| Rest::to(mesh.gateway_on(n % 2))).collect();
        let calls = (0..1_000).map(|n| rests[n % rests.len()].get(&path(HALL, 2_000)).within(LONG).send());
        let answers = join_all(calls).await;
        let wanted = there(HALL, 2_000.0, Shop::is_searched);
        for answer in &answers {
            let answer = answer.expect(200);
            assert_eq!((&answer["source"], ids(&answer)), (&json!("KAKAO"), wanted.clone()));
        }
        assert_eq!(asked(&mesh).await, [("category", 1), ("keyword", 1)].into());
    });
}

#[test]
fn different_cells_do_not_wait_for_each_other() {
    run(async {
        let mesh = mesh().start().await;
        // The first call of the keyword hangs; the other cell is answered meanwhile.
        fault(&mesh, json!({"kind": "timeout", "endpoint": "keyword", "ms": 9_000, "times": 1})).await;
        let rest = mesh.rest();
        let hangs = rest.get(&path(HALL, 2_000)).within(LONG).send();
        let other = async {
            wait_until("the first is asked", LONG, async || asked(&mesh).await.contains_key("keyword")).await;
            rest.get(&path(NOWON, 2_000)).send().await.expect(200)
        };
        let other = tokio::select! {
            other = other => other,
            answer = hangs => panic!("the one that hangs came first: {}", answer.text()),
        };
        assert_eq!(other["source"], "KAKAO");
    });
}

#[test]
fn who_goes_away_takes_nobodys_answer_along() {
    run(async {
        let mesh = mesh().start().await;
        fault(&mesh, json!({"kind": "latency", "ms": 7_000, "times": 2})).await;
        let rest = mesh.rest();
        let ask = || Box::pin(rest.get(&path(HALL, 2_000)).within(LONG).send());
        let joined = "location_cache_total{cache=\"nearby\",result=\"joined\"} 1";
        let (mut hasty, mut patient) = (ask(), ask());
        tokio::select! {
            answer = &mut hasty => panic!("it came too soon: {}", answer.text()),
            _ = wait_until("it is asked", LONG, async || asked(&mesh).await.contains_key("keyword")) => {}
        }
        tokio::select! {
            answer = &mut hasty => panic!("it came too soon: {}", answer.text()),
            answer = &mut patient => panic!("it came too soon: {}", answer.text()),
            _ = wait_until("another waits", LONG, async || counts(&mesh, joined)) => {}
        }
        drop(hasty);
        assert_eq!(patient.await.expect(200)["source"], "KAKAO");
        assert_eq!(asked(&mesh).await, [("category", 1), ("keyword", 1)].into());
    });
}

#[test]
fn a_replica_that_dies_while_it_searches_holds_nobody_up_for_long() {
    run(async {
        let mut mesh = mesh().setting("location.database_timeout_ms", 5_000_i64).split().replicas(2).start().await;
        fault(&mesh, json!({"kind": "timeout", "ms": 60_000, "times": 2})).await;
        let dying = Rest::to(mesh.gateway_on(0));
        let lost = dying.get(&path(HALL, 2_000)).within(LONG).try_send();
        let killed = async {
            wait_until("it searches", LONG, async || asked(&mesh).await.len() == 2).await;
            mesh.node_mut(0, "location").kill().await;
        };
        let (_lost, ()) = tokio::join!(lost, killed);
        // Its lock is still there; the other waits until it is over, and then searches itself.
        let answer = Rest::to(mesh.gateway_on(1)).get(&path(HALL, 2_000)).within(LONG).send().await.expect(200);
        assert_eq!(answer["source"], "KAKAO");
        assert_eq!(asked(&mesh).await, [("category", 2), ("keyword", 2)].into());
    });
}
