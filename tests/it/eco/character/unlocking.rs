//! What somebody has earned they take, once, and what they have not they do not.

use coreloop_character_api::v1::{GetOwnedRequest, GetOwnedResponse};
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{rpc, run};
use futures::future::join_all;
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{MESH, given, happened, mine, of, owned, scanned, told, wait_for_owned};

const DAY: &str = "2026-11-22";
const FOUR: [(Category, &str); 4] = [
    (Category::General, "CHR001"),
    (Category::Paperpack, "CHR003"),
    (Category::Vinyl, "CHR006"),
    (Category::Clothes, "CHR011"),
];

fn code(code: &str) -> Value {
    json!({ "code": code })
}

#[test]
fn five_categories_are_a_character_that_is_taken_once() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, path) = (mesh.persona("alice").await, "/api/v1/character/unlock");
        for (category, _) in FOUR {
            scanned(mesh, &alice, category, DAY).await;
        }
        let mut codes: Vec<&str> = FOUR.map(|(_, code)| code).to_vec();
        wait_for_owned(&alice, &codes).await;
        assert_eq!(of(&mine(&alice).await, "CHR015")["progress"], 0.8);
        let refused = alice.post(path, &code("CHR015")).await;
        refused.refused(400, "CONDITION_NOT_MET");
        let far = &refused.detail("google.rpc.ErrorInfo").unwrap()["metadata"];
        assert_eq!((&far["value"], &far["threshold"]), (&json!("4"), &json!("5")));
        for (wrong, status, reason) in [
            ("CHR002", 400, "CONDITION_NOT_MET"),
            ("CHR999", 404, "CHARACTER_NOT_FOUND"),
            ("", 400, "VALIDATION_FAILED"),
            ("chr001", 400, "VALIDATION_FAILED"),
        ] {
            alice.post(path, &code(wrong)).await.refused(status, reason);
        }

        scanned(mesh, &alice, Category::Electronics, DAY).await;
        codes.push("CHR012");
        wait_for_owned(&alice, &codes).await;
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let sent = code("CHR015");
        let answers = join_all((0..16).map(|number| fronts[number % 2].post(path, &sent))).await;
        let first = answers[0].expect(200);
        assert_eq!((&first["character"]["code"], &first["character"]["source"]), (&json!("CHR015"), &json!("unlock")));
        assert!(answers.iter().all(|answer| answer.expect(200) == first));
        // By the other path; one that a scan gave is answered as it is, too.
        assert_eq!(alice.post("/api/v1/characters/unlock", &sent).await.expect(200), first);
        assert_eq!(alice.post(path, &code("CHR001")).await.expect(200)["character"]["source"], "scan");
        codes.push("CHR015");
        assert_eq!(owned(&mine(&alice).await), codes);
        assert_eq!(happened(mesh, &alice).await, 6);
        assert_eq!(told(mesh, "acquired", &alice, ("source", "unlock")).await, 1);
    });
}

#[test]
fn nobody_sees_or_takes_what_is_anothers() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        scanned(mesh, &alice, Category::Glass, DAY).await;
        wait_for_owned(&alice, &["CHR008"]).await;
        assert!(owned(&mine(&eve).await).is_empty());
        eve.post("/api/v1/character/unlock", &code("CHR008")).await.refused(400, "CONDITION_NOT_MET");
        let evolve = json!({"code": "CHR008", "idempotency_key": "eve-1"});
        eve.post("/api/v1/character/evolve", &evolve).await.refused(400, "NOT_OWNED");
        let history = eve.get("/api/v1/character/me/history").await.expect(200);
        assert_eq!(history["entries"], json!([]));
        // What a client says of others in a body is not heard.
        let forged = json!({"code": "CHR008", "user_id": alice.user_id});
        eve.post("/api/v1/character/unlock", &forged).await.refused(400, "CONDITION_NOT_MET");
        for path in ["/api/v1/character/me", "/api/v1/character/me/history"] {
            mesh.visitor("nobody").get(path).await.refused(401, "TOKEN_MISSING");
        }
    });
}

#[test]
fn services_of_the_mesh_learn_what_anybody_has() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for code in ["CHR009", "CHR002"] {
            given(mesh, &alice, code).await;
        }
        let bearer = format!("Bearer {}", mesh.machine_token("my", "character").await);
        let asked = async |user: &str, bearer: &str| {
            let (path, request) = (
                "/coreloop.character.v1.CharacterInternalService/GetOwned",
                GetOwnedRequest { user_id: user.to_owned() }.encode_to_vec(),
            );
            let answer = rpc::call(&mesh.grpc("character"), path, &request, &[("authorization", bearer)]).await?;
            Ok::<_, tonic::Status>(GetOwnedResponse::decode(answer).unwrap())
        };
        let known = asked(&alice.user_id, &bearer).await.unwrap();
        let codes: Vec<&str> = known.characters.iter().map(|one| one.code.as_str()).collect();
        assert_eq!((codes, known.version), (vec!["CHR002", "CHR009"], 2));
        let nobody = asked(&Uuid::new_v4().to_string(), &bearer).await.unwrap();
        assert_eq!((nobody.characters.len(), nobody.version), (0, 0));
        assert_eq!(rpc::reason(&asked("alice", &bearer).await.unwrap_err()), "VALIDATION_FAILED");
        let own = format!("Bearer {}", alice.access_token);
        assert_eq!(asked(&alice.user_id, &own).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    });
}
