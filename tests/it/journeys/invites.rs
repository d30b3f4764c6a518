//! Sign-up by invite.

use coreloop_testkit::{TestMesh, run};
use jiff::SignedDuration;
use serde_json::json;

#[test]
fn an_invite_with_one_use_admits_one_of_fifty() {
    run(async {
        let mesh = TestMesh::builder().replicas(2).setting("auth.invite_required", true).start().await;
        mesh.db.execute("insert into auth.invites (code, max_uses, created_at) values ('once', 1, now())").await;
        let gateways = [mesh.gateway_on(0), mesh.gateway_on(1)];
        let tries = (0..50).map(|number| {
            let visitor = mesh.visitor("guest").at(&gateways[number % 2]);
            async move {
                let mut body = visitor.sign_up_body();
                body["invite_code"] = json!("once");
                let answer = visitor.post("/api/v1/auth/signup", &body).await;
                (answer.status.as_u16(), answer.reason())
            }
        });
        let outcomes = futures::future::join_all(tries).await;
        assert_eq!(outcomes.iter().filter(|(status, _)| *status == 201).count(), 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|(status, reason)| *status == 201 || reason == "INVITE_INVALID"), "{outcomes:?}");
        assert_eq!(mesh.db.count("select used::bigint from auth.invites where code = 'once'").await, 1);
    });
}

#[test]
fn sign_up_needs_an_invite_where_invites_are_required() {
    run(async {
        let mesh = TestMesh::builder().setting("auth.invite_required", true).start().await;
        let guest = mesh.visitor("guest");
        guest.post("/api/v1/auth/signup", &guest.sign_up_body()).await.refused(400, "INVITE_REQUIRED");
        let mut body = guest.sign_up_body();
        body["invite_code"] = json!("unheard-of");
        guest.post("/api/v1/auth/signup", &body).await.refused(400, "INVITE_INVALID");
        body["invite_code"] = json!("5858");
        guest.post("/api/v1/auth/signup", &body).await.expect(201);
    });
}

#[test]
fn an_invite_admits_nobody_after_its_time() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().setting("auth.invite_required", true).start().await;
        let made = format!(
            "insert into auth.invites (code, max_uses, expires_at, created_at)
             values ('spring', 9, to_timestamp({}) + interval '1 hour', now())",
            mesh.now()
        );
        mesh.db.execute(&made).await;
        let sign_up = async |name: &str| {
            let guest = mesh.visitor(name);
            let mut body = guest.sign_up_body();
            body["invite_code"] = json!("spring");
            guest.post("/api/v1/auth/signup", &body).await
        };
        mesh.clock.advance(SignedDuration::from_mins(59));
        sign_up("early").await.expect(201);
        mesh.clock.advance(SignedDuration::from_mins(1));
        sign_up("late").await.refused(400, "INVITE_INVALID");
        let late = mesh.visitor("late");
        let started = late.get("/api/v1/auth/authorize/google?invite_code=spring").await.expect(200);
        let address = started["authorization_url"].as_str().unwrap();
        let back = mesh.stand_ins.as_ref().unwrap().open(address, "late").await;
        let code = back.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
        let body = json!({"code": code, "state": started["state"]});
        late.post("/api/v1/auth/login/google", &body).await.refused(400, "INVITE_INVALID");
        assert_eq!(mesh.db.count("select used::bigint from auth.invites where code = 'spring'").await, 1);
    });
}
