//! Oversized messages are refused by every RPC before the handler.

use coreloop_testkit::{Rest, rpc, run};
use coreloop_transcode::router;

use super::policy::methods;
use crate::meshes::{APART, TOGETHER};

#[test]
fn every_rpc_refuses_an_oversized_message() {
    run(async {
        let mesh = TOGETHER.get().await;
        // A field that no message has, of five megabytes: harmless unless somebody reads it.
        let mut message = vec![0xfa, 0xff, 0xff, 0x7f, 0x80, 0x80, 0xc0, 0x02];
        message.resize(message.len() + 5 * 1024 * 1024, b'x');
        for method in methods() {
            let service = method.parent_service();
            let target = service.full_name().split('.').nth(1).unwrap().to_owned();
            let path = format!("/{}/{}", service.full_name(), method.name());
            let status = rpc::call(&mesh.grpc(&target), &path, &message, &[]).await.expect_err(&path);
            let codes = [
                tonic::Code::ResourceExhausted,
                tonic::Code::InvalidArgument,
                tonic::Code::OutOfRange,
                tonic::Code::Unauthenticated,
            ];
            assert!(codes.contains(&status.code()), "{path}: {status}");
        }
    });
}

#[test]
fn every_binding_refuses_an_oversized_body() {
    run(async {
        let mesh = APART.get().await;
        let body = format!("{{\"nickname\":\"{}\"}}", "x".repeat(1024 * 1024));
        for route in router::router().routes().iter().filter(|route| route.http_method == "POST") {
            let path = super::decisions::sample_path(route);
            let rest = Rest::from(Some(mesh.visitor("caller").source), mesh.gateway());
            let answer = rest
                .call(http::Method::POST, &path)
                .header("content-type", "application/json")
                .body(body.clone())
                .send()
                .await;
            answer.refused(413, "BODY_TOO_LARGE");
        }
    });
}
