//! What is good once stays used when Redis comes back as it was a while ago (M8).

use coreloop_testkit::{Back, TestMesh, Visitor, run};
use serde_json::json;

/// What a provider sends back to the app.
async fn consent(mesh: &TestMesh, visitor: &Visitor) -> (String, String) {
    let authorization = visitor.get("/api/v1/auth/authorize/kakao").await.expect(200);
    let back = mesh.stand_ins.as_ref().unwrap().consent(&authorization, "alice").await;
    (back.param("code"), back.param("state"))
}

/// Every key that matches, with what it holds; given back by [`put_back`], as a Redis that restarts on an old file does.
async fn remembered(mesh: &TestMesh, pattern: &str) -> Vec<(String, Vec<u8>)> {
    let mut redis = mesh.redis.connect().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await.unwrap();
    assert!(!keys.is_empty(), "nothing at {pattern}");
    let mut all = Vec::new();
    for key in keys {
        let value = redis::cmd("GET").arg(&key).query_async(&mut redis).await.unwrap();
        all.push((key, value));
    }
    all
}

async fn put_back(mesh: &TestMesh, all: Vec<(String, Vec<u8>)>) {
    let mut redis = mesh.redis.connect().await;
    for (key, value) in all {
        let () = redis::cmd("SET").arg(key).arg(value).query_async(&mut redis).await.unwrap();
    }
}

#[test]
fn what_was_used_stays_used_when_redis_comes_back_as_it_was() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().start().await;
        let visitor = mesh.visitor("alice");

        let (code, state) = consent(&mesh, &visitor).await;
        let before = remembered(&mesh, "oauth:state:*").await;
        visitor.post("/api/v1/auth/login/kakao", &json!({"code": code, "state": state})).await.expect(200);
        put_back(&mesh, before).await;
        let (fresh_code, _) = consent(&mesh, &visitor).await;
        let again = json!({"code": fresh_code, "state": state});
        visitor.post("/api/v1/auth/login/kakao", &again).await.refused(400, "OAUTH_STATE_INVALID");

        let (code, state) = consent(&mesh, &visitor).await;
        let redirect = visitor.get(&format!("/api/v1/auth/callback/kakao?code={code}&state={state}")).await;
        let exchange = json!({"code": Back::by(&redirect).param("code")});
        let before = remembered(&mesh, "auth:login_code:*").await;
        visitor.post("/api/v1/auth/login/exchange", &exchange).await.expect(200);
        put_back(&mesh, before).await;
        visitor.post("/api/v1/auth/login/exchange", &exchange).await.refused(400, "LOGIN_CODE_INVALID");

        // Only digests of what was used are kept.
        let kept = "select count(*) from auth.processed_events where idempotency_key ~ '^(oauth_state|login_code):[0-9a-f]{64}$'";
        assert_eq!(mesh.db.count(kept).await, 3);
    });
}
