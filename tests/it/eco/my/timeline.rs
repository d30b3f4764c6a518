//! The timeline: what happened, newest first, for thirty days.

use coreloop_facts::v1::LocationVisited;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Persona, run, wait_until};
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{LONG, MESH, changed, counted, day, happened, mesh, owns, recycles, scans};
use crate::eco::character::stage::{given, tell};

const PATH: &str = "/api/v1/my/timeline";

async fn entries(who: &Persona) -> Vec<Value> {
    who.get(PATH).await.expect(200)["entries"].as_array().unwrap().clone()
}

fn said(entry: &Value) -> (String, String) {
    let text = |field: &str| entry[field].as_str().unwrap().to_owned();
    (text("kind").replace("TIMELINE_KIND_", ""), text("subject"))
}

#[test]
fn what_happened_is_told_newest_first_in_pages() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        given(mesh, &alice, "CHR005").await;
        owns(mesh, &alice, 1).await;
        let task = recycles(mesh, &alice, Category::Pet, &day(mesh, 0)).await;
        counted(mesh, &alice, 1).await;
        tell(mesh, &alice.user_id, &super::stage::waste(&alice, &day(mesh, 0))).await;
        counted(mesh, &alice, 2).await;
        // Her second scan brought a character.
        owns(mesh, &alice, 2).await;
        changed(&alice, &json!({"nickname": "ada", "bio": "hi"})).await;
        let all = entries(&alice).await;
        let pair = |kind: &str, subject: &str| (kind.to_owned(), subject.to_owned());
        let mine: Vec<_> =
            all.iter().map(said).filter(|(kind, code)| kind != "CHARACTER_ACQUIRED" || code == "CHR005").collect();
        assert_eq!(
            mine,
            [
                pair("PROFILE_UPDATED", "nickname,bio"),
                pair("SCANNED", "general"),
                pair("BADGE_EARNED", "FIRST_SCAN"),
                pair("SCANNED", "pet"),
                pair("CHARACTER_ACQUIRED", "CHR005"),
            ]
        );
        let pet = all.iter().find(|entry| entry["subject"] == "pet").unwrap();
        assert_eq!((&pet["recycled"], &pet["impact"]["co2_g"]), (&json!(true), &json!(230)), "{pet}");
        let general = all.iter().find(|entry| entry["subject"] == "general").unwrap();
        assert!(general["recycled"] == false && general.get("impact").is_none_or(Value::is_null), "{general}");
        assert!(!task.is_empty() && all.iter().all(|entry| entry["occurred_at"].is_string()), "{all:?}");

        let (mut token, mut paged) = (String::new(), Vec::new());
        while paged.len() < all.len() {
            let page = alice.get(&format!("{PATH}?page_size=2&page_token={token}")).await.expect(200);
            paged.extend(page["entries"].as_array().unwrap().clone());
            token = page["next_page_token"].as_str().unwrap().to_owned();
        }
        assert_eq!((paged, token.as_str()), (all, ""));
        assert_eq!(eve.get(PATH).await.expect(200), json!({"entries": [], "next_page_token": ""}));
        alice.get(&format!("{PATH}?page_token=x")).await.refused(400, "PAGE_TOKEN_INVALID");
        // A token of hers shows somebody else what is theirs: nothing.
        let page = alice.get(&format!("{PATH}?page_size=1")).await.expect(200);
        let stolen = format!("{PATH}?page_token={}", page["next_page_token"].as_str().unwrap());
        assert_eq!(eve.get(&stolen).await.expect(200)["entries"], json!([]));
    });
}

#[test]
fn a_visit_is_a_line_once_however_often_it_is_told_and_counts_for_nothing() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, eve) = (mesh.persona("alice").await, mesh.persona("eve").await);
        let shops = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
        let visited = |shop: &str| LocationVisited {
            visit_id: Uuid::new_v4().to_string(),
            user_id: alice.user_id.clone(),
            shop_id: shop.to_owned(),
            day: day(mesh, 0),
            occurred_at: None,
        };
        let (first, second, last) = (visited(&shops[0]), visited(&shops[1]), visited(&shops[2]));
        // The same visit as three events, and one that makes no sense: it is set aside, with nothing behind it lost.
        for fact in [&first, &first, &LocationVisited { shop_id: "corner".to_owned(), ..visited("") }, &second, &first]
        {
            tell(mesh, &alice.user_id, fact).await;
        }
        // What comes behind them has seen them pass: of its own topic, for those of others may come first.
        tell(mesh, &alice.user_id, &last).await;
        wait_until("the last is heard", LONG, async || happened(mesh, "visited", &alice).await == 3).await;
        recycles(mesh, &alice, Category::Pet, &day(mesh, 0)).await;
        counted(mesh, &alice, 1).await;
        let lines: Vec<_> = entries(&alice).await.iter().map(said).filter(|(kind, _)| kind == "VISITED").collect();
        assert_eq!(lines, [last.shop_id, second.shop_id, first.shop_id].map(|shop| ("VISITED".to_owned(), shop)));
        assert_eq!((happened(mesh, "visited", &alice).await, scans(mesh, &alice).await), (3, 1));
        assert!(entries(&eve).await.is_empty());
    });
}

#[test]
fn what_happened_thirty_days_ago_is_in_it_no_more() {
    run(async {
        let mesh = mesh().start().await;
        let mut alice = mesh.persona("alice").await;
        for bio in ["one", "two", "three"] {
            changed(&alice, &json!({ "bio": bio })).await;
        }
        // A session is at most fourteen days without a word.
        for _ in 0..2 {
            mesh.clock.advance(SignedDuration::from_hours(10 * 24));
            alice.refresh().await;
        }
        for bio in ["four", "five"] {
            changed(&alice, &json!({ "bio": bio })).await;
        }
        assert_eq!(entries(&alice).await.len(), 5);
        mesh.clock.advance(SignedDuration::from_hours(10 * 24));
        alice.refresh().await;
        assert_eq!(entries(&alice).await.iter().map(|entry| entry["sequence"].clone()).collect::<Vec<_>>(), [5, 4]);
        // The page that reaches what is too old is the last.
        let page = alice.get(&format!("{PATH}?page_size=2")).await.expect(200);
        let next =
            alice.get(&format!("{PATH}?page_size=2&page_token={}", page["next_page_token"].as_str().unwrap())).await;
        assert_eq!(next.expect(200), json!({"entries": [], "next_page_token": ""}));
    });
}
