//! The vendor fails in every way, and parts are killed at any step: in the end there is a voucher, or everything is back; once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use coreloop_testkit::{Persona, TestMesh, mesh::Builder, rpc, run, seed, wait::wait_for, wait_until};
use coreloop_wallet_api::v1::{Currency, SpendRequest};
use futures::future::join_all;
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::Executor as _;

use super::stage::{Giver, LONG, Shelf, audited, given, person_with, points, points_of, redeem, redeemed, settled};

/// What waits is looked after within a second or two.
fn hasty() -> Builder {
    retried("[1, 1, 1]")
}

/// The same, with pauses of its own before a command is tried again.
fn retried(pauses: &str) -> Builder {
    TestMesh::builder()
        .stand_ins()
        .setting("rewards.recover_after_secs", 2_i64)
        .setting("rewards.resend_after_secs", 1_i64)
        .setting("rewards.recover_every_ms", 100_i64)
        .setting("rewards.vendor_timeout_ms", 3_000_i64)
        .setting("limit.enabled", false)
        .toml(&format!("[eventing]\nretry_delays_secs = {pauses}\npoll_ms = 100\nstandby_ms = 100\n"))
}

async fn fault(mesh: &TestMesh, fault: Value) {
    mesh.stand_ins.as_ref().unwrap().rest().post("/_sandbox/faults", &fault).send().await.expect(201);
}

/// What the vendor knows, by key.
async fn orders(mesh: &TestMesh) -> BTreeMap<String, Value> {
    let told = mesh.stand_ins.as_ref().unwrap().rest().get("/_sandbox/vendor/orders").send().await.expect(200);
    serde_json::from_value(told["orders"].clone()).unwrap()
}

async fn begun(person: &Persona, shelf: &Shelf, key: &str) -> String {
    redeemed(person, &shelf.sku, key).await.expect(200)["redemption"]["redemption_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_vendor_that_stumbles_is_asked_again_under_the_same_key() {
    run(async {
        let mesh = hasty().start().await;
        let shelf = Shelf::with(&mesh, 10, 10).await;
        let alice = person_with(&mesh, "alice", 100).await;
        for (number, kind) in ["error", "lost", "garbage", "reset"].into_iter().enumerate() {
            fault(&mesh, json!({"provider": "vendor", "endpoint": "order", "kind": kind, "times": 1})).await;
            let id = begun(&alice, &shelf, &format!("k{number}")).await;
            let issued = settled(&alice, &id).await;
            assert_eq!(issued["state"], "REDEMPTION_STATE_ISSUED", "{kind}: {issued}");
            let order = &orders(&mesh).await[&id];
            assert_eq!(order["code"], issued["voucher_code"], "{kind}");
        }
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await, orders(&mesh).await.len()), (60, 6, 4));
    });
}

#[test]
fn a_vendor_that_never_answers_is_given_up_and_everything_is_back() {
    run(async {
        let mesh = hasty().setting("rewards.give_up_secs", 3_i64).start().await;
        let shelf = Shelf::with(&mesh, 10, 1).await;
        let alice = person_with(&mesh, "alice", 10).await;
        fault(&mesh, json!({"provider": "vendor", "endpoint": "order", "kind": "error", "status": 500})).await;
        fault(&mesh, json!({"provider": "vendor", "endpoint": "cancel", "kind": "lost", "times": 2})).await;
        let id = begun(&alice, &shelf, "k").await;
        let failed = settled(&alice, &id).await;
        assert_eq!(
            (&failed["state"], &failed["reason"]),
            (&json!("REDEMPTION_STATE_FAILED"), &json!("VENDOR:order_cancelled"))
        );
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (10, 1));
        assert_eq!(orders(&mesh).await[&id]["status"], "cancelled");
    });
}

#[test]
fn what_was_issued_and_never_told_is_found_when_it_is_given_up() {
    run(async {
        let mesh = hasty().setting("rewards.give_up_secs", 3_i64).start().await;
        let shelf = Shelf::with(&mesh, 10, 1).await;
        let alice = person_with(&mesh, "alice", 10).await;
        fault(&mesh, json!({"provider": "vendor", "endpoint": "order", "kind": "lost"})).await;
        let id = begun(&alice, &shelf, "k").await;
        let issued = settled(&alice, &id).await;
        assert_eq!(issued["state"], "REDEMPTION_STATE_ISSUED", "{issued}");
        assert_eq!(orders(&mesh).await[&id]["code"], issued["voucher_code"]);
        assert_eq!((points_of(&alice).await, shelf.stock(&mesh).await), (0, 0));
    });
}

/// No refund is posted; that one was tried is counted outside of its transaction.
const NO_REFUNDS: &str = "
    create sequence public.refunds;
    create function public.refuse_refund() returns trigger language plpgsql security definer as $$
    begin
        if new.reason = 'rewards.refund' then
            perform nextval('public.refunds');
            raise exception 'not now';
        end if;
        return new;
    end
    $$;
    create trigger refuse_refund before insert on wallet.postings for each row execute function public.refuse_refund()";

/// What is written of a redemption that the wallet has refused.
const CANCELLED: &str = "
    with gone as (update rewards.redemptions set state = 6, reason = 'INSUFFICIENT_POINTS', ended_at = now() where state = 1
                  returning id, user_id, sku),
         back as (update rewards.inventory set stock = stock + 1 where sku in (select sku from gone))
    insert into rewards.reward_audit (subject, step, actor, user_id, detail, created_at)
    select id, 'cancelled', 'rewards', user_id, '{}', now() from gone";

/// Two asked the wallet at once, one was refused and wrote that, and then the other had the points.
#[test]
fn points_that_are_taken_after_all_come_back_though_the_wallet_fails_at_first() {
    run(async {
        let mesh = hasty().start().await;
        let shelf = Shelf::with(&mesh, 10, 1).await;
        let alice = person_with(&mesh, "alice", 10).await;
        mesh.db.execute(NO_REFUNDS).await;
        let mut slow = mesh.db.connect().await;
        slow.execute("begin; lock table wallet.postings in share row exclusive mode").await.unwrap();
        let meanwhile = async {
            let open = "select count(*) from rewards.redemptions where state = 1";
            wait_until("it is written", LONG, async || mesh.db.count(open).await == 1).await;
            mesh.db.execute(CANCELLED).await;
            slow.execute("rollback").await.unwrap();
        };
        tokio::join!(redeem(&alice, &shelf.sku, "k"), meanwhile);
        let tried = "select case when is_called then last_value else 0 end from public.refunds";
        wait_until("a refund was tried", LONG, async || mesh.db.count(tried).await > 0).await;
        assert_eq!(points_of(&alice).await, 0);
        mesh.db.execute("drop trigger refuse_refund on wallet.postings").await;
        wait_until("the points are back", LONG, async || points_of(&alice).await == 10).await;
        let listed = alice.get("/v1/rewards/redemptions").await.expect(200);
        let id = listed["redemptions"][0]["redemption_id"].as_str().unwrap();
        assert_eq!(settled(&alice, id).await["reason"], "INSUFFICIENT_POINTS");
        wait_until("it has ended", LONG, async || {
            let known = "select count(*) from rewards.redemptions where state = 5 and returned is not null";
            mesh.db.count(known).await == 1
        })
        .await;
        assert_eq!((audited(&mesh, id).await, shelf.stock(&mesh).await), (4, 1), "the piece was back before");
    });
}

/// A wallet of before, which kept no refusals, took the points for what it had refused, and its answer was heard by nobody.
#[test]
fn what_nobody_heard_of_comes_back() {
    run(async {
        let mesh = hasty().setting("rewards.audit_secs", 1_i64).start().await;
        let (shelf, alice) = (Shelf::with(&mesh, 10, 1).await, mesh.persona("alice").await);
        redeemed(&alice, &shelf.sku, "k").await.refused(400, "INSUFFICIENT_POINTS");
        let listed = alice.get("/v1/rewards/redemptions").await.expect(200);
        let id = listed["redemptions"][0]["redemption_id"].as_str().unwrap().to_owned();
        let (giver, asked) = (Giver::of(&mesh, "scan").await, points(&alice.user_id, 10));
        given(&giver, 0, &asked).await;
        let spent = SpendRequest {
            user_id: alice.user_id.clone(),
            currency: Currency::Point.into(),
            amount: 10,
            destination: None,
            reason: "rewards.redeem".into(),
            reference: id.clone(),
            idempotency_key: format!("rewards.redeem:{id}"),
        };
        mesh.db.execute("alter table wallet.postings disable trigger postings_append_only; delete from wallet.postings where kind = 11").await;
        let bearer = format!("Bearer {}", mesh.machine_token("rewards", "wallet").await);
        let path = "/coreloop.wallet.v1.WalletInternalService/Spend";
        let metadata = [("authorization", bearer.as_str())];
        rpc::call(&mesh.grpc("wallet"), path, &spent.encode_to_vec(), &metadata).await.unwrap();
        wait_until("the points are back", LONG, async || points_of(&alice).await == 10).await;
        let ended =
            "select count(*) from rewards.redemptions where state = 5 and spent is not null and returned is not null";
        wait_until("it has ended", LONG, async || mesh.db.count(ended).await == 1).await;
        assert_eq!((audited(&mesh, &id).await, shelf.stock(&mesh).await), (4, 1), "the piece was back before");
        assert_eq!(mesh.db.count("select count(*) from rewards.audit_gaps").await, 0);
    });
}

/// A command that comes again is done, and the dead letter of the one before it is nobody's business any more.
#[test]
fn what_is_done_after_all_leaves_no_dead_letter() {
    run(async {
        let mesh = retried("[0, 0, 0]").start().await;
        let shelf = Shelf::with(&mesh, 10, 1).await;
        let alice = person_with(&mesh, "alice", 10).await;
        fault(&mesh, json!({"provider": "vendor", "endpoint": "order", "kind": "error", "status": 500})).await;
        let id = begun(&alice, &shelf, "k").await;
        let dead = "select count(*) from rewards.held_events where state = 'dead'";
        // And soon another one: it is sent again each second.
        wait_until("it is a dead letter", LONG, async || mesh.db.count(dead).await >= 1).await;
        mesh.stand_ins.as_ref().unwrap().rest().delete("/_sandbox/faults").send().await;
        assert_eq!(settled(&alice, &id).await["state"], "REDEMPTION_STATE_ISSUED");
        wait_until("no letter is left", LONG, async || mesh.db.count(dead).await == 0).await;
    });
}

/// Asks for all of them again: each has one truth, and the vendor and its buyer tell the same. How many were issued.
async fn ended(mesh: &TestMesh, people: &[Persona], shelves: [&Shelf; 2], asked: &[(usize, String)]) -> usize {
    let mut issued = 0;
    for (number, key) in asked {
        let (person, shelf) = (&people[*number], shelves[number % 2]);
        // Asked again with its key, each has one truth.
        let id = wait_for("an answer", Duration::from_secs(60), async || {
            let answer = redeem(person, &shelf.sku, key).await;
            (answer.status == 200).then(|| answer.json()["redemption"]["redemption_id"].as_str().unwrap().to_owned())
        })
        .await;
        let end = settled(person, &id).await;
        let expected = if number % 2 == 0 { "REDEMPTION_STATE_ISSUED" } else { "REDEMPTION_STATE_FAILED" };
        if end["state"] == "REDEMPTION_STATE_ISSUED" {
            issued += 1;
            assert_eq!(orders(mesh).await[&id]["code"], end["voucher_code"]);
        }
        // A vendor that was given up has issued nothing.
        assert!(end["state"] == expected || end["state"] == "REDEMPTION_STATE_FAILED", "{end}");
    }
    let at_vendor = orders(mesh).await.values().filter(|order| order["status"] == "issued").count();
    assert_eq!(at_vendor, issued, "what the vendor issued is what people have");
    assert!(issued > 0, "not everything was given up");
    issued
}

#[test]
fn whatever_is_killed_each_redemption_is_issued_or_given_back_once() {
    run(async {
        let mut mesh = hasty().split().setting("rewards.give_up_secs", 6_i64).start().await;
        let (good, bad) = (Shelf::with(&mesh, 10, 100).await, Shelf::at_vendor(&mesh, 10, 100, "refused-2").await);
        let mut people = Vec::new();
        for number in 0..6 {
            people.push(person_with(&mesh, &format!("p{number}"), 100).await);
        }
        let mut random = StdRng::seed_from_u64(seed("kills"));
        let mut asked: Vec<(usize, String)> = Vec::new();
        for round in 0..6_usize {
            fault(&mesh, json!({"provider": "vendor", "kind": "lost", "times": 2})).await;
            let key = format!("round-{round}");
            let answered = AtomicBool::new(false);
            let asking = async {
                let answers = join_all(people.iter().enumerate().map(|(number, person)| {
                    let shelf = if number % 2 == 0 { &good } else { &bad };
                    redeem(person, &shelf.sku, &key)
                }))
                .await;
                answered.store(true, Ordering::SeqCst);
                answers
            };
            let victim = ["rewards", "wallet"][random.random_range(0..2)];
            // Somewhere in the midst of them, or after.
            let more = random.random_range(0..=people.len());
            let TestMesh { nodes, db, .. } = &mut mesh;
            let killing = async {
                let mark = i64::try_from(round * people.len() + more).unwrap();
                wait_for("some are written", Duration::from_secs(60), async || {
                    let written = db.count("select count(*) from rewards.redemptions").await;
                    (written >= mark || answered.load(Ordering::SeqCst)).then_some(())
                })
                .await;
                let node = nodes.iter_mut().find(|node| node.serves(0, victim)).unwrap();
                node.kill().await;
                node.start().await;
            };
            let (answers, ()) = tokio::join!(asking, killing);
            for (number, answer) in answers.iter().enumerate() {
                assert!([200, 409, 503, 504].contains(&answer.status.as_u16()), "{}", answer.text());
                asked.push((number, key.clone()));
            }
        }
        let issued = ended(&mesh, &people, [&good, &bad], &asked).await;
        let mut left = 0;
        for person in &people {
            left += points_of(person).await;
        }
        assert_eq!(left, 600 - 10 * i64::try_from(issued).unwrap(), "each paid once, or not");
        assert_eq!(good.stock(&mesh).await, 100 - i64::try_from(issued).unwrap());
        assert_eq!(bad.stock(&mesh).await, 100);
    });
}
