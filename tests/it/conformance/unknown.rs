//! What no descriptor knows is denied.

use coreloop_testkit::{Rest, rpc};
use http::Method;

in_both_topologies! {
    async fn an_unknown_rpc_is_denied_everywhere(mesh) {
        let token = format!("Bearer {}", mesh.admin().await.access_token);
        for path in [
            "/coreloop.auth.v1.AuthService/NoSuchMethod",
            "/coreloop.auth.v1.NoSuchService/GetMe",
            "/coreloop.auth.v2.AuthService/GetMe",
            "/coreloop.auth.v1.AuthService/getme",
            "/coreloop.auth.v1.AuthService/GetMe/",
            "/coreloop.auth.v1.AuthService//GetMe",
            "/COReloop.auth.v1.AuthService/GetMe",
            "/",
        ] {
            for base in [mesh.front(), mesh.gateway(), mesh.address_on(0, "auth")] {
                let answer = rpc::call(&rpc::channel(&base), path, &[], &[("authorization", &token)]).await;
                let status = answer.expect_err(path);
                let expected = [
                    tonic::Code::Unimplemented, tonic::Code::NotFound, tonic::Code::PermissionDenied, tonic::Code::InvalidArgument,
                ];
                assert!(expected.contains(&status.code()), "{path} at {base}: {status}");
            }
        }
    }

    async fn an_unknown_path_is_denied_at_envoy_and_gateway(mesh) {
        let admin = mesh.admin().await;
        for base in [mesh.front(), mesh.gateway()] {
            for path in ["/", "/api", "/api/v1/auth", "/api/v2/auth/me", "/admin", "/favicon.ico", "/api/v1/auth/me/extra", "/*"] {
                let answer = Rest::to(&base).with_token(&admin.access_token).get(path).send().await;
                answer.refused(404, "ROUTE_NOT_FOUND");
            }
        }
    }

    async fn another_method_is_answered_with_those_there_are(mesh) {
        for base in [mesh.front(), mesh.gateway()] {
            let rest = Rest::to(&base);
            for (method, path, allow) in [
                (Method::POST, "/healthz", "GET"),
                (Method::PUT, "/api/v1/auth/login", "POST"),
                (Method::PATCH, "/api/v1/auth/me", "GET, DELETE"),
                (Method::TRACE, "/healthz", "GET"),
            ] {
                let answer = rest.call(method.clone(), path).send().await;
                answer.refused(405, "METHOD_NOT_ALLOWED");
                let mut allowed: Vec<_> = answer.header("allow").split(", ").filter(|m| !["HEAD", "OPTIONS"].contains(m)).collect();
                let mut expected: Vec<_> = allow.split(", ").collect();
                allowed.sort_unstable();
                expected.sort_unstable();
                assert_eq!(allowed, expected, "{method} {path}");
            }
        }
    }
}
