//! Where sign-in methods meet: links through the browser, races for an account, addresses nobody proved.

use coreloop_testkit::{Back, Persona, TestMesh, Visitor, run, wait::PATIENCE, wait_until};
use futures::future::join_all;
use serde_json::{Value, json};

/// Opens the provider's page as `name`.
async fn consent(mesh: &TestMesh, begun: &Value, name: &str) -> Back {
    mesh.stand_ins.as_ref().unwrap().consent(begun, name).await
}

async fn start(visitor: &Visitor, provider: &str) -> Value {
    visitor.get(&format!("/api/v1/auth/authorize/{provider}?device_id={}", visitor.device_id)).await.expect(200)
}

in_both_topologies! {
    async fn a_link_comes_back_through_the_browser_and_is_finished_by_its_account(mesh) {
        let alice = mesh.persona("alice").await;
        let started = alice.get("/api/v1/auth/authorize/kakao?link=true").await.expect(200);
        let back = consent(mesh, &started, &alice.visitor.handle()).await;
        let redirect = alice.visitor.get(&format!("/api/v1/auth/callback/kakao?{}", back.query())).await;
        let deep = Back::by(&redirect);
        assert_eq!(deep.param("link"), "true");
        let linked = alice.post("/api/v1/auth/links/kakao", &deep.answer()).await.expect(200);
        assert_eq!(linked["link"]["provider"], "kakao");
        alice.post("/api/v1/auth/links/kakao", &deep.answer()).await.refused(400, "OAUTH_STATE_INVALID");
    }

    async fn a_login_code_is_good_on_the_device_that_started(mesh) {
        let visitor = mesh.visitor("bob");
        let back = consent(mesh, &start(&visitor, "google").await, &visitor.handle()).await;
        let redirect = visitor.get(&format!("/api/v1/auth/callback/google?{}", back.query())).await;
        let code = Back::by(&redirect).param("code");
        let stolen = json!({"code": code, "device_id": "the-device-of-a-thief"});
        visitor.post("/api/v1/auth/login/exchange", &stolen).await.refused(400, "LOGIN_CODE_INVALID");
        let late = json!({"code": code, "device_id": visitor.device_id});
        visitor.post("/api/v1/auth/login/exchange", &late).await.refused(400, "LOGIN_CODE_INVALID");
    }

    async fn twenty_first_sign_ins_of_one_person_make_one_account(mesh) {
        let visitor = mesh.visitor("carol");
        let name = visitor.handle();
        let tries = (0..20).map(|_| {
            let (racer, name) = (visitor.elsewhere(), name.clone());
            async move {
                let back = consent(mesh, &start(&racer, "google").await, &name).await;
                let session = racer.post("/api/v1/auth/login/google", &back.answer()).await.expect(200);
                (session["user"]["id"].as_str().unwrap().to_owned(), session["is_new_user"] == true)
            }
        });
        let signed_in = join_all(tries).await;
        assert!(signed_in.iter().all(|(id, _)| *id == signed_in[0].0), "{signed_in:?}");
        assert_eq!(signed_in.iter().filter(|(_, is_new)| *is_new).count(), 1, "{signed_in:?}");
    }

    async fn the_last_two_methods_removed_at_once_leave_one(mesh) {
        for _ in 0..5 {
            let visitor = mesh.visitor("dora");
            let name = visitor.handle();
            let back = consent(mesh, &start(&visitor, "kakao").await, &name).await;
            let session = visitor.post("/api/v1/auth/login/kakao", &back.answer()).await.expect(200);
            let dora = Persona::signed_in(visitor, &session);
            mesh.stand_ins.as_ref().unwrap().link(&dora, "google").await;
            let (one, other) =
                tokio::join!(dora.delete("/api/v1/auth/links/kakao"), dora.delete("/api/v1/auth/links/google"));
            let mut statuses = [one.status.as_u16(), other.status.as_u16()];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 400], "{} {}", one.text(), other.text());
            let links = dora.get("/api/v1/auth/links").await.expect(200);
            assert_eq!(links["links"].as_array().unwrap().len(), 1);
        }
    }

    async fn the_audit_is_read_in_pages_of_its_own_list(mesh) {
        let (admin, alice) = (mesh.admin().await, mesh.persona("alice").await);
        for _ in 0..4 {
            alice.visitor.clone().login().await;
        }
        let list = format!("/api/v1/auth/admin/login-audits?page_size=2&user_id={}", alice.user_id);
        wait_until("the audit has come", PATIENCE, async || {
            let rows = admin.get(&list.replace("page_size=2", "page_size=200")).await.expect(200);
            rows["audits"].as_array().is_some_and(|rows| rows.len() >= 5)
        })
        .await;
        let first = admin.get(&list).await.expect(200);
        let token = first["next_page_token"].as_str().unwrap();
        let second = admin.get(&format!("{list}&page_token={token}")).await.expect(200);
        assert_eq!((first["audits"].as_array().unwrap().len(), second["audits"].as_array().unwrap().len()), (2, 2));
        assert!(first["audits"][1]["id"].as_str() > second["audits"][0]["id"].as_str(), "newest first, no overlap");
        let everybody = format!("/api/v1/auth/admin/login-audits?page_token={token}");
        admin.get(&everybody).await.refused(400, "PAGE_TOKEN_INVALID");
        admin.get("/api/v1/auth/admin/invites?page_token=x").await.refused(400, "PAGE_TOKEN_INVALID");
    }
}

/// Somebody takes an address in advance through a provider that never proved it; its owner resets the password.
#[test]
fn a_reset_mail_ends_the_links_that_never_proved_the_address() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().start().await;
        let stand_ins = mesh.stand_ins.as_ref().unwrap();
        let (squatter, owner) = (mesh.visitor("squatter"), mesh.visitor("owner"));
        let name = squatter.handle();
        stand_ins.set_persona(&json!({"id": name, "email": owner.email, "email_verified": false})).await;
        let back = consent(&mesh, &start(&squatter, "kakao").await, &name).await;
        let session = squatter.post("/api/v1/auth/login/kakao", &back.answer()).await.expect(200);
        assert_eq!(
            (&session["user"]["email"], session["user"]["email_verified"] == true),
            (&json!(owner.email), false)
        );
        let taken = Persona::signed_in(squatter.clone(), &session);

        owner.post("/api/v1/auth/password/reset-request", &json!({"email": owner.email})).await.expect(202);
        let mail = stand_ins.mail_to(&owner.email).await;
        let text = mail[0]["content"][0]["value"].as_str().unwrap();
        let token = text.split("token=").nth(1).unwrap().split_whitespace().next().unwrap();
        let reset = json!({"token": token, "new_password": "a password of the owner"});
        owner.post("/api/v1/auth/password/reset", &reset).await.expect(200);

        assert!(!taken.is_signed_in().await, "the squatter's session has ended");
        let back = consent(&mesh, &start(&squatter, "kakao").await, &name).await;
        let again = squatter.post("/api/v1/auth/login/kakao", &back.answer()).await;
        again.refused(409, "EMAIL_BELONGS_TO_ACCOUNT");
        let body = json!({"email": owner.email, "password": "a password of the owner"});
        let mine = owner.post("/api/v1/auth/login", &body).await.expect(200);
        assert_eq!(mine["user"]["email_verified"], true);
    });
}

#[test]
fn a_first_social_sign_in_needs_an_invite_where_invites_are_required() {
    run(async {
        let mesh = TestMesh::builder().stand_ins().exact_limits().setting("auth.invite_required", true).start().await;
        for (code, refusal) in [("", Some("INVITE_REQUIRED")), ("unheard-of", Some("INVITE_INVALID")), ("5858", None)] {
            let visitor = mesh.visitor("guest");
            let path = format!("/api/v1/auth/authorize/google?invite_code={code}");
            let back = consent(&mesh, &visitor.get(&path).await.expect(200), &visitor.handle()).await;
            let answered = visitor.post("/api/v1/auth/login/google", &back.answer()).await;
            match refusal {
                Some(reason) => answered.refused(400, reason),
                None => assert_eq!(answered.expect(200)["is_new_user"], true),
            }
        }
        assert_eq!(mesh.db.count("select count(*) from auth.invite_uses").await, 1);
    });
}
