//! The profile: changed by its owner, field by field; told to auth and to whoever hears.

use coreloop_auth_api::v1::SetProfileRequest;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{rpc, run, wait_until};
use futures::future::{join, join_all};
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{LONG, MESH, changed, counted, day, happened, mesh, patch, public, recycles, told};
use crate::eco::stage::Taken;

const PATH: &str = "/api/v1/my/profile";

#[test]
fn a_profile_begins_as_the_account_and_changes_by_the_fields_that_are_sent() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let first = alice.get(PATH).await.expect(200)["profile"].clone();
        assert_eq!(
            (&first["user_id"], &first["nickname"], &first["bio"], &first["version"], &first["followers"]),
            (&json!(alice.user_id), &json!("alice"), &json!(""), &json!(0), &json!(0)),
            "{first}"
        );
        assert_eq!(first["joined_at"], alice.me().await["created_at"]);
        // What the server alone says is not heard.
        let sent = json!({"nickname": " Zuzanna ", "user_id": Uuid::new_v4(), "version": 77, "image_url": "https://evil.example/"});
        let named = changed(&alice, &sent).await;
        assert_eq!(
            (&named["nickname"], &named["bio"], &named["user_id"], &named["version"], &named["image_url"]),
            (&json!("Zuzanna"), &json!(""), &json!(alice.user_id), &json!(1), &json!("")),
            "{named}"
        );
        let bio = changed(&alice, &json!({"bio": "I sort.\nSince 2026."})).await;
        assert_eq!((&bio["nickname"], &bio["bio"]), (&json!("Zuzanna"), &json!("I sort.\nSince 2026.")));
        // A mask says which of what is sent counts.
        let masked = patch(&alice, &format!("{PATH}?update_mask=bio"), &json!({"nickname": "eve", "bio": ""})).await;
        assert_eq!(masked.expect(200)["profile"]["nickname"], "Zuzanna");
        assert_eq!(alice.get(PATH).await.expect(200)["profile"]["bio"], "");
        // What is so already is no change, and neither is nothing.
        for same in [json!({"nickname": "Zuzanna", "bio": ""}), json!({}), json!({"version": 9})] {
            assert_eq!(changed(&alice, &same).await["version"], 3);
        }
        assert_eq!(
            (told(mesh, "profile_updated", &alice).await, happened(mesh, "profile_updated", &alice).await),
            (3, 3)
        );
        // No name and no text in what cannot be deleted.
        let names = format!(
            "select count(*) from my.events e, my.outbox o where e.aggregate_id = '{}' and o.aggregateid = '{}'
                and (e.payload::text like '%Zuzanna%' or o.payload::text like '%Zuzanna%' or e.payload::text like '%sort%')",
            alice.user_id, alice.user_id
        );
        assert_eq!(mesh.db.count(&names).await, 0);
    });
}

#[test]
fn auth_shows_the_name_and_on_the_old_path_says_that_it_is_old() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        changed(&alice, &json!({"nickname": "grace"})).await;
        wait_until("auth knows", LONG, async || alice.me().await["nickname"] == "grace").await;
        let (old, new) = (alice.get("/api/users/profile").await, alice.get("/api/auth/profile").await);
        assert_eq!(old.expect(200), new.expect(200));
        assert!(old.header("deprecation").starts_with('@'), "{:?}", old.headers);
        assert_eq!(old.header("link"), "</api/auth/profile>; rel=\"successor-version\"");
        assert!(new.header("deprecation").is_empty());
        mesh.visitor("nobody").get("/api/users/profile").await.refused(401, "TOKEN_MISSING");
    });
}

#[test]
fn a_change_that_is_told_late_brings_nothing_back() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        for name in ["one", "two", "three"] {
            changed(&alice, &json!({ "nickname": name })).await;
        }
        wait_until("auth knows", LONG, async || alice.me().await["nickname"] == "three").await;
        let tell = async |version: i64, nickname: &str, user: &str, bearer: &str| {
            let (path, asked) = (
                "/coreloop.auth.v1.AuthInternalService/SetProfile",
                SetProfileRequest {
                    user_id: user.to_owned(),
                    nickname: nickname.to_owned(),
                    profile_image_url: String::new(),
                    version,
                },
            );
            let bearer = format!("Bearer {bearer}");
            rpc::call(&mesh.grpc("auth"), path, &asked.encode_to_vec(), &[("authorization", &bearer)]).await
        };
        let machine = mesh.machine_token("my", "auth").await;
        for version in [1, 2, 3] {
            tell(version, "late", &alice.user_id, &machine).await.unwrap();
        }
        assert_eq!(alice.me().await["nickname"], "three");
        let nobody = tell(9, "ghost", &Uuid::new_v4().to_string(), &machine).await.unwrap_err();
        assert_eq!(rpc::reason(&nobody), "USER_NOT_FOUND");
        assert_eq!(rpc::reason(&tell(0, "zero", &alice.user_id, &machine).await.unwrap_err()), "VALIDATION_FAILED");
        let own = tell(9, "eve", &alice.user_id, &alice.access_token).await.unwrap_err();
        assert_eq!(own.code(), tonic::Code::PermissionDenied);
        assert_eq!(alice.me().await["nickname"], "three");
    });
}

#[test]
fn a_picture_is_an_own_upload_and_goes_with_it() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        let taken = Taken::by(&alice, "can.png").await;
        let picture = |id: &str| json!({ "image_id": id });
        patch(&eve, PATH, &picture(taken.id())).await.refused(404, "IMAGE_NOT_FOUND");
        patch(&alice, PATH, &picture(&Uuid::new_v4().to_string())).await.refused(404, "IMAGE_NOT_FOUND");
        assert_eq!(told(mesh, "profile_updated", &alice).await, 0);
        let shown = changed(&alice, &picture(taken.id())).await;
        assert_eq!((&shown["image_id"], &shown["image_url"]), (&json!(taken.id()), &taken.image["cdn_url"]));
        assert_eq!(changed(&alice, &picture(taken.id())).await["version"], 1, "it is chosen once");
        let seen = async || public(mesh, &alice.user_id).await.expect(200)["user"]["image_url"].clone();
        assert_eq!(seen().await, taken.image["cdn_url"]);
        wait_until("auth knows", LONG, async || alice.me().await["profile_image_url"] == taken.image["cdn_url"]).await;

        // Another photo that goes changes nothing; this one does.
        let other = Taken::by(&alice, "box.jpg").await;
        alice.delete(&other.path()).await.expect(200);
        alice.delete(&taken.path()).await.expect(200);
        wait_until("the picture is gone", LONG, async || seen().await == "").await;
        wait_until("auth knows that, too", LONG, async || alice.me().await["profile_image_url"] == "").await;
        assert_eq!(told(mesh, "profile_updated", &alice).await, 2);
        patch(&alice, PATH, &picture(taken.id())).await.refused(404, "IMAGE_NOT_FOUND");
        // One that is taken off is off.
        let again = Taken::by(&alice, "jar.webp").await;
        changed(&alice, &picture(again.id())).await;
        assert_eq!(changed(&alice, &picture("")).await["image_url"], "");
    });
}

#[test]
fn two_who_change_different_fields_at_once_both_count() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let bodies: Vec<Value> = (0..12)
            .map(|number| if number % 2 == 0 { json!({"nickname": "ada"}) } else { json!({"bio": "both"}) })
            .collect();
        let answers =
            join_all(bodies.iter().enumerate().map(|(number, body)| patch(&fronts[number / 2 % 2], PATH, body))).await;
        for answer in &answers {
            answer.expect(200);
        }
        let profile = alice.get(PATH).await.expect(200)["profile"].clone();
        assert_eq!(
            (&profile["nickname"], &profile["bio"], &profile["version"]),
            (&json!("ada"), &json!("both"), &json!(2)),
            "{profile}"
        );
        assert_eq!(told(mesh, "profile_updated", &alice).await, 2);
        // Changes and scans of one user keep one history.
        recycles(mesh, &alice, Category::Pet, &day(mesh, 0)).await;
        counted(mesh, &alice, 1).await;
        assert_eq!(happened(mesh, "scanned", &alice).await, 1);
    });
}

/// It is there when it is asked for, and what is told of its end is heard before it is chosen.
#[test]
fn a_picture_that_is_deleted_while_it_is_chosen_is_none() {
    run(async {
        let slow = mesh().setting("database.lock_timeout_ms", 60_000_i64);
        let slow = slow.setting("database.statement_timeout_ms", 60_000_i64);
        let slow = slow.setting("gateway.deadline_secs", 110_i64).setting("server.default_deadline_ms", 110_000_i64);
        // Nobody else looks at profiles meanwhile.
        let mesh = slow.setting("my.retell_secs", 3_600_i64).start().await;
        let alice = mesh.persona("alice").await;
        let taken = Taken::by(&alice, "can.png").await;
        alice.get(PATH).await.expect(200);
        let mut holder = mesh.db.connect().await;
        sqlx::query("begin").execute(&mut holder).await.unwrap();
        sqlx::query("lock table my.profiles in access exclusive mode").execute(&mut holder).await.unwrap();
        let picture = json!({"image_id": taken.id()});
        let choosing = patch(&alice, PATH, &picture);
        let waits = "select count(*) from pg_stat_activity where datname = current_database()
                        and wait_event_type = 'Lock' and query like '%from my.profiles%'";
        let meanwhile = async {
            wait_until("it was there", LONG, async || mesh.db.count(waits).await == 1).await;
            alice.delete(&taken.path()).await.expect(200);
            wait_until("its end is heard", LONG, async || mesh.db.count(waits).await == 2).await;
            sqlx::query("commit").execute(&mut holder).await.unwrap();
        };
        let (chosen, ()) = join(choosing, meanwhile).await;
        let profile = chosen.expect(200)["profile"].clone();
        assert_eq!((&profile["image_id"], &profile["image_url"]), (&json!(""), &json!("")), "{profile}");
        assert_eq!(alice.get(PATH).await.expect(200)["profile"]["image_id"], "");
    });
}
