//! Each RPC refuses a message that breaks the rules of its fields, and names the field; and a caller who may not.

use coreloop_auth_api::v1::{GetProfilesRequest, GetProfilesResponse};
use coreloop_testkit::{rpc, run};
use http::Method;
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::MESH;

/// RPC, how it is asked over REST, and the field that is wrong.
fn wrong() -> Vec<(&'static str, Method, &'static str, Value, &'static str)> {
    let profile = "/api/v1/my/profile";
    let patch = |rpc, path, body: Value, field| (rpc, Method::PATCH, path, body, field);
    let get = |rpc, path, field| (rpc, Method::GET, path, Value::Null, field);
    vec![
        patch("UpdateProfile", profile, json!({"nickname": "x".repeat(41)}), "nickname"),
        patch("UpdateProfile", profile, json!({"nickname": "a\u{7}b"}), "nickname"),
        patch("UpdateProfile", profile, json!({"nickname": ""}), "nickname"),
        patch("UpdateProfile", profile, json!({"nickname": "  "}), "nickname"),
        patch("UpdateProfile", profile, json!({"bio": "x".repeat(301)}), "bio"),
        patch("UpdateProfile", profile, json!({"bio": "a\u{0}"}), "bio"),
        patch("UpdateProfile", profile, json!({"image_id": "none"}), "image_id"),
        patch("UpdateProfile", "/api/v1/my/profile?update_mask=user_id", json!({"bio": "x"}), "update_mask"),
        patch("UpdateProfile", "/api/v1/my/profile?update_mask=bio,nonsense", json!({"bio": "x"}), "update_mask"),
        patch("UpdatePreferences", "/api/v1/my/preferences?update_mask=user_id", json!({}), "update_mask"),
        get("ListTimeline", "/api/v1/my/timeline?page_size=201", "page_size"),
        get("ListTimeline", "/api/v1/my/timeline?page_size=-1", "page_size"),
        get("ListFollowers", "/api/v1/my/followers?page_size=201", "page_size"),
        get("ListFollowing", "/api/v1/my/following?page_size=201", "page_size"),
        get("GetUser", "/api/users/none", "user_id"),
        ("Follow", Method::POST, "/api/v1/my/follows/none", json!({}), "user_id"),
        ("Unfollow", Method::DELETE, "/api/v1/my/follows/none", Value::Null, "user_id"),
    ]
}

#[test]
fn what_breaks_the_rules_of_its_fields_is_refused_by_every_rpc() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for (rpc, method, path, body, field) in wrong() {
            let call = alice.call(method, path);
            let refused = if body.is_null() { call.send().await } else { call.json(&body).send().await };
            refused.refused(400, "VALIDATION_FAILED");
            assert!(refused.text().contains(field), "{rpc}: {field}: {}", refused.text());
        }
        // The most that may be.
        let most = json!({"nickname": "가".repeat(40), "bio": "나".repeat(300)});
        super::stage::changed(&alice, &most).await;
        assert_eq!(super::stage::told(mesh, "profile_updated", &alice).await, 1, "what was refused changed nothing");
    });
}

#[test]
fn who_is_not_signed_in_is_told_nothing_of_anybodys_own() {
    run(async {
        let mesh = MESH.get().await;
        let own = ["summary", "timeline", "profile", "badges", "preferences", "followers", "following", "follows"];
        for path in own {
            mesh.visitor("nobody").get(&format!("/api/v1/my/{path}")).await.refused(401, "TOKEN_MISSING");
        }
    });
}

#[test]
fn services_of_the_mesh_learn_who_somebody_is_and_nobody_else() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let asked = async |ids: &[String], bearer: &str| {
            let (path, asked) =
                ("/coreloop.auth.v1.AuthInternalService/GetProfiles", GetProfilesRequest { user_ids: ids.to_vec() });
            let bearer = format!("Bearer {bearer}");
            let answer =
                rpc::call(&mesh.grpc("auth"), path, &asked.encode_to_vec(), &[("authorization", &bearer)]).await?;
            Ok::<_, tonic::Status>(GetProfilesResponse::decode(answer).unwrap().profiles)
        };
        let machine = mesh.machine_token("my", "auth").await;
        let known = asked(&[alice.user_id.clone(), Uuid::new_v4().to_string()], &machine).await.unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!((known[0].user_id.as_str(), known[0].nickname.as_str()), (alice.user_id.as_str(), "alice"));
        for wrong in [vec![], vec!["alice".to_owned()]] {
            assert_eq!(rpc::reason(&asked(&wrong, &machine).await.unwrap_err()), "VALIDATION_FAILED");
        }
        let own = asked(std::slice::from_ref(&alice.user_id), &alice.access_token).await.unwrap_err();
        assert_eq!(own.code(), tonic::Code::PermissionDenied);
    });
}
