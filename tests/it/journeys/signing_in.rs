//! Sign-up, sign-in, account, refresh, sign-out; over REST and gRPC.

use coreloop_testkit::{PASSWORD, Persona, rpc};
use serde_json::json;

const SERVICE: &str = "coreloop.auth.v1.AuthService";

in_both_topologies! {
    async fn a_person_signs_up_looks_refreshes_and_signs_out(mesh) {
        let alice = mesh.visitor("alice");
        let session = alice.post("/api/v1/auth/signup", &alice.sign_up_body()).await.expect(201);
        assert_eq!(session["token_type"], "Bearer");
        assert_eq!(session["expires_in"], 900);
        assert_eq!(session["refresh_expires_in"], 14 * 86_400);
        assert_eq!(session["user"]["email"], alice.email);
        assert_eq!(session["user"]["roles"], json!(["ROLE_STANDARD"]));
        assert_eq!(session["user"]["status"], "USER_STATUS_ACTIVE");

        let mut alice = Persona::signed_in(alice, &session);
        for path in ["/api/v1/auth/me", "/api/auth/me", "/api/auth/profile", "/v1/users/me"] {
            let me = alice.get(path).await.expect(200);
            assert_eq!(me["user"]["id"], alice.user_id, "{path}");
        }

        let old = alice.clone();
        alice.refresh().await;
        assert_ne!(old.access_token, alice.access_token);
        assert_ne!(old.refresh_token, alice.refresh_token);
        assert_eq!(alice.me().await["id"], alice.user_id);

        alice.logout().await;
        alice.get("/api/v1/auth/me").await.refused(401, "TOKEN_REVOKED");
        assert_eq!(alice.try_refresh().await.status, 401);
        assert_eq!(old.try_refresh().await.status, 401);
    }

    async fn a_person_signs_in_again_by_each_path(mesh) {
        let alice = mesh.persona("alice").await;
        for path in ["/api/v1/auth/login", "/api/auth/login", "/v1/auth/login"] {
            let body = json!({"email": alice.visitor.email.to_uppercase(), "password": PASSWORD});
            let session = alice.visitor.post(path, &body).await.expect(200);
            assert_eq!(session["user"]["id"], alice.user_id, "{path}");
        }
    }

    async fn a_person_does_the_same_over_grpc_through_envoy(mesh) {
        let dave = mesh.visitor("dave");
        let channel = rpc::channel_from(dave.source, &mesh.front());
        let grpc = rpc::Reflected::learn(&channel, &[SERVICE]).await.unwrap();
        let session = grpc.call(SERVICE, "SignUp", &dave.sign_up_body(), &[]).await.unwrap();
        let token = format!("Bearer {}", session["access_token"].as_str().unwrap());

        let me = grpc.call(SERVICE, "GetMe", &json!({}), &[("authorization", &token)]).await.unwrap();
        assert_eq!(me["user"]["email"], dave.email);

        let refresh = json!({"refresh_token": session["refresh_token"], "device_id": dave.device_id});
        let renewed = grpc.call(SERVICE, "RefreshToken", &refresh, &[]).await.unwrap();
        let token = format!("Bearer {}", renewed["access_token"].as_str().unwrap());
        grpc.call(SERVICE, "Logout", &json!({}), &[("authorization", &token)]).await.unwrap();

        let refused = grpc.call(SERVICE, "GetMe", &json!({}), &[("authorization", &token)]).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    }

    async fn an_email_signs_up_once_whatever_its_case(mesh) {
        let alice = mesh.persona("alice").await;
        let mut body = alice.visitor.elsewhere().sign_up_body();
        body["email"] = json!(alice.visitor.email.to_uppercase());
        alice.visitor.elsewhere().post("/api/v1/auth/signup", &body).await.refused(409, "EMAIL_TAKEN");
    }

    async fn an_unknown_account_and_a_wrong_password_look_the_same(mesh) {
        let known = mesh.persona("alice").await.visitor.elsewhere();
        let unknown = mesh.visitor("nobody");
        let (wrong, absent) = (known.try_login("not the password").await, unknown.try_login("not the password").await);
        wrong.refused(401, "INVALID_CREDENTIALS");
        absent.refused(401, "INVALID_CREDENTIALS");
        assert_eq!(wrong.body, absent.body);
        let names = |answer: &coreloop_testkit::Answer| {
            let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(&wrong), names(&absent));
    }

    async fn sign_up_lists_every_field_that_breaks_its_rule(mesh) {
        let body = json!({"email": "not-an-address", "password": "short", "nickname": ""});
        let answer = mesh.visitor("eve").post("/api/v1/auth/signup", &body).await;
        answer.refused(400, "VALIDATION_FAILED");
        let violations = answer.detail("google.rpc.BadRequest").unwrap();
        let mut fields: Vec<_> =
            violations["field_violations"].as_array().or(violations["fieldViolations"].as_array()).unwrap().iter().map(|v| v["field"].as_str().unwrap()).collect();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(fields, ["email", "nickname", "password"]);
    }

    async fn a_breached_password_is_refused(mesh) {
        let eve = mesh.visitor("eve");
        let mut body = eve.sign_up_body();
        body["password"] = json!("password1");
        eve.post("/api/v1/auth/signup", &body).await.refused(400, "PASSWORD_BREACHED");
        assert_eq!(eve.try_login("password1").await.status, 401, "nothing was half-written");
    }

    async fn forty_sign_ups_with_one_email_make_one_account(mesh) {
        let alice = mesh.visitor("alice");
        let tries = (0..40).map(|_| {
            let (body, other) = (alice.sign_up_body(), alice.elsewhere());
            async move { other.post("/api/v1/auth/signup", &body).await.status.as_u16() }
        });
        let statuses = futures::future::join_all(tries).await;
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
        let accounts = mesh.db.count(&format!("select count(*) from auth.users where email = '{}'", alice.email)).await;
        assert_eq!(accounts, 1);
    }
}
