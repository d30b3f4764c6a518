//! Oversized messages are refused by every RPC before the handler.

use coreloop_testkit::{Rest, rpc, run};
use coreloop_transcode::{options, router};

use super::{
    decisions::{Callers, good_enough, target},
    policy::methods,
};
use crate::meshes::{APART, TOGETHER};

#[test]
fn every_rpc_refuses_an_oversized_message() {
    run(async {
        let mesh = TOGETHER.get().await;
        let mut callers = Callers::of(mesh).await;
        for method in methods() {
            // A field that no message has, one byte more than the contract admits: harmless unless somebody reads it.
            let stated = options::edge(&method).map_or(0, |edge| edge.max_body_bytes);
            let most = if stated == 0 { 1024 * 1024 } else { usize::try_from(stated).unwrap() };
            let mut message = vec![0xfa, 0xff, 0xff, 0x7f];
            prost::encoding::encode_varint(u64::try_from(most).unwrap(), &mut message);
            message.resize(message.len() + most, b'x');
            let target = target(&method);
            // Somebody who may call, so that nothing but the size is refused.
            let token = callers.token(good_enough(&options::access(&method).unwrap()), &target).await;
            let bearer = format!("Bearer {token}");
            let metadata: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("authorization", &bearer)] };
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let channel = mesh.grpc(&target);
            let status = rpc::call(&channel, &path, &message, metadata).await.expect_err(&path);
            assert_eq!(rpc::reason(&status), "BODY_TOO_LARGE", "{path}: {status}");
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
