//! M1 and M3 of chapter 09, and what a race may do.

use std::collections::HashSet;

use coreloop_testkit::{Rounds, deep, run, seed};
use coreloop_wallet_api::v1;
use futures::{StreamExt as _, future::join_all, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::stage::{MESH, Shop, balance, failures, grant, is_unknown, reason, somebody, spend};

/// What the database must say of everything, by its own arithmetic.
async fn sound(mesh: &coreloop_testkit::TestMesh, shop: &Shop) {
    for (what, sql) in [
        ("a currency does not add up", "select count(*) from (select from wallet.accounts group by currency having sum(balance) <> 0) x"),
        ("a posting does not add up", "select count(*) from (select from wallet.entries group by posting, currency having sum(delta) <> 0) x"),
        (
            "an account is not its entries",
            "select count(*) from wallet.accounts a where a.balance <> coalesce(
                 (select sum(delta) from wallet.entries e where e.owner = a.owner and e.currency = a.currency), 0)",
        ),
        ("somebody owes", "select count(*) from wallet.accounts where house is null and balance < 0"),
        ("an entry has no cause", "select count(*) from wallet.entries e left join wallet.postings p on p.id = e.posting where p.id is null"),
        (
            "a change was not told once",
            "select count(*) from (
                 select from wallet.entries e join wallet.accounts a using (owner, currency)
                   left join wallet.outbox o on o.aggregateid = e.owner::text and (o.payload->>'sequence')::bigint = e.seq
                        and o.payload->>'posting_id' = e.posting::text
                  where a.house is null group by e.owner, e.currency, e.seq having count(o.id) <> 1) x",
        ),
    ] {
        assert_eq!(mesh.db.count(sql).await, 0, "{what}");
    }
    let report = shop.verify_integrity().await;
    assert!(report.sound, "{:?}", report.findings);
    assert!(report.entries > 0);
}

/// One act of a random kind; refusals of the books are as good as postings, anything else is not. Whether it is known what
/// became of it.
async fn some_act(shop: &Shop, people: &[String], made: &std::sync::Mutex<Vec<v1::Posting>>, seed: u64) -> bool {
    let mut random = StdRng::seed_from_u64(seed);
    let (one, two) = (random.random_range(0..people.len()), random.random_range(0..people.len()));
    let amount = random.random_range(1..80);
    let known = {
        let made = made.lock().unwrap();
        (!made.is_empty()).then(|| made[random.random_range(0..made.len())].clone())
    };
    let outcome = match (random.random_range(0..9), known) {
        (0 | 1, _) => shop.grant(&people[one], amount).await,
        (2 | 3, _) => shop.spend_as(one, &spend(&people[one], amount)).await,
        (4, _) if one != two => shop.transfer(&people[one], &people[two], amount).await,
        (5, _) => shop.hold(&people[one], amount).await,
        (6, Some(posting)) => shop.capture(&posting.posting_id, amount / 2).await,
        (7, Some(posting)) => shop.release(&posting.posting_id).await,
        (_, Some(posting)) => shop.reverse(&posting.posting_id, if amount % 2 == 0 { 0 } else { amount / 2 }).await,
        (_, None) => shop.grant(&people[one], amount).await,
    };
    match outcome {
        Ok(posting) => made.lock().unwrap().push(posting),
        refused => {
            let reason = reason(refused);
            if is_unknown(&reason) {
                return false;
            }
            let expected = [
                "INSUFFICIENT_FUNDS",
                "HOLD_NOT_FOUND",
                "HOLD_SETTLED",
                "AMOUNT_TOO_LARGE",
                "ALREADY_REVERSED",
                "NOT_REVERSIBLE",
            ];
            assert!(expected.contains(&reason.as_str()), "{reason}: {}", failures());
        }
    }
    true
}

#[test]
fn money_is_conserved_under_a_mixed_load() {
    run(async {
        let mesh = MESH.get().await;
        let shop = Shop::of(mesh).await;
        let people: Vec<String> = (0..12).map(|_| somebody()).collect();
        let (made, first) = (std::sync::Mutex::new(Vec::new()), seed("M1"));
        let acts = if deep() { 20_000 } else { 600 };
        let known = stream::iter(0..acts)
            .map(|act| some_act(&shop, &people, &made, first.wrapping_add(act)))
            .buffer_unordered(48)
            .fold(0, async |known, one| known + u64::from(one))
            .await;
        assert!(known > acts / 10 * 9, "of {acts} only {known} are known: {}", failures());
        assert!(made.lock().unwrap().len() > 100, "most of it was refused");
        sound(mesh, &shop).await;
    });
}

#[test]
#[allow(clippy::print_stderr, reason = "how much was tried is for a person to read")]
fn the_same_key_is_one_debit_and_one_answer() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 1_000_000).await.unwrap();
        let mut has = 1_000_000;
        let mut rounds = Rounds::of(100).at_least(8);
        for round in rounds.by_ref() {
            let asked = spend(&alice, 3);
            let other = v1::SpendRequest { amount: 4, ..asked.clone() };
            let answers = join_all((0..200).map(|call| shop.spend_as(call, &asked))).await;
            let told: HashSet<Vec<u8>> =
                answers.into_iter().map(|answer| prost::Message::encode_to_vec(&answer.unwrap())).collect();
            assert_eq!(told.len(), 1, "round {round}: everybody is told the same");
            assert_eq!(reason(shop.spend_as(round, &other).await), "IDEMPOTENCY_KEY_REUSED");
            has -= 3;
            assert_eq!(balance(mesh, &alice).await, has, "round {round}: one debit");
        }
        eprintln!("M3 (wallet): {} rounds of 200 over two replicas", rounds.begun());
    });
}

/// Raced for with different bodies, one wins; nobody is charged for the others.
#[test]
fn one_of_the_bodies_that_race_for_a_key_wins() {
    run(async {
        let mesh = MESH.get().await;
        let shop = Shop::of(mesh).await;
        for _ in 0..5 {
            let people: Vec<String> = (0..40).map(|_| somebody()).collect();
            let key = super::stage::key();
            let calls = people.iter().enumerate().map(|(replica, user)| {
                let asked = v1::GrantRequest { idempotency_key: key.clone(), ..grant(user, 5) };
                let shop = &shop;
                async move { shop.ask::<_, v1::GrantResponse>(replica, "Grant", &asked).await }
            });
            let outcomes = join_all(calls).await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
            for refused in outcomes.into_iter().filter(Result::is_err) {
                assert_eq!(reason(refused), "IDEMPOTENCY_KEY_REUSED");
            }
            let mut given = 0;
            for user in &people {
                given += balance(mesh, user).await;
            }
            assert_eq!(given, 5);
        }
    });
}

#[test]
fn sixty_four_spenders_of_one_wallet_never_take_more_than_is_there() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 1_000).await.unwrap();
        let spenders = (0..64).map(|spender: usize| {
            let (shop, alice) = (&shop, &alice);
            async move {
                let mut spent = 0;
                for _ in 0..10 {
                    match shop.spend_as(spender, &spend(alice, 7)).await {
                        Ok(_) => spent += 7,
                        refused => assert_eq!(reason(refused), "INSUFFICIENT_FUNDS"),
                    }
                }
                spent
            }
        });
        let spent: i64 = join_all(spenders).await.into_iter().sum();
        assert_eq!(spent, 994, "as much as sevens of it are there");
        assert_eq!(balance(mesh, &alice).await, 6);
    });
}
