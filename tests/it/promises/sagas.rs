//! Sagas end (M7): whatever fails before or after whichever step, within thirty seconds it is done or undone. Nothing that a saga
//! waits for is shortened here: leases, recovery, polls and retries have the times that are shipped.

pub mod steps;

use std::time::{Duration, Instant};

use coreloop_testkit::{
    Answer, Product, Rest, TestMesh, figure,
    mesh::Builder,
    run,
    wait::{PATIENCE, wait_for, wait_until},
};
use futures::future::join_all;
use serde_json::{Value, json};

use self::steps::{
    Steps,
    Way::{self, After, Before, Fails},
};
use crate::{
    rewards::stage::Shelf,
    shop::stage::{Buyer, give, give_points, issuer, key, nothing_is_amiss},
};

/// The figure of chapter 09.
const M7: Duration = Duration::from_secs(30);
/// How a purchase is waited for by nobody but the test: each in a batch of its own, or one that is held would hold others.
const ALONE: [(&str, i64); 4] = [("shop.lanes", 16), ("shop.batch", 1), ("wallet.lanes", 12), ("wallet.batch", 1)];

fn mesh() -> Builder {
    let mesh = TestMesh::builder().split().stand_ins().issuer(issuer()).setting("limit.enabled", false);
    ALONE.into_iter().fold(mesh, |mesh, (name, value)| mesh.setting(name, value))
}

/// Settings of the product's own process that are not shipped.
fn settings(mesh: &TestMesh) -> String {
    let others = mesh.stand_ins.as_ref().unwrap();
    let (vendor, payment) = (others.vendor_settings(), others.payment_settings());
    format!(
        "[wallet]\nlanes = 12\nbatch = 1\n[rewards]\n{vendor}[shop]\nlanes = 16\nbatch = 1\n[shop.payment]\n{payment}"
    )
}

/// What a saga is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Item,
    /// Paid with a handle that begins so.
    Conversion(&'static str),
    /// A conversion that is through and is charged back.
    ChargeBack,
    /// Of a voucher that the vendor knows by this name.
    Redemption(&'static str),
}

/// A saga, one step of which goes wrong. Somebody of its own asks for it.
#[derive(Debug, Clone)]
struct Saga {
    what: What,
    spot: &'static str,
    way: Way,
    user: String,
    rest: Rest,
    path: String,
    body: Value,
}

impl Saga {
    async fn of(mesh: &TestMesh, what: What, spot: &'static str, way: Way) -> Self {
        let (buyer, key) = (Buyer::new(mesh), key());
        let buy = |product: &str, handle: &str| {
            let body = json!({"product_id": product, "idempotency_key": key, "payment_handle": handle});
            (buyer.rest(0).clone(), "/api/shop/purchase".to_owned(), body)
        };
        let (rest, path, body) = match what {
            What::Item => {
                give(mesh, &buyer.id, 80).await;
                buy("spins-5", "")
            }
            // A handle of its own: what it is paid with is counted under a lock.
            What::Conversion(handle) => buy("gold-500", &format!("{handle}-{}", buyer.id)),
            What::ChargeBack => {
                // Whoever is told that it goes on, or nothing, asks again, as any client does.
                let bought = wait_for("a conversion that is charged back", M7 + PATIENCE, async || {
                    let answer = buyer.convert(&key, "card").await;
                    let unknown = answer.status.is_server_error() || answer.reason() == "IN_PROGRESS";
                    (!unknown).then_some(answer)
                });
                let bought = bought.await.expect(200);
                let paid = buyer.transaction(bought["transaction_id"].as_str().unwrap()).await;
                let path = format!("/_sandbox/payments/{}", paid["payment_id"].as_str().unwrap());
                let webhook = format!("{}/api/shop/webhook", mesh.gateway());
                let others = mesh.stand_ins.as_ref().unwrap().rest();
                (others, path, json!({"status": "voided", "callback_url": webhook}))
            }
            What::Redemption(name) => {
                give_points(mesh, &buyer.id, 10).await;
                // A shelf of its own: it is locked while a piece is taken or comes back.
                let sku = Shelf::at_vendor(mesh, 10, PIECES, name).await.sku;
                (buyer.rest(0).clone(), format!("/v1/rewards/{sku}/redeem"), json!({"idempotency_key": key}))
            }
        };
        Self { what, spot, way, user: buyer.id, rest, path, body }
    }

    async fn ask(self) -> Answer {
        self.rest.post(&self.path, &self.body).send().await
    }

    /// Asks again under its key until it is known what it came to.
    async fn again(&self) {
        let answer = wait_for(format!("{self:?} has an answer"), PATIENCE, async || {
            let answer = self.clone().ask().await;
            let unknown = answer.status.is_server_error() || answer.reason() == "IN_PROGRESS";
            (!unknown).then_some(answer)
        })
        .await;
        match self.what {
            What::Conversion("blocked") => answer.refused(400, "PAYMENT_REFUSED"),
            _ => drop(answer.expect(200)),
        }
    }
}

/// Sagas whose steps go wrong in these ways.
async fn sagas(mesh: &TestMesh, wrong: &[(What, &'static str, &[Way])]) -> Vec<Saga> {
    let all = wrong.iter().flat_map(|(what, spot, ways)| ways.iter().map(|way| (*what, *spot, *way)));
    join_all(all.map(|(what, spot, way)| Saga::of(mesh, what, spot, way))).await
}

/// A voucher that the vendor has, and one that it has not.
const GOOD: &str = "coffee-5000";
const BAD: &str = "refused-1";
/// What there is of each.
const PIECES: i64 = 1_000;

/// Begins them all and kills whoever takes their steps when each is where it goes wrong; they end in time. No two are held at the
/// same step: what is held there may keep others from it.
async fn all_end(mesh: &TestMesh, product: &mut Product, steps: &mut Steps, sagas: &[Saga]) {
    for saga in sagas {
        steps.put(mesh, &saga.user, saga.spot, saga.way).await;
    }
    let (failing, held): (Vec<_>, Vec<_>) = sagas.iter().cloned().partition(|saga| saga.way == Fails);
    join_all(failing.into_iter().map(Saga::ask)).await;
    let asked: Vec<_> = held.into_iter().map(|saga| tokio::spawn(saga.ask())).collect();
    steps.reached(mesh).await;
    product.kill();
    let took = async {
        steps.let_go(mesh).await;
        wait_for_ends(mesh, figure(M7) + PATIENCE).await
    };
    // How long a test's binary takes to be ready is the machine's.
    let start = async {
        let begun = Instant::now();
        product.start().await;
        begun.elapsed()
    };
    let (start, took) = tokio::join!(start, took);
    assert!(took.saturating_sub(start) < figure(M7), "{took:?}, of which {start:?} to be there again");
    println!("M7: {} sagas went wrong, the last had ended {took:.1?} after the kill", sagas.len());
    for answer in join_all(asked).await {
        // Who is not answered asks again; the sandbox says itself what became of a webhook.
        answer.unwrap();
    }
}

/// Waits until none is open.
async fn ended(mesh: &TestMesh) -> Duration {
    wait_for_ends(mesh, figure(M7)).await
}

async fn wait_for_ends(mesh: &TestMesh, within: Duration) -> Duration {
    let open = "select (select count(*) from shop.purchases where next_at is not null)
                     + (select count(*) from rewards.redemptions where ended_at is null)";
    wait_until("every saga has ended", within, async || mesh.db.count(open).await == 0).await
}

/// What they came to is one truth, and value moved for it once or not at all.
async fn have_one_truth(mesh: &TestMesh, sagas: &[Saga]) {
    join_all(sagas.iter().filter(|saga| saga.what != What::ChargeBack).map(Saga::again)).await;
    ended(mesh).await;
    nothing_is_amiss(mesh, "true").await;
    let count = |table: &str| {
        let sql = format!("select count(*) from {table}");
        async move { usize::try_from(mesh.db.count(&sql).await).unwrap() }
    };
    let of = |wanted: fn(&What) -> bool| sagas.iter().filter(|saga| wanted(&saga.what)).count();
    let (good, bad) = (of(|what| *what == What::Redemption(GOOD)), of(|what| *what == What::Redemption(BAD)));
    assert_eq!(count("shop.purchases").await, sagas.len() - good - bad);
    assert_eq!(count("rewards.redemptions where state = 3").await, good);
    assert_eq!(count("rewards.redemptions where state = 5").await, bad);
    assert_eq!(count("rewards.redemptions").await, good + bad);
    let amiss = "rewards.redemptions r
        where case r.state when 3 then -r.price else 0 end is distinct from
              (select sum(e.delta) from wallet.postings w join wallet.entries e on e.posting = w.id
                where w.reference = r.id::text and e.owner = r.user_id)";
    assert_eq!(count(amiss).await, 0, "points that do not fit");
    for (name, pieces) in [(GOOD, good), (BAD, 0)] {
        let left = format!(
            "select coalesce(sum({PIECES} - stock), 0)::bigint from rewards.inventory where vendor_sku = '{name}'"
        );
        assert_eq!(usize::try_from(mesh.db.count(&left).await).unwrap(), pieces, "pieces of {name}");
    }
    let told = mesh.stand_ins.as_ref().unwrap().rest().get("/_sandbox/vendor/orders").send().await.expect(200);
    let orders = told["orders"].as_object().unwrap();
    assert_eq!(orders.values().filter(|order| order["status"] == "issued").count(), good, "the vendor says the same");
}

#[test]
fn a_shop_and_rewards_that_are_killed_before_and_after_every_step_end_what_they_began() {
    run(async {
        let written = [
            (What::Item, "written"),
            (What::Item, "ended"),
            (What::Conversion("card"), "written"),
            (What::Conversion("card"), "decided"),
            (What::Conversion("card"), "ended"),
            (What::Conversion("lost"), "pending"),
            (What::Conversion("blocked"), "ended"),
            (What::ChargeBack, "voided"),
            (What::Redemption(GOOD), "reserved"),
            (What::Redemption(GOOD), "paid"),
            (What::Redemption(GOOD), "issued"),
            (What::Redemption(BAD), "returning"),
            (What::Redemption(BAD), "failed"),
        ];
        let mut mesh = mesh().start().await;
        let mut steps = Steps::of(&mesh).await;
        let first = sagas(&mesh, &written.map(|(what, spot)| (what, spot, &[Fails, Before][..]))).await;
        let mut second = sagas(&mesh, &written.map(|(what, spot)| (what, spot, &[After][..]))).await;
        // A payment service whose webhook was not heard tells it again; the sandbox does not.
        second.extend(sagas(&mesh, &[(What::ChargeBack, "charged back", &[After])]).await);
        let settings = settings(&mesh);
        let mut market = Product::instead(&mut mesh, &["shop", "rewards"], &settings).await;
        all_end(&mesh, &mut market, &mut steps, &first).await;
        all_end(&mesh, &mut market, &mut steps, &second).await;
        have_one_truth(&mesh, &[first, second].concat()).await;
    });
}

#[test]
fn a_wallet_that_is_killed_before_and_after_every_posting_holds_up_no_saga() {
    run(async {
        let postings = [
            (What::Item, "shop.purchase"),
            (What::Conversion("card"), "shop.conversion"),
            (What::ChargeBack, "shop.voided"),
            (What::Redemption(GOOD), "rewards.redeem"),
            (What::Redemption(BAD), "rewards.refund"),
        ];
        let mut mesh = mesh().start().await;
        let mut steps = Steps::of(&mesh).await;
        let first = sagas(&mesh, &postings.map(|(what, spot)| (what, spot, &[Fails, Before][..]))).await;
        let second = sagas(&mesh, &postings.map(|(what, spot)| (what, spot, &[After][..]))).await;
        let settings = settings(&mesh);
        let mut wallet = Product::instead(&mut mesh, &["wallet"], &settings).await;
        all_end(&mesh, &mut wallet, &mut steps, &first).await;
        all_end(&mesh, &mut wallet, &mut steps, &second).await;
        have_one_truth(&mesh, &[first, second].concat()).await;
    });
}

/// How often an endpoint has failed.
async fn faulted(mesh: &TestMesh, endpoint: &str) -> u64 {
    let stats = mesh.stand_ins.as_ref().unwrap().rest().get("/_sandbox/stats").send().await.expect(200);
    stats["endpoints"][endpoint]["faulted"].as_u64().unwrap_or_default()
}

/// Others are asked by a step, and fail before or after they have done what it asks for.
#[test]
fn others_that_fail_once_hold_up_no_saga_for_longer() {
    run(async {
        let mut mesh = mesh().start().await;
        let all = sagas(
            &mesh,
            &[
                (What::Conversion("card"), "", &[Before, After]),
                (What::Redemption(GOOD), "", &[Before, After]),
                (What::Redemption(GOOD), "no queue", &[Before]),
            ],
        )
        .await;
        for saga in &all {
            let kind = if saga.way == Before { "error" } else { "lost" };
            // As often as a call asks the payment service; a command asks once.
            let (provider, endpoint, times) = match saga.what {
                What::Conversion(_) => ("payment", "pay", 3),
                _ => ("vendor", "order", 1),
            };
            let at = format!("{provider}/{endpoint}");
            if saga.spot == "no queue" {
                mesh.redis.kill();
                saga.clone().ask().await;
                mesh.redis.resurrect().await;
                continue;
            }
            let (others, before) = (mesh.stand_ins.as_ref().unwrap(), faulted(&mesh, &at).await);
            others.fault(&json!({"provider": provider, "endpoint": endpoint, "kind": kind, "times": times})).await;
            saga.clone().ask().await;
            wait_until("it has failed", PATIENCE, async || faulted(&mesh, &at).await == before + times).await;
        }
        let took = ended(&mesh).await;
        println!("M7: {} sagas whose partners failed, the last had ended {took:.1?} after that", all.len());
        let slow = "select count(*) from (select closed_at - created_at as took from shop.purchases
                     union all select ended_at - created_at from rewards.redemptions) t where took > interval '1 second' *";
        assert_eq!(mesh.db.count(&format!("{slow} {}", figure(M7).as_secs())).await, 0, "from its begin to its end");
        have_one_truth(&mesh, &all).await;
    });
}
