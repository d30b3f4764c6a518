//! Days in a row, of UTC, whatever the order in which they are heard.

use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Shared, TestMesh, run};
use jiff::SignedDuration;
use serde_json::json;

use super::stage::{counted, day, mesh, noon, recycles, scans, summary, told, waste};
use crate::eco::character::stage::tell;

/// It is noon: no day ends while they run.
static NOON: Shared<TestMesh> = Shared::new(|| {
    Box::pin(async {
        let mesh = mesh().setting("my.summary_cache_secs", 0_i64).start().await;
        noon(&mesh);
        mesh
    })
});

#[test]
fn whatever_the_order_in_which_days_are_heard_the_rows_are_the_same() {
    run(async {
        let mesh = NOON.get().await;
        // Three in a row until today, two before them; some day twice.
        let days = [-6, -5, -2, -1, 0, -1];
        let orders = [[0, 1, 2, 3, 4, 5], [4, 2, 0, 5, 1, 3], [3, 5, 4, 1, 2, 0]];
        let mut seen = Vec::new();
        for order in orders {
            let alice = mesh.persona("alice").await;
            for place in order {
                recycles(mesh, &alice, Category::Pet, &day(mesh, days[place])).await;
            }
            counted(mesh, &alice, 6).await;
            let now = summary(&alice).await;
            seen.push(json!({"streak": now["streak"], "recycling": now["recycling"]}));
        }
        assert_eq!(seen[0]["streak"], json!({"current": 3, "longest": 3, "last_day": day(mesh, 0)}));
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    });
}

#[test]
fn a_row_is_told_when_it_is_longer_and_not_for_a_day_that_is_known() {
    run(async {
        let mesh = NOON.get().await;
        let alice = mesh.persona("alice").await;
        for (from_now, moved) in [(0, 1), (0, 1), (-1, 2), (-9, 2), (-2, 3)] {
            let before = scans(mesh, &alice).await;
            // What cannot be recycled keeps a row as well.
            tell(mesh, &alice.user_id, &waste(&alice, &day(mesh, from_now))).await;
            counted(mesh, &alice, before + 1).await;
            assert_eq!(told(mesh, "streak_moved", &alice).await, moved, "after {from_now}");
        }
        let newest = format!(
            "select count(*) from my.outbox where type = 'streak_moved' and aggregateid = '{}'
                and (payload ->> 'current')::integer = 3 and (payload ->> 'longest')::integer = 3",
            alice.user_id
        );
        assert_eq!(mesh.db.count(&newest).await, 1);
        assert_eq!(told(mesh, "footprint_moved", &alice).await, 0);
    });
}

#[test]
fn a_row_lasts_until_a_whole_day_is_missed_and_the_longest_stays() {
    run(async {
        let mesh = mesh().setting("my.summary_cache_secs", 0_i64).start().await;
        noon(&mesh);
        let mut alice = mesh.persona("alice").await;
        for from_now in [-2, -1, 0] {
            recycles(&mesh, &alice, Category::Pet, &day(&mesh, from_now)).await;
        }
        counted(&mesh, &alice, 3).await;
        for (days, current) in [(0, 3), (1, 3), (1, 0)] {
            mesh.clock.advance(SignedDuration::from_hours(24 * days));
            alice.refresh().await;
            let seen = summary(&alice).await;
            assert_eq!(
                (&seen["streak"]["current"], &seen["streak"]["longest"]),
                (&json!(current), &json!(3)),
                "{seen}"
            );
        }
        // A new row begins.
        recycles(&mesh, &alice, Category::Pet, &day(&mesh, 0)).await;
        counted(&mesh, &alice, 4).await;
        assert_eq!(summary(&alice).await["streak"], json!({"current": 1, "longest": 3, "last_day": day(&mesh, 0)}));
    });
}
