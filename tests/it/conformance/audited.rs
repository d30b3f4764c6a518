//! What an RPC says that the audit records of it is recorded: who, in a row that stays; and of every service in the audit of ops.

use std::collections::BTreeMap;

use coreloop_testkit::{Persona, TestMesh, run, wait::wait_until};
use coreloop_transcode::{
    options,
    pb::option::Level,
    router::{self, Match},
};
use prost_reflect::MethodDescriptor;
use prost_types::method_options::IdempotencyLevel;
use serde_json::{Value, json};
use uuid::Uuid;

use super::policy::methods;
use crate::{
    eco::{character::stage::given, stage::LONG},
    rewards::stage::{Shelf, person_with, redeemed},
    shop::stage::{Buyer, key, mesh},
};

/// What is asked for, and the rows that are then there of `{admin}`.
#[derive(Debug)]
struct Kept {
    method: http::Method,
    path: String,
    body: Value,
    rows: String,
}

fn kept(method: http::Method, path: &str, body: Value, rows: String) -> Kept {
    Kept { method, path: path.to_owned(), body, rows: format!("select count(*) from {rows}") }
}

/// Of the shop, rewards and the wallet: their own tables.
#[expect(clippy::too_many_lines, reason = "a list")]
fn of_the_economy(user: &str, purchase: &str, redemption: &str) -> Vec<(&'static str, Kept)> {
    let post = |path: &str, body: Value, rows: &str| kept(http::Method::POST, path, body, rows.to_owned());
    let name = format!("kept-{}", Uuid::new_v4());
    let settle = format!("/api/shop/transactions/{purchase}/settle");
    let state = format!("/admin/rewards/inventory/{name}/state");
    let cancel = format!("/admin/rewards/redemptions/{redemption}/cancel");
    let changed = |what: &str| {
        format!("rewards.changes where what = '{what}' and subject = '{name}' and actor = 'user:{{admin}}'")
    };
    let shop = |what: &str| format!("shop.changes where what = '{what}' and changed_by = '{{admin}}'");
    let fraud = |subject: &str| format!("shop.fraud_changes where subject = '{subject}' and changed_by = '{{admin}}'");
    vec![
        (
            "shop.product.upsert",
            post(
                "/admin/shop/products",
                json!({"product": {"product_id": name, "category": "CATEGORY_ITEM", "name": "K", "price": 1,
                                   "effect": {"code": "K", "amount": 1}}}),
                &shop("product"),
            ),
        ),
        (
            "shop.promo.upsert",
            post(
                "/admin/shop/promos",
                json!({"promo": {"code": name.to_uppercase(), "kind": "PROMO_KIND_PERCENT", "value": 5}}),
                &shop("promo"),
            ),
        ),
        (
            "shop.transaction.settle",
            post(&settle, json!({"verdict": "PURCHASE_STATE_CONFIRMED", "reason": "kept"}), &shop("settlement")),
        ),
        (
            "shop.fraud.rule",
            post(
                "/admin/shop/fraud/rules",
                json!({"rule": {"rule_id": "KEPT", "category": "CATEGORY_CONVERSION", "kind": "FRAUD_KIND_VELOCITY",
                                "subject": "FRAUD_SUBJECT_USER", "window_secs": 1, "most": 10_000,
                                "mode": "FRAUD_MODE_OFF"}}),
                &fraud("KEPT"),
            ),
        ),
        (
            "shop.fraud.excuse",
            post("/admin/shop/fraud/excuses", json!({"user_id": user, "for_secs": 1, "reason": "kept"}), &fraud(user)),
        ),
        (
            "rewards.distribute",
            post(
                "/admin/rewards/distribute",
                json!({"user_id": user, "kind": "REWARD_KIND_XP", "amount": 1, "reason": "kept", "external_event_id": key()}),
                "rewards.reward_audit where step = 'asked' and actor = 'user:{admin}'",
            ),
        ),
        (
            "rewards.distribute",
            post(
                "/api/rewards/distribute",
                json!({"user_id": user, "kind": "REWARD_KIND_XP", "amount": 2, "reason": "kept", "external_event_id": key()}),
                "rewards.reward_audit where step = 'asked' and actor = 'user:{admin}'",
            ),
        ),
        (
            "rewards.campaign.put",
            post(
                "/admin/rewards/campaigns",
                json!({"campaign_id": name, "kind": "REWARD_KIND_POINT", "amount": 1, "state": "OFFER_STATE_PAUSED"}),
                &changed("campaigns"),
            ),
        ),
        (
            "rewards.inventory.put",
            post(
                "/admin/rewards/inventory",
                json!({"sku": name, "title": "K", "vendor_sku": "k", "price": 1, "stock": 0, "state": "OFFER_STATE_PAUSED"}),
                &changed("inventory"),
            ),
        ),
        ("rewards.inventory.state", post(&state, json!({"state": "OFFER_STATE_RETIRED"}), &changed("inventory"))),
        (
            "rewards.redemption.cancel",
            post(
                &cancel,
                json!({"reason": "kept"}),
                "rewards.reward_audit where step = 'ended_by_hand' and actor = 'user:{admin}'",
            ),
        ),
        (
            "rewards.ad.put",
            post(
                "/admin/rewards/ads",
                json!({"ad_id": name, "title": "K", "url": "https://k.example/", "points": 1, "slots": 0,
                       "state": "OFFER_STATE_PAUSED"}),
                &changed("ads"),
            ),
        ),
        (
            "wallet.adjust",
            post(
                "/admin/users/adjust-points",
                json!({"user_id": user, "currency": "CURRENCY_GOLD", "delta": 1, "reason": "kept", "idempotency_key": key()}),
                "wallet.postings where actor = 'user:{admin}'",
            ),
        ),
    ]
}

/// Of characters: their own table, and the history of who has one.
fn of_characters(user: &str) -> [(&'static str, Kept); 2] {
    let words = json!({"en": "K", "ko": "케"});
    let character = json!({
        "code": "KEPT1", "name": words, "lore": words, "type_label": words, "active": false,
        "unlock": {"condition_type": "campaign", "threshold": 0, "metadata": {}},
    });
    let post = |path: &str, body: Value, rows: &str| kept(http::Method::POST, path, body, rows.to_owned());
    [
        (
            "character.put",
            post(
                "/admin/characters",
                character,
                "character.changes where subject = 'KEPT1' and actor = 'user:{admin}'",
            ),
        ),
        (
            "character.revoke",
            post(
                "/admin/characters/CHR001/revoke",
                json!({"user_id": user, "reason": "kept"}),
                "character.events where event_type = 'character.lost' and payload ->> 'by' = 'admin:{admin}'",
            ),
        ),
    ]
}

/// Of ops: what is asked, whatever comes of it.
fn of_ops() -> Vec<(&'static str, Kept)> {
    let letter = format!("/admin/dlq/rewards.issue/{}", Uuid::new_v4());
    let run = format!("/admin/maintenance/runs/{}", Uuid::new_v4());
    let none = json!({"queue": "rewards.issue", "count": 1, "id": Uuid::new_v4()});
    let (get, post) = (http::Method::GET, http::Method::POST);
    let asked = [
        ("ops.dead_letters.list", &get, "/admin/dlq/rewards.issue", json!({})),
        ("ops.dead_letters.inspect", &get, letter.as_str(), json!({})),
        ("ops.dead_letters.reprocess", &post, "/admin/dlq/reprocess", none.clone()),
        ("ops.dead_letters.discard", &post, "/admin/dlq/discard", none),
        ("ops.queues.list", &get, "/admin/dlq", json!({})),
        ("ops.audit.search", &get, "/admin/audit", json!({})),
        ("ops.integrity.start", &post, "/admin/maintenance/integrity-check", json!({"checks": ["ops.audit"]})),
        ("ops.runs.list", &get, "/admin/maintenance/runs", json!({})),
        ("ops.runs.get", &get, run.as_str(), json!({})),
        ("ops.health.get", &get, "/admin/health", json!({})),
        ("ops.dashboard.get", &get, "/admin/dashboard", json!({})),
    ];
    let rows = |action: &str| format!("ops.audits where action = '{action}' and actor = '{{admin}}'");
    asked.map(|(action, method, path, body)| (action, kept(method.clone(), path, body, rows(action)))).into()
}

/// Of auth: the history of accounts, and its tables.
fn of_auth(user: &str) -> Vec<(&'static str, Kept)> {
    let (get, post) = (http::Method::GET, http::Method::POST);
    let of = |path: &str| format!("/api/v1/auth/admin/users/{user}{path}");
    let noted =
        |name: &str| format!("auth.auth_events where event_type = 'auth.{name}' and aggregate_id = '{{admin}}'");
    let by = |name: &str| {
        format!(
            "auth.auth_events where event_type = 'auth.{name}' and aggregate_id = '{user}' and payload ->> 'by' = '{{admin}}'"
        )
    };
    let invites = "/api/v1/auth/admin/invites";
    vec![
        ("auth.role.set", kept(http::Method::PUT, &of("/roles"), json!({"roles": ["ROLE_VIP"]}), noted("roles_asked"))),
        ("auth.user.lock", kept(post.clone(), &of("/lock"), json!({"reason": "kept"}), by("user_locked"))),
        ("auth.user.unlock", kept(post.clone(), &of("/unlock"), json!({}), by("user_unlocked"))),
        ("auth.user.get", kept(get, &of(""), json!({}), noted("user_looked_at"))),
        (
            "auth.invite.create",
            kept(post.clone(), invites, json!({"max_uses": 1}), "auth.invites where created_by = '{admin}'".to_owned()),
        ),
        ("auth.keys.rotate", kept(post, "/api/v1/auth/admin/keys/rotate", json!({}), noted("rotation_asked"))),
    ]
}

/// Of who is not an administrator yet or any more: `journeys` see these in `auth.login_audits` and `auth.auth_events`.
const ELSEWHERE: [&str; 2] = ["auth.admin.login", "auth.admin.logout"];

/// Whether administrators change something by it, from outside the mesh.
fn is_an_act(method: &MethodDescriptor) -> bool {
    let access = options::access(method).unwrap();
    let described = method.method_descriptor_proto().options.as_ref();
    let reads = described.is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects)
        || options::http(method).is_some_and(|rule| rule.has_field_by_name("get"));
    (access.level() == Level::Admin || access.admins) && !access.mesh_only && !reads
}

#[test]
fn whatever_administrators_change_is_said_to_be_audited() {
    let acts: Vec<MethodDescriptor> = methods().filter(is_an_act).collect();
    assert!(acts.len() >= 20, "only {} RPCs were looked at", acts.len());
    for method in acts {
        let said = options::audit(&method).is_some_and(|audit| !audit.action.is_empty());
        assert!(said, "{} has no audit option", method.full_name());
    }
}

/// A redemption that the vendor does not issue: of this mesh it issues nothing from now on.
async fn unissued(mesh: &TestMesh, person: &Persona) -> String {
    let fault = json!({"provider": "vendor", "endpoint": "order", "kind": "error", "status": 500});
    mesh.stand_ins.as_ref().unwrap().fault(&fault).await;
    let shelf = Shelf::with(mesh, 1, 1).await;
    let begun = redeemed(person, &shelf.sku, "kept").await.expect(200);
    begun["redemption"]["redemption_id"].as_str().unwrap().to_owned()
}

/// A conversion that nobody decides.
async fn pending(mesh: &TestMesh) -> String {
    let bought = Buyer::new(mesh).convert(&key(), "pending").await.expect(200);
    bought["transaction_id"].as_str().unwrap().to_owned()
}

/// RPCs that say what the audit records of them, as tests of this file ask them, in the order of the list.
fn said(list: impl Iterator<Item = (&'static str, Kept)>) -> Vec<(MethodDescriptor, Kept)> {
    let mut acts: BTreeMap<(String, String), (usize, Kept)> = BTreeMap::new();
    for (place, (action, kept)) in list.enumerate() {
        let Match::Found { route, .. } = router::router().find(kept.method.as_str(), &kept.path) else {
            panic!("nothing is at {}", kept.path)
        };
        // One action may be asked for by several RPCs, and then each keeps it.
        let twice = acts.insert((action.to_owned(), route.method.full_name().to_owned()), (place, kept));
        assert!(twice.is_none(), "{twice:?} is asked twice");
    }
    let mut said = Vec::new();
    for method in methods() {
        let Some(audit) = options::audit(&method).filter(|audit| !audit.action.is_empty()) else { continue };
        if !ELSEWHERE.contains(&audit.action.as_str()) {
            let asked = (audit.action, method.full_name().to_owned());
            let known = acts.remove(&asked);
            let (place, kept) = known.unwrap_or_else(|| panic!("nobody says where {asked:?} is kept"));
            said.push((place, method, kept));
        }
    }
    assert!(acts.is_empty(), "no RPC says so: {acts:?}");
    said.sort_by_key(|(place, ..)| *place);
    said.into_iter().map(|(_, method, kept)| (method, kept)).collect()
}

#[test]
fn what_is_said_to_be_audited_is_kept() {
    run(async {
        let mesh = mesh().modules(&["character", "ops", "rewards", "shop", "wallet"]).replicas(1);
        let mesh = &mesh.setting("shop.lease_secs", 30_i64).start().await;
        let admin = mesh.admin().await;
        let (user, purchase) = (person_with(mesh, "kept", 1).await, pending(mesh).await);
        given(mesh, &user, "CHR001").await;
        let (redemption, user) = (unissued(mesh, &user).await, user.user_id);
        let whose = admin.user_id.as_str();
        let mut told = 0;
        for (method, act) in said(
            of_the_economy(&user, &purchase, &redemption)
                .into_iter()
                .chain(of_characters(&user))
                .chain(of_ops())
                .chain(of_auth(&user)),
        ) {
            let rows = act.rows.replace("{admin}", whose);
            let before = mesh.db.count(&rows).await;
            let call = admin.rest().call(act.method.clone(), &act.path);
            let call = if act.method == http::Method::GET { call } else { call.json(&act.body) };
            let answer = call.send().await;
            assert!(answer.status.as_u16() < 500, "{act:?}: {}", answer.text());
            wait_until(format!("{} is kept: {}", act.path, answer.text()), LONG, async || {
                mesh.db.count(&rows).await > before
            })
            .await;
            // What was done is in the audit of ops, whichever service did it; what was refused was not done.
            if method.parent_service().name() == "OpsService" || !answer.status.is_success() {
                assert!(matches!(method.name(), "RotateKeys") || method.parent_service().name() == "OpsService");
                continue;
            }
            let name = method.full_name();
            let one =
                format!("select count(*) from ops.audits where actor = '{whose}' and detail ->> 'rpc' = '{name}'");
            wait_until(format!("ops hears of {name}"), LONG, async || mesh.db.count(&one).await == 1).await;
            told += 1;
        }
        assert!(told >= 16, "ops has heard of {told}");
        let heard = format!("select count(*) from ops.audits where actor = '{whose}' and detail ? 'rpc'");
        assert_eq!(mesh.db.count(&heard).await, told, "what was refused is not in it");
    });
}
