//! What the README says of rewards without a part of the mesh (O3): what works, what does not, and that what waited is done, once.
//! Without brokers of their own: `brokers.rs`.

use coreloop_rewards_api::v1::{GrantRequest, GrantState};
use coreloop_testkit::{
    Answer, Fault, FaultProxy, Persona, StandIns, TestMesh,
    mesh::{Before, Builder},
    rpc, run,
    wait::{PATIENCE, wait_for, wait_until},
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::stage::{
    Giver, LONG, Shelf, admin, campaign, given, person_with, points, points_of, redeem, redeemed, settled, told,
};
use crate::shop::away::{AWAY, BLIND, UNKNOWN, all_told, blindly, refused_in_the_end, streamed, untold};

/// What waits is looked after within a second or two.
pub fn hasty() -> Builder {
    retried("[1, 1, 1]")
}

/// The same, with pauses of its own before a command is tried again.
fn retried(pauses: &str) -> Builder {
    TestMesh::builder()
        .stand_ins()
        .setting("rewards.recover_after_secs", 2_i64)
        .setting("rewards.recover_every_ms", 100_i64)
        .setting("rewards.resend_after_secs", 1_i64)
        .setting("limit.enabled", false)
        .toml(&format!("[eventing]\nretry_delays_secs = {pauses}\npoll_ms = 100\nstandby_ms = 100\n"))
}

/// Alice, who redeems 10 of her 100 points and has 5 more for an ad and 7 of a service; and Bob, for whom a campaign has 30.
pub struct Scene {
    pub mesh: TestMesh,
    pub alice: Persona,
    pub bob: Persona,
    pub scan: Giver,
    shelf: Shelf,
    seven: GrantRequest,
}

impl Scene {
    pub async fn of(mesh: TestMesh) -> Self {
        let (shelf, scan) = (Shelf::with(&mesh, 10, 5).await, Giver::of(&mesh, "scan").await);
        let alice = person_with(&mesh, "alice", 100).await;
        let bob = mesh.persona_with_role("bob", "PREMIUM").await;
        let admin = admin(&mesh).await;
        admin.post("/admin/rewards/campaigns", &campaign("spring", 30, 3)).await.expect(200);
        let ad = json!({"ad_id": "tea", "title": "Tea", "url": "https://tea.example/", "points": 5, "slots": 0,
                        "state": "OFFER_STATE_ACTIVE"});
        admin.post("/admin/rewards/ads", &ad).await.expect(200);
        let seven = points(&alice.user_id, 7);
        Self { mesh, alice, bob, scan, shelf, seven }
    }

    pub fn sku(&self) -> &str {
        &self.shelf.sku
    }

    pub async fn redeem(&self, key: &str) -> Answer {
        redeem(&self.alice, &self.shelf.sku, key).await
    }

    pub async fn claim(&self) -> Answer {
        let ask = json!({"campaign_id": "spring", "external_event_id": "1"});
        self.bob.post("/api/rewards/distribute", &ask).await
    }

    /// The token of an ad that is shown.
    pub async fn shown(&self) -> String {
        let ads = self.alice.get("/v1/ads").await.expect(200);
        ads["ads"][0]["token"].as_str().expect("a token").to_owned()
    }

    pub async fn click(&self, token: &str) -> Answer {
        self.alice.post("/v1/ads/tea/click", &json!({"token": token})).await
    }

    pub async fn grant(&self) -> Result<GrantState, Status> {
        Ok(self.scan.give(0, &self.seven).await?.state())
    }

    /// The catalogue, for anybody and for Alice, and what she has.
    pub async fn read(&self) -> Value {
        for catalogue in [self.mesh.rest().get("/v1/rewards").send().await, self.alice.get("/v1/rewards").await] {
            assert_eq!(catalogue.expect(200)["rewards"][0]["sku"], self.shelf.sku.as_str());
        }
        self.alice.get("/v1/rewards/redemptions").await.expect(200)["redemptions"].clone()
    }

    /// Every call of rewards that needs a token is refused: those of users, of administrators and of services.
    async fn is_away(&self, reason: &str) {
        for path in ["/v1/rewards", "/v1/rewards/redemptions", "/v1/ads"] {
            self.alice.get(path).await.refused(503, reason);
        }
        self.refuses_what_is_fresh(reason).await;
        let refused = self.grant().await.unwrap_err();
        assert_eq!((refused.code(), rpc::reason(&refused).as_str()), (Code::Unavailable, reason));
    }

    async fn refuses_what_is_fresh(&self, reason: &str) {
        self.redeem("refused").await.refused(503, reason);
        self.claim().await.refused(503, reason);
        self.shelf.put(&self.mesh, json!({})).await.refused(503, reason);
    }

    /// All of it has come to its end, once.
    pub async fn has_ended(&self, id: &str, vendor: &StandIns) {
        let issued = settled(&self.alice, id).await;
        assert_eq!(issued["state"], "REDEMPTION_STATE_ISSUED", "{issued}");
        let seven = wait_for("it is known to be given", LONG, async || {
            Some(given(&self.scan, 0, &self.seven).await).filter(|grant| grant.state() == GrantState::Granted)
        });
        let seven = seven.await.grant_id;
        wait_until("everything is given", LONG, async || points_of(&self.alice).await == 102).await;
        wait_until("to Bob, too", LONG, async || points_of(&self.bob).await == 30).await;
        all_told(&self.mesh, "rewards").await;
        assert_eq!(told(&self.mesh, "granted", "grant_id", &seven).await, 1);
        assert_eq!(told(&self.mesh, "redemption_issued", "redemption_id", id).await, 1);
        assert_eq!((points_of(&self.alice).await, self.shelf.stock(&self.mesh).await), (102, 4));
        let orders = orders(vendor).await;
        assert_eq!(
            (orders.as_object().map(serde_json::Map::len), &orders[id]["code"]),
            (Some(1), &issued["voucher_code"])
        );
    }
}

async fn orders(vendor: &StandIns) -> Value {
    vendor.rest().get("/_sandbox/vendor/orders").send().await.expect(200)["orders"].clone()
}

/// The id of a redemption that a vendor is being asked for.
pub fn pending(answer: &Answer) -> String {
    let redemption = answer.expect(200)["redemption"].clone();
    assert_eq!(redemption["state"], "REDEMPTION_STATE_PENDING", "{redemption}");
    redemption["redemption_id"].as_str().unwrap().to_owned()
}

fn granted(answer: &Answer, state: &str) {
    assert_eq!(answer.expect(200)["grant"]["state"], format!("GRANT_STATE_{state}"), "{}", answer.text());
}

#[test]
fn without_redis_what_must_be_fresh_is_refused_first_and_all_else_later() {
    run(async {
        let mut scene = Scene::of(hasty().toml(BLIND).start().await).await;
        let token = scene.shown().await;
        scene.mesh.redis.kill();
        let claimed = async {
            blindly(async || scene.claim().await).await;
            granted(&scene.click(&token).await, "GRANTED");
        };
        tokio::join!(blindly(async || scene.redeem("k").await), claimed);
        let id = pending(&scene.redeem("k").await);
        assert!(untold(&scene.mesh, "rewards").await > 0, "what is to be told waits");
        refused_in_the_end(async || scene.click("of nobody").await).await;
        scene.refuses_what_is_fresh(UNKNOWN).await;
        assert_eq!(scene.read().await[0]["state"], "REDEMPTION_STATE_PENDING");
        assert_eq!(scene.grant().await.unwrap(), GrantState::Granted);
        refused_in_the_end(async || scene.alice.get("/v1/rewards/redemptions").await).await;
        scene.is_away(UNKNOWN).await;
        scene.mesh.rest().get("/v1/rewards").send().await.expect(200);
        let begun = scene.mesh.db.count("select count(*) from rewards.redemptions").await;
        assert_eq!(begun, 1, "what was refused did not happen");
        scene.mesh.redis.resurrect().await;
        scene.has_ended(&id, scene.mesh.stand_ins.as_ref().unwrap()).await;
        let [told, written] = streamed(&scene.mesh, "rewards", "redemption_issued").await;
        assert_eq!((told.len(), &told), (1, &written), "it is told once");
    });
}

#[test]
fn without_postgres_nothing_is_answered_and_what_was_begun_is_finished_after() {
    run(async {
        let scene = Scene::of(hasty().proxy(Before::Postgres).start().await).await;
        let vendor = scene.mesh.stand_ins.as_ref().unwrap();
        vendor.fault(&json!({"provider": "vendor", "endpoint": "order", "kind": "error", "status": 500})).await;
        let (id, token) = (pending(&redeemed(&scene.alice, &scene.shelf.sku, "k").await), scene.shown().await);
        let proxy = scene.mesh.postgres_proxy.as_ref().unwrap();
        proxy.set(Fault::Cut);
        scene.mesh.rest().get("/v1/rewards").send().await.refused(503, AWAY);
        scene.is_away(AWAY).await;
        scene.click(&token).await.refused(503, AWAY);
        vendor.rest().delete("/_sandbox/faults").send().await;
        proxy.heal();
        wait_until("a campaign gives", PATIENCE, async || scene.claim().await.status == 200).await;
        wait_until("a click is worth something", PATIENCE, async || {
            let clicked = scene.click(&token).await;
            clicked.status == 200 || clicked.reason() == "AD_TOKEN_USED"
        })
        .await;
        scene.has_ended(&id, vendor).await;
    });
}

#[test]
fn without_the_wallet_grants_are_promised_and_redemptions_wait() {
    run(async {
        let mut scene = Scene::of(hasty().split().start().await).await;
        scene.mesh.node_mut(0, "wallet").kill().await;
        assert_eq!(scene.grant().await.unwrap(), GrantState::Pending);
        granted(&scene.claim().await, "PENDING");
        granted(&scene.click(&scene.shown().await).await, "PENDING");
        for _ in 0..2 {
            let refused = scene.redeem("k").await;
            refused.refused(409, "IN_PROGRESS");
            assert!(!refused.header("retry-after").is_empty());
        }
        let waits = scene.read().await[0].clone();
        assert_eq!(waits["state"], "REDEMPTION_STATE_RESERVED", "{waits}");
        scene.mesh.node_mut(0, "wallet").start().await;
        let id = waits["redemption_id"].as_str().unwrap();
        scene.has_ended(id, scene.mesh.stand_ins.as_ref().unwrap()).await;
    });
}

#[test]
fn without_the_vendor_redemptions_are_pending_and_one_that_is_given_up_ends_when_it_is_back() {
    run(async {
        let vendor = StandIns::start().await;
        let proxy = FaultProxy::before(vendor.base().trim_start_matches("http://")).await;
        let mesh = retried("[0, 0, 0]")
            .setting("rewards.vendor_url", format!("http://{}/vendor", proxy.address()))
            .setting("rewards.resend_after_secs", 40_i64)
            .setting("rewards.give_up_secs", 80_i64)
            .start()
            .await;
        let scene = Scene::of(mesh).await;
        // Whoever asked it has given up, and the command is nobody's.
        let dead = "select count(*) from rewards.held_events where state = 'dead'";
        let is_dead =
            async || wait_until("its command is dead", LONG, async || scene.mesh.db.count(dead).await == 1).await;
        proxy.set(Fault::Cut);
        let id = pending(&redeemed(&scene.alice, &scene.shelf.sku, "k").await);
        is_dead().await;
        granted(&scene.claim().await, "GRANTED");
        granted(&scene.click(&scene.shown().await).await, "GRANTED");
        assert_eq!(scene.grant().await.unwrap(), GrantState::Granted);
        assert_eq!(scene.read().await[0]["state"], "REDEMPTION_STATE_PENDING");
        proxy.heal();
        scene.mesh.clock.advance(SignedDuration::from_secs(41));
        scene.has_ended(&id, &vendor).await;
        // One whose time is over stays as it is until the vendor says what it did.
        proxy.set(Fault::Cut);
        let id = pending(&redeemed(&scene.alice, &scene.shelf.sku, "l").await);
        is_dead().await;
        scene.mesh.clock.advance(SignedDuration::from_secs(81));
        let looked = format!(
            "select count(*) from rewards.redemptions where id = '{id}' and state = 2 and due_at > to_timestamp({})",
            scene.mesh.now()
        );
        wait_until("it is to be cancelled", LONG, async || scene.mesh.db.count(&looked).await == 1).await;
        assert_eq!(scene.read().await[0]["state"], "REDEMPTION_STATE_PENDING");
        proxy.heal();
        let failed = settled(&scene.alice, &id).await;
        let why = (&failed["state"], &failed["reason"]);
        assert_eq!(why, (&json!("REDEMPTION_STATE_FAILED"), &json!("VENDOR:order_cancelled")));
        assert_eq!((points_of(&scene.alice).await, scene.shelf.stock(&scene.mesh).await), (102, 4));
        assert_eq!(orders(&vendor).await[&id]["status"], "cancelled");
    });
}

#[test]
fn without_auth_everything_goes_on_as_long_as_rewards_has_a_token() {
    run(async {
        // The wallet was called, which takes a token.
        let mut scene = Scene::of(hasty().split().start().await).await;
        scene.mesh.node_mut(0, "auth").kill().await;
        granted(&scene.claim().await, "GRANTED");
        // Past the half of its life another is asked for in vain.
        scene.mesh.clock.advance(SignedDuration::from_secs(200));
        granted(&scene.click(&scene.shown().await).await, "GRANTED");
        scene.mesh.clock.advance(SignedDuration::from_secs(95));
        assert_eq!(scene.grant().await.unwrap(), GrantState::Pending);
        scene.redeem("k").await.refused(409, "IN_PROGRESS");
        let waits = scene.read().await[0].clone();
        assert_eq!(waits["state"], "REDEMPTION_STATE_RESERVED", "{waits}");
        scene.mesh.node_mut(0, "auth").start().await;
        let id = waits["redemption_id"].as_str().unwrap();
        scene.has_ended(id, scene.mesh.stand_ins.as_ref().unwrap()).await;
    });
}
