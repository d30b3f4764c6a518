//! Clients cannot speak as the mesh: identity headers in any spelling change nothing (A10).

use coreloop_testkit::{Probe, Rest, rpc};
use http::Method;

use crate::meshes::TOGETHER;

const NAMES: [&str; 22] = [
    "x-user-id",
    "X-User-Id",
    "X-USER-ID",
    "x-user-roles",
    "x-session-id",
    "x-token-jti",
    "x_user_id",
    "x-user_id",
    "X_USER_ROLES",
    "x.user.id",
    "x-auth-user",
    "grpc-metadata-x-user-id",
    "Grpc-Metadata-X-User-Roles",
    "grpc-metadata-x-from-edge",
    "x-from-edge",
    "x-mesh",
    "x-coreloop-caller",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-original-path",
    "x-original-url",
    "x-rewrite-url",
];

in_both_topologies! {
    async fn a_stranger_with_forged_identity_stays_a_stranger(mesh) {
        let admin = mesh.admin().await;
        for base in [mesh.front(), mesh.gateway()] {
            let mut call = Rest::to(&base).get("/api/v1/auth/me");
            for name in NAMES {
                call = call.header(name, if name.to_lowercase().contains("roles") { "ADMIN,INTERNAL" } else { &admin.user_id });
            }
            call.send().await.refused(401, "TOKEN_MISSING");
        }
        let forged: Vec<(String, &str)> = NAMES.iter().map(|name| (name.to_lowercase(), admin.user_id.as_str())).collect();
        let forged: Vec<(&str, &str)> = forged.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        for base in [mesh.front(), mesh.address_on(0, "auth")] {
            let me = rpc::call(&rpc::channel(&base), "/coreloop.auth.v1.AuthService/GetMe", &[], &forged).await;
            assert_eq!(me.unwrap_err().code(), tonic::Code::Unauthenticated, "{base}");
        }
    }

    async fn a_person_with_forged_identity_stays_themselves(mesh) {
        let (alice, admin) = (mesh.persona("alice").await, mesh.admin().await);
        for base in [mesh.front(), mesh.gateway()] {
            for value in [admin.user_id.as_str(), "ADMIN", "INTERNAL", "STANDARD,ADMIN", ""] {
                let mut me = Rest::to(&base).with_token(&alice.access_token).get("/api/v1/auth/me");
                let mut invites = Rest::to(&base).with_token(&alice.access_token).get("/api/v1/auth/admin/invites");
                for name in NAMES.iter().filter(|name| !name.contains("original") && !name.contains("rewrite")) {
                    me = me.header(name, value);
                    invites = invites.header(name, value);
                }
                assert_eq!(me.send().await.expect(200)["user"]["id"], alice.user_id);
                invites.send().await.refused(403, "ROLE_REQUIRED");
            }
        }
    }

    async fn a_header_that_names_another_path_changes_nothing(mesh) {
        let alice = mesh.persona("alice").await;
        for name in ["x-original-url", "x-rewrite-url", "x-envoy-original-path", "x-http-method-override", "x-forwarded-uri", ":path-override"] {
            if name.starts_with(':') {
                continue;
            }
            let call = alice.call(Method::GET, "/api/v1/auth/admin/invites").header(name, "/api/v1/auth/me");
            call.send().await.refused(403, "ROLE_REQUIRED");
            let call = alice.call(Method::GET, "/healthz").header(name, "/api/v1/auth/admin/invites");
            assert!(!call.send().await.text().contains("invites"));
        }
    }
}

#[test]
fn envoy_hands_on_the_identity_that_auth_told_and_no_other() {
    coreloop_testkit::run(async {
        let mesh = TOGETHER.get().await;
        let probe = Probe::start().await;
        let envoy = mesh.envoy_before(probe.address()).await;
        let alice = mesh.persona("alice").await;
        let mut call = Rest::to(envoy.url()).with_token(&alice.access_token).get("/api/v1/auth/me?page_size=1");
        for name in NAMES {
            call = call.header(name, "forged");
        }
        call.send().await.expect(200);
        let seen = probe.take();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].uri.path(), "/api/v1/auth/me");
        assert_eq!(seen[0].all("x-user-id"), std::slice::from_ref(&alice.user_id));
        assert_eq!(seen[0].all("x-user-roles"), ["STANDARD"]);
        assert_eq!((seen[0].all("x-session-id").len(), seen[0].all("x-token-jti").len()), (1, 1));
        assert!(!seen[0].all("x-session-id").contains(&"forged".to_owned()));
        for name in ["x_user_id", "x-user_id", "x_user_roles"] {
            assert!(!seen[0].all(name).contains(&"forged".to_owned()), "{name} reached the backend");
        }
        assert_eq!(seen[0].all("authorization"), [format!("Bearer {}", alice.access_token)], "the token is forwarded");

        Rest::to(envoy.url())
            .get("/api/v1/auth/me")
            .header("x-user-id", "forged")
            .send()
            .await
            .refused(401, "TOKEN_MISSING");
        let public =
            Rest::to(envoy.url()).get("/healthz").header("x-user-id", "forged").header("x-user-roles", "ADMIN");
        public.send().await.expect(200);
        let seen = probe.take();
        assert_eq!(seen.len(), 1, "what is refused does not reach the backend");
        assert!(
            seen[0].all("x-user-id").iter().chain(&seen[0].all("x-user-roles")).all(|value| value.is_empty()),
            "{seen:?}"
        );
    });
}
