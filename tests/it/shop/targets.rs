//! The targets of chapter 03, at a rate that any machine has: how long a purchase takes and how many come to nothing, when a grant is
//! seen, and when a conversion is settled.

use std::time::Duration;

use coreloop_testkit::{deep, figure, run, wait_until};
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::json;
use tokio::time::{Instant, interval_at};

use super::{
    settling::{decide, pending},
    stage::{Buyer, MESH, RECOVERY, key, mesh},
};
use crate::rewards::stage::{Giver, LONG, given, points};

/// The time that nineteen of twenty took no longer than.
fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() * 95).div_ceil(100) - 1]
}

/// Waits for the turn of the `number`th of those that come `pace` apart, whether the ones before are answered or not; answers when that
/// was, from when on it is counted.
async fn turn(began: Instant, pace: Duration, number: usize) -> Instant {
    interval_at(began + pace * u32::try_from(number).unwrap(), pace).tick().await
}

#[test]
fn a_purchase_takes_a_quarter_of_a_second_and_is_one() {
    run(async {
        let mesh = MESH.get().await;
        let many = if deep() { 3_000 } else { 200 };
        let buyers = join_all((0..20).map(|_| Buyer::with(mesh, 80 * 150))).await;
        let began = Instant::now();
        let asked = (0..many).map(|number| {
            let (buyer, replica) = (&buyers[number % 20], number / 20);
            async move {
                let due = turn(began, Duration::from_millis(20), number).await;
                let body = json!({"product_id": "spins-5", "idempotency_key": key()});
                let answer = buyer.ask(replica, "/api/shop/purchase", &body).await;
                (answer.status == 200, due.elapsed())
            }
        });
        let (answers, times): (Vec<bool>, Vec<Duration>) = join_all(asked).await.into_iter().unzip();
        let (sold, p95) = (answers.iter().filter(|sold| **sold).count(), p95(times));
        println!("{sold} of {many} purchases at 50/s are sold; p95 {p95:?}");
        assert!(sold * 1_000 >= many * 995, "{sold} of {many}");
        assert!(p95 < figure(Duration::from_millis(250)), "{p95:?}");
    });
}

#[test]
fn a_grant_is_seen_within_two_seconds() {
    run(async {
        let mesh = MESH.get().await;
        let (many, giver) = (if deep() { 1_000 } else { 60 }, Giver::of(mesh, "scan").await);
        let buyers: Vec<Buyer> = (0..many).map(|_| Buyer::new(mesh)).collect();
        let began = Instant::now();
        let asked = buyers.iter().enumerate().map(|(number, buyer)| {
            let giver = &giver;
            async move {
                let due = turn(began, Duration::from_millis(50), number).await;
                given(giver, number, &points(&buyer.id, 7)).await;
                wait_until("the points are seen", LONG, async || {
                    let seen = buyer.rest(number + 1).get("/v1/points/balance").send().await;
                    seen.status == 200 && seen.json()["balance"]["available"] == 7
                })
                .await;
                due.elapsed()
            }
        });
        let p95 = p95(join_all(asked).await);
        println!("of {many} grants at 20/s 95 % are seen after {p95:?}");
        assert!(p95 < figure(Duration::from_secs(2)), "{p95:?}");
    });
}

/// The payment service takes four minutes and its webhooks are lost: with the settings as they are, who asks finds out in time.
#[test]
fn what_is_decided_in_four_minutes_is_settled_in_five() {
    run(async {
        let (first, most) = ("shop.payment.poll_secs", "shop.payment.poll_most_secs");
        // Whoever asks holds a payment for longer than any is left alone: it shows who is at it.
        let mesh = mesh().setting(first, 2_i64).setting(most, 20_i64).setting("shop.lease_secs", 40_i64).start().await;
        let alice = Buyer::new(&mesh);
        // The test's clock goes on by itself as well: what the machine takes is no part of it.
        let begun = Instant::now();
        let mut payments = Vec::new();
        for _ in 0..10 {
            payments.push(pending(&alice).await);
        }
        let polled = async || {
            let now = mesh.now();
            let due = format!(
                "select count(*) from shop.purchases
                  where next_at <= to_timestamp({now}) or next_at > to_timestamp({now}) + interval '30 s'"
            );
            wait_until("all of them are asked after", RECOVERY, async || mesh.db.count(&due).await == 0).await;
        };
        // Asked after less and less often, as long as that takes.
        for _ in 0..6 {
            mesh.clock.advance(SignedDuration::from_secs(40));
            polled().await;
        }
        let asked = "select min(tries)::bigint from shop.purchases";
        assert!(mesh.db.count(asked).await >= 5, "they were asked after");
        for (_, payment) in &payments {
            decide(&mesh, payment, &json!({"status": "confirmed", "silent": true})).await;
        }
        let open = "select count(*) from shop.purchases where next_at is not null";
        let since = Instant::now();
        mesh.clock.advance(SignedDuration::from_secs(20));
        wait_until("all of them are settled", RECOVERY, async || mesh.db.count(open).await == 0).await;
        println!("settled after {:?} of work", since.elapsed());
        let late = format!(
            "select count(*) from shop.purchases
              where state <> 3 or said_by <> 'poll' or closed_at - created_at > interval '5 min' + interval '{} s'",
            begun.elapsed().as_secs()
        );
        assert_eq!(mesh.db.count(&late).await, 0);
    });
}
