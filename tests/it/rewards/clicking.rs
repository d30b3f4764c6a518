//! Ads: a click is worth something once, whoever tries how often with which token.

use coreloop_rewards_api::v1::{GetAdUnlocksRequest, GetAdUnlocksResponse};
use coreloop_testkit::{
    Answer, Persona, Rounds, TestMesh, rpc, run,
    wait::{PATIENCE, wait_for, wait_until},
};
use futures::future::join_all;
use jiff::SignedDuration;
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{LONG, MESH, admin, failures, points_of, told};

/// An ad of a test's own.
async fn ad(mesh: &TestMesh, points: i64, slots: i32) -> String {
    let id = format!("ad-{}", Uuid::new_v4());
    put(mesh, &id, points, slots, "ACTIVE").await.expect(200);
    id
}

async fn put(mesh: &TestMesh, id: &str, points: i64, slots: i32, state: &str) -> Answer {
    let body = json!({"ad_id": id, "title": "Tea", "url": "https://tea.example/", "points": points, "slots": slots,
                      "state": format!("OFFER_STATE_{state}")});
    admin(mesh).await.post("/admin/rewards/ads", &body).await
}

/// A mesh of a test's own where it is noon: what belongs to a day is done within one.
async fn at_noon() -> TestMesh {
    let mesh = TestMesh::start().await;
    mesh.clock.advance(SignedDuration::from_secs((86_400 + 43_200 - mesh.now() % 86_400) % 86_400));
    mesh
}

/// How `id` is shown to somebody.
async fn shown(person: &Persona, id: &str) -> Option<Value> {
    let ads = person.get("/v1/ads").await.expect(200)["ads"].as_array().cloned().unwrap_or_default();
    ads.into_iter().find(|shown| shown["ad"]["ad_id"] == id)
}

async fn token(person: &Persona, id: &str) -> String {
    shown(person, id).await.expect("it is shown")["token"].as_str().unwrap().to_owned()
}

async fn click(person: &Persona, id: &str, token: &str) -> Answer {
    person.post(&format!("/v1/ads/{id}/click"), &json!({"token": token})).await
}

#[test]
fn a_click_gives_points_and_slots_once_a_day() {
    run(async {
        let mesh = at_noon().await;
        let (alice, id) = (mesh.persona("alice").await, ad(&mesh, 7, 2).await);
        let first = token(&alice, &id).await;
        let answer = click(&alice, &id, &first).await.expect(200);
        assert_eq!(
            (&answer["points"], &answer["slots_today"], &answer["points_left_today"]),
            (&json!(7), &json!(2), &json!(93))
        );
        assert_eq!(points_of(&alice).await, 7);
        click(&alice, &id, &first).await.refused(400, "AD_TOKEN_USED");
        assert_eq!(shown(&alice, &id).await.unwrap()["rewarded_today"], true);
        let second = token(&alice, &id).await;
        click(&alice, &id, &second).await.refused(400, "AD_ALREADY_REWARDED");
        assert_eq!(points_of(&alice).await, 7);
        assert_eq!(told(&mesh, "ad_clicked", "ad_id", &id).await, 1);

        // GetAdUnlocks
        let slots = async || {
            let bearer = format!("Bearer {}", mesh.machine_token("predict", "rewards").await);
            let asked = GetAdUnlocksRequest { user_id: alice.user_id.clone() }.encode_to_vec();
            let path = "/coreloop.rewards.v1.RewardsInternalService/GetAdUnlocks";
            let answer = rpc::call(&mesh.grpc("rewards"), path, &asked, &[("authorization", bearer.as_str())]).await;
            GetAdUnlocksResponse::decode(answer.unwrap()).unwrap().slots
        };
        assert_eq!(slots().await, 2);
        // Tomorrow is another day; the token of today is over.
        mesh.clock.advance(SignedDuration::from_hours(24));
        let alice = alice.visitor.login().await;
        assert_eq!(slots().await, 0);
        click(&alice, &id, &second).await.refused(400, "AD_TOKEN_EXPIRED");
        let third = token(&alice, &id).await;
        click(&alice, &id, &third).await.expect(200);
        assert_eq!(points_of(&alice).await, 14);
    });
}

#[test]
fn a_token_is_good_for_whom_and_what_it_was_made_alone() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        let (one, two) = (ad(mesh, 1, 0).await, ad(mesh, 1, 0).await);
        let hers = token(&alice, &one).await;
        click(&eve, &one, &hers).await.refused(400, "AD_TOKEN_INVALID");
        click(&alice, &two, &hers).await.refused(400, "AD_TOKEN_INVALID");
        let (said, tag) = hers.split_once('.').unwrap();
        let eves = token(&eve, &one).await;
        for forged in [
            format!("{said}.{}", eves.split_once('.').unwrap().1),
            format!("{}.{tag}", eves.split_once('.').unwrap().0),
            format!("{said}."),
            format!("{hers}A"),
            "a.b".to_owned(),
        ] {
            click(&alice, &one, &forged).await.refused(400, "AD_TOKEN_INVALID");
        }
        click(&alice, &one, "").await.refused(400, "VALIDATION_FAILED");
        assert_eq!((points_of(&alice).await, points_of(&eve).await), (0, 0));
        click(&alice, &one, &hers).await.expect(200);
        // What is not shown any more is worth nothing.
        let late = token(&alice, &two).await;
        put(mesh, &two, 1, 0, "PAUSED").await.expect(200);
        click(&alice, &two, &late).await.refused(404, "AD_NOT_FOUND");
        assert_eq!(shown(&alice, &two).await, None);
        for (points, slots) in [(0, 0), (-1, 0), (1, -1)] {
            put(mesh, &two, points, slots, "ACTIVE").await.refused(400, "VALIDATION_FAILED");
        }
    });
}

#[test]
fn no_day_is_worth_more_than_the_cap() {
    run(async {
        let mesh = &at_noon().await;
        let alice = mesh.persona("alice").await;
        let mut ads = Vec::new();
        for _ in 0..5 {
            ads.push(ad(mesh, 40, 0).await);
        }
        let tokens = join_all(ads.iter().map(|id| token(&alice, id))).await;
        let answers = join_all(ads.iter().zip(&tokens).map(|(id, token)| click(&alice, id, token))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2, "the cap is 100");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(400, "AD_DAILY_CAP");
        }
        assert_eq!(points_of(&alice).await, 80);
        // What is worth slots alone is not held back.
        let id = ad(mesh, 0, 1).await;
        let free = token(&alice, &id).await;
        assert_eq!(click(&alice, &id, &free).await.expect(200)["slots_today"], 1);
    });
}

/// Who is told so was not heard, or nobody knows.
const UNHEARD: [u16; 2] = [503, 504];

/// What those are told who were not first.
const LOST: [&str; 2] = ["AD_TOKEN_USED", "AD_ALREADY_REWARDED"];

/// M8: an ad token is used once.
#[test]
fn two_hundred_claims_of_a_token_are_one_reward_a_round() {
    run(async {
        let mesh = MESH.get().await;
        let mut rounds = Rounds::of(100).at_least(5);
        while rounds.next().is_some() {
            let (alice, id) = (mesh.persona("alice").await, ad(mesh, 3, 0).await);
            let token = token(&alice, &id).await;
            let (first, second) = (alice.at(&mesh.gateway_on(0)), alice.at(&mesh.gateway_on(1)));
            let answers =
                join_all((0..200).map(|number| click(if number % 2 == 0 { &first } else { &second }, &id, &token)))
                    .await;
            let won = answers.iter().filter(|answer| answer.status == 200).count();
            let was_unheard = |answer: &Answer| UNHEARD.contains(&answer.status.as_u16());
            let unheard = answers.iter().filter(|answer| was_unheard(answer)).count();
            assert!(won == 1 || (won == 0 && unheard > 0), "{won} won: {}", failures());
            for answer in answers.iter().filter(|answer| answer.status != 200 && !was_unheard(answer)) {
                assert!(LOST.contains(&answer.reason().as_str()), "{}: {}", answer.text(), failures());
            }
            // Whoever was not heard on a machine that is too busy is told the same when asking again.
            for _ in 0..unheard {
                let answer = wait_for("an answer", PATIENCE, async || {
                    Some(click(&alice, &id, &token).await).filter(|answer| !was_unheard(answer))
                })
                .await;
                assert!(LOST.contains(&answer.reason().as_str()), "{}", answer.text());
            }
            let rewarded = format!("select count(*) from rewards.ad_clicks where ad = '{id}'");
            assert_eq!(mesh.db.count(&rewarded).await, 1);
            wait_until("the points are there", LONG, async || points_of(&alice).await == 3).await;
            // The shelf of ads has room for fifty, and every test's are on it.
            put(mesh, &id, 3, 0, "PAUSED").await.expect(200);
        }
        println!("M8 ad token: {} rounds of 200 claims, 1 success each", rounds.begun());
    });
}
