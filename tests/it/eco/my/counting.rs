//! A scan that earns something counts once, whoever tells it how often and in which order.

use coreloop_scan_api::v1::Category;
use coreloop_testkit::{run, wait_until};
use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::stage::{LONG, MESH, counted, day, happened, recycles, scans, summary, told, waste};
use crate::eco::character::stage::{scan, tell};

#[test]
fn a_scan_counts_once_and_moves_the_footprint_by_what_it_is_worth() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob, today) = (mesh.persona("alice").await, mesh.persona("bob").await, day(mesh, 0));
        let task = recycles(mesh, &alice, Category::Pet, &today).await;
        counted(mesh, &alice, 1).await;
        // The same task as other events, in other words; what earns nothing; what earns something and cannot be recycled.
        tell(mesh, &alice.user_id, &scan(&task, &alice, Category::Pet, &today)).await;
        tell(mesh, &alice.user_id, &scan(&task, &alice, Category::Glass, &day(mesh, -1))).await;
        let mut poor = scan(&Uuid::new_v4().to_string(), &alice, Category::Pet, &today);
        poor.reward_eligible = false;
        tell(mesh, &alice.user_id, &poor).await;
        // What comes behind them has seen them pass.
        tell(mesh, &alice.user_id, &waste(&alice, &today)).await;
        counted(mesh, &alice, 2).await;

        let seen = summary(&alice).await;
        let impact = json!({"tree_milli": 20, "water_ml": 7_000, "co2_g": 230});
        assert_eq!(seen["recycling"], json!({"recycled": 1, "impact": impact}), "{seen}");
        assert_eq!(seen["stale"], json!([]));
        let moved = format!(
            "select count(*) from my.outbox where type = 'footprint_moved' and aggregateid = '{}'
                and payload ->> 'task_id' = '{task}' and payload ->> 'recycled' = '1' and payload ->> 'water_ml' = '7000'",
            alice.user_id
        );
        assert_eq!((mesh.db.count(&moved).await, told(mesh, "footprint_moved", &alice).await), (1, 1));
        assert_eq!(happened(mesh, "scanned", &alice).await, 2);
        assert_eq!(scans(mesh, &bob).await, 0);
        assert_eq!(summary(&bob).await["recycling"]["recycled"], 0);
    });
}

#[test]
fn of_many_who_are_told_of_at_once_each_counts_once() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob, today) = (mesh.persona("alice").await, mesh.persona("bob").await, day(mesh, 0));
        let tasks: Vec<String> = (0..6).map(|_| Uuid::new_v4().to_string()).collect();
        // Three times each, one and the other side by side.
        let tellings = (0..18).flat_map(|number| [(number, &alice), (number, &bob)]).map(|(number, who)| {
            let task = format!("{}-{}", tasks[number % 6], who.user_id);
            let fact = scan(&task, who, Category::Can, &today);
            async move { tell(mesh, &who.user_id, &fact).await }
        });
        join_all(tellings).await;
        for who in [&alice, &bob] {
            // One more: what comes behind them has seen them pass.
            recycles(mesh, who, Category::Paper, &today).await;
            counted(mesh, who, 7).await;
            let seen = summary(who).await;
            assert_eq!(seen["recycling"]["impact"]["co2_g"], 7 * 230, "{seen}");
            assert_eq!(told(mesh, "footprint_moved", who).await, 7);
        }
    });
}

#[test]
fn what_makes_no_sense_is_set_aside_and_what_is_behind_it_counts() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, today) = (mesh.persona("alice").await, day(mesh, 0));
        let mut wrong = scan(&Uuid::new_v4().to_string(), &alice, Category::Pet, "2026-02-30");
        tell(mesh, &alice.user_id, &wrong).await;
        wrong.day.clone_from(&today);
        wrong.user_id = "alice".to_owned();
        tell(mesh, &alice.user_id, &wrong).await;
        recycles(mesh, &alice, Category::Pet, &today).await;
        counted(mesh, &alice, 1).await;
        let dead = format!(
            "select count(*) from my.held_events where consumer = 'my.facts' and state = 'dead'
                and reason = 'MALFORMED_EVENT' and key = '{}'",
            alice.user_id
        );
        wait_until("both are set aside", LONG, async || mesh.db.count(&dead).await == 2).await;
        assert_eq!(scans(mesh, &alice).await, 1);
    });
}
