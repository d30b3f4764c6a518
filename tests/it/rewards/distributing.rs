//! One path for both: users fetch for themselves what a campaign gives, administrators give to others.

use coreloop_testkit::{Answer, Persona, TestMesh, run, wait::wait_for, wait_until};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{LONG, MESH, admin, audited, campaign, event, points_of};

const EVERYBODY: &str = "/api/rewards/distribute";
const ADMINISTRATORS: &str = "/admin/rewards/distribute";

fn gift(to: &str, amount: i64) -> Value {
    json!({"user_id": to, "kind": "REWARD_KIND_POINT", "amount": amount, "reason": "ticket 5", "external_event_id": event()})
}

/// The same, but for some of it; what is null is left out.
fn but(body: &Value, change: &Value) -> Value {
    let mut other = body.clone();
    let fields = other.as_object_mut().unwrap();
    fields.extend(change.as_object().unwrap().clone());
    fields.retain(|_, value| !value.is_null());
    other
}

async fn granted_to(mesh: &TestMesh, user: &str) -> i64 {
    mesh.db.count(&format!("select count(*) from rewards.grants where user_id = '{user}'")).await
}

/// The fields that a refusal names.
fn wrong(answer: &Answer) -> Vec<String> {
    let request = answer.detail("google.rpc.BadRequest").unwrap_or_else(|| panic!("{}", answer.text()));
    let violations = request["field_violations"].as_array().unwrap();
    violations.iter().map(|violation| violation["field"].as_str().unwrap().to_owned()).collect()
}

/// A campaign of 30 points for so many, 0: for everybody.
async fn open(admin: &Persona, max_grants: i64) -> String {
    let name = format!("both-{}", Uuid::new_v4());
    admin.post("/admin/rewards/campaigns", &campaign(&name, 30, max_grants)).await.expect(200);
    name
}

#[test]
fn an_administrator_gives_to_others_and_an_event_is_one_grant_on_both_paths() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice) = (admin(mesh).await, mesh.persona("alice").await);
        let mut given = 0;
        for (first, then) in [(EVERYBODY, ADMINISTRATORS), (ADMINISTRATORS, EVERYBODY)] {
            let body = gift(&alice.user_id, 12);
            let grant = admin.post(first, &body).await.expect(200);
            assert_eq!((&grant["grant"]["user_id"], &grant["grant"]["amount"]), (&json!(alice.user_id), &json!(12)));
            for path in [first, then] {
                assert_eq!(admin.post(path, &body).await.expect(200)["grant"]["grant_id"], grant["grant"]["grant_id"]);
                for change in [json!({"amount": 13}), json!({"reason": "ticket 6"}), json!({"user_id": Uuid::new_v4()})]
                {
                    let other = admin.post(path, &but(&body, &change)).await;
                    other.refused(409, "IDEMPOTENCY_KEY_REUSED");
                }
            }
            given += 12;
            wait_until("the points are there", LONG, async || points_of(&alice).await == given).await;
            let id = grant["grant"]["grant_id"].as_str().unwrap();
            wait_until("it is known", LONG, async || audited(mesh, id).await == 2).await;
            let by = format!("subject = '{id}' and step = 'asked' and actor = 'user:{}'", admin.user_id);
            assert_eq!(mesh.db.count(&format!("select count(*) from rewards.reward_audit where {by}")).await, 1);
        }
        assert_eq!(granted_to(mesh, &alice.user_id).await, 2);
        told_once_each(&admin, &alice).await;
    });
}

/// The audit of the mesh has one row for each grant, by the RPC that promised it.
async fn told_once_each(admin: &Persona, alice: &Persona) {
    let of = format!("action=rewards.distribute&actor={}&subject={}", admin.user_id, alice.user_id);
    let rows = wait_for("the acts are heard", LONG, async || {
        let page = admin.get(&format!("/admin/audit?page_size=50&{of}")).await.expect(200);
        page["rows"].as_array().filter(|rows| rows.len() >= 2).cloned()
    });
    let mut by: Vec<Value> = rows
        .await
        .iter()
        .map(|row| {
            let detail: Value = serde_json::from_str(row["detail"].as_str().unwrap()).unwrap();
            assert_eq!((&detail["reason"], &detail["after"]["amount"]), (&json!("ticket 5"), &json!(12)));
            detail["rpc"].clone()
        })
        .collect();
    by.sort_by_key(ToString::to_string);
    let rpcs = ["RewardsAdminService.DistributeTo", "RewardsService.Distribute"];
    assert_eq!(by, rpcs.map(|name| json!(format!("coreloop.rewards.v1.{name}"))));
}

#[test]
fn users_give_nobody_anything() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice) = (admin(mesh).await, mesh.persona_with_role("alice", "PREMIUM").await);
        let (standard, other) = (mesh.persona("stan").await, Uuid::new_v4().to_string());
        let own = json!({"campaign_id": open(&admin, 0).await, "external_event_id": event()});
        for whole in [gift(&other, 5), gift(&alice.user_id, 5)] {
            alice.post(EVERYBODY, &whole).await.refused(403, "ROLE_REQUIRED");
            standard.post(EVERYBODY, &whole).await.refused(403, "ROLE_REQUIRED");
        }
        for more in [
            json!({"user_id": other}),
            json!({"user_id": alice.user_id}),
            json!({"kind": "REWARD_KIND_GOLD"}),
            json!({"amount": 5}),
            json!({"item": "sword"}),
            json!({"reason": "please"}),
        ] {
            let answer = alice.post(EVERYBODY, &but(&own, &more)).await;
            answer.refused(403, "ROLE_REQUIRED");
            assert_eq!(answer.detail("google.rpc.ErrorInfo").unwrap()["metadata"]["role"], "ADMIN", "{more}");
        }
        let nothing = but(&own, &json!({"campaign_id": null}));
        alice.post(EVERYBODY, &nothing).await.refused(400, "VALIDATION_FAILED");
        standard.post(EVERYBODY, &own).await.refused(403, "ROLE_REQUIRED");
        for user in [&other, &alice.user_id, &standard.user_id] {
            assert_eq!(granted_to(mesh, user).await, 0);
        }
        // The event is as good as new.
        alice.post(EVERYBODY, &own).await.expect(200);
        assert_eq!(granted_to(mesh, &alice.user_id).await, 1);
    });
}

#[test]
fn an_administrator_says_who_what_and_why() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, user) = (admin(mesh).await, Uuid::new_v4().to_string());
        let name = open(&admin, 0).await;
        let by_campaign =
            json!({"user_id": user, "campaign_id": name, "reason": "ticket 5", "external_event_id": event()});
        for (body, field, change) in [
            (gift(&user, 5), "user_id", json!({"user_id": null})),
            (gift(&user, 5), "user_id", json!({"user_id": Uuid::from_u128(0x0100)})),
            (gift(&user, 5), "user_id", json!({"user_id": "alice"})),
            (gift(&user, 5), "reason", json!({"reason": null})),
            (gift(&user, 5), "kind", json!({"kind": null})),
            (gift(&user, 5), "amount", json!({"amount": null})),
            (gift(&user, 5), "amount", json!({"amount": -5})),
            (gift(&user, 5), "amount", json!({"amount": 9_007_199_254_740_992_i64})),
            (gift(&user, 5), "item", json!({"item": "sword"})),
            (gift(&user, 5), "item", json!({"kind": "REWARD_KIND_ITEM"})),
            (gift(&user, 5), "campaign_id", json!({"campaign_id": name})),
            (gift(&user, 5), "external_event_id", json!({"external_event_id": null})),
            (by_campaign.clone(), "user_id", json!({"user_id": null})),
            (by_campaign.clone(), "reason", json!({"reason": null})),
            (by_campaign.clone(), "campaign_id", json!({"amount": 5})),
        ] {
            let answer = admin.post(EVERYBODY, &but(&body, &change)).await;
            answer.refused(400, "VALIDATION_FAILED");
            assert_eq!(wrong(&answer), [field], "{change}");
        }
        assert_eq!(granted_to(mesh, &user).await, 0);
    });
}

#[test]
fn an_administrator_gives_what_a_campaign_gives_to_whomever_they_name() {
    run(async {
        let mesh = MESH.get().await;
        let (admin, alice) = (admin(mesh).await, mesh.persona_with_role("alice", "PREMIUM").await);
        let (standard, name) = (mesh.persona("stan").await, open(&admin, 2).await);
        let to = |user: &str| json!({"user_id": user, "campaign_id": name, "reason": "ticket 5", "external_event_id": event()});
        for person in [&alice, &standard] {
            let body = to(&person.user_id);
            let grant = admin.post(EVERYBODY, &body).await.expect(200);
            assert_eq!((&grant["grant"]["amount"], &grant["grant"]["reason"]), (&json!(30), &json!("ticket 5")));
            assert_eq!(admin.post(EVERYBODY, &body).await.expect(200)["grant"]["grant_id"], grant["grant"]["grant_id"]);
            let other = but(&body, &json!({"reason": "ticket 6"}));
            admin.post(EVERYBODY, &other).await.refused(409, "IDEMPOTENCY_KEY_REUSED");
            wait_until("the points are there", LONG, async || points_of(person).await == 30).await;
        }
        // It is one of the campaign's, which gives to each once and not more than it has.
        let own = json!({"campaign_id": name, "external_event_id": event()});
        for answer in [alice.post(EVERYBODY, &own).await, admin.post(EVERYBODY, &to(&Uuid::new_v4().to_string())).await]
        {
            answer.refused(400, "CAMPAIGN_EXHAUSTED");
        }
        let more = campaign(&name, 30, 3);
        admin.post("/admin/rewards/campaigns", &more).await.expect(200);
        alice.post(EVERYBODY, &own).await.refused(400, "CAMPAIGN_CLAIMED");
        let sql = format!("select granted from rewards.campaigns where id = '{name}'");
        assert_eq!(mesh.db.count(&sql).await, 2);
    });
}
