//! Killed at any moment, what was told counts once.

use coreloop_scan_api::v1::Category;
use coreloop_testkit::{run, wait_until};
use serde_json::json;
use sqlx::Executor as _;

use super::stage::{LONG, changed, counted, day, happened, mesh, recycles, summary, told};

/// Somebody waits for a row that the test has locked.
const WAITING: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
    and query like '%my.people%'";

#[test]
fn killed_while_it_counts_it_counts_once() {
    run(async {
        let mut mesh = mesh().setting("my.summary_cache_secs", 0_i64).split().start().await;
        let (alice, today) = (mesh.persona("alice").await, day(&mesh, 0));
        recycles(&mesh, &alice, Category::Pet, &today).await;
        counted(&mesh, &alice, 1).await;
        let mut holder = mesh.db.connect().await;
        let locked = format!("begin; select from my.people where user_id = '{}' for update", alice.user_id);
        holder.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(locked))).await.unwrap();
        for _ in 0..5 {
            recycles(&mesh, &alice, Category::Pet, &today).await;
        }
        wait_until("it is about to count", LONG, async || mesh.db.count(WAITING).await > 0).await;
        mesh.node_mut(0, "my").kill().await;
        holder.execute("rollback").await.unwrap();
        mesh.node_mut(0, "my").start().await;
        counted(&mesh, &alice, 6).await;
        assert_eq!(summary(&alice).await["recycling"]["impact"]["water_ml"], 6 * 7_000);
        assert_eq!((told(&mesh, "footprint_moved", &alice).await, happened(&mesh, "scanned", &alice).await), (6, 6));
    });
}

#[test]
fn killed_again_and_again_while_it_hears_each_scan_counts_once() {
    run(async {
        let mut mesh = mesh().setting("my.summary_cache_secs", 0_i64).replicas(2).split().start().await;
        let (alice, today) = (mesh.persona("alice").await, day(&mesh, 0));
        for round in 0..4 {
            for _ in 0..8 {
                recycles(&mesh, &alice, Category::Glass, &today).await;
            }
            // Whichever hears: each is killed in its turn.
            mesh.node_mut(round % 2, "my").kill().await;
            mesh.node_mut(round % 2, "my").start().await;
        }
        counted(&mesh, &alice, 32).await;
        assert_eq!(summary(&alice).await["recycling"]["recycled"], 32);
        assert_eq!((told(&mesh, "footprint_moved", &alice).await, happened(&mesh, "scanned", &alice).await), (32, 32));
        assert_eq!(told(&mesh, "streak_moved", &alice).await, 1);
    });
}

#[test]
fn a_profile_that_was_changed_is_told_to_auth_whoever_is_killed() {
    run(async {
        let mut mesh = mesh().split().start().await;
        let alice = mesh.persona("alice").await;
        // Whoever is to tell it waits for her account, and is killed there.
        let mut holder = mesh.db.connect().await;
        changed(&alice, &json!({"bio": "known"})).await;
        let locked = format!("begin; select from auth.users where id = '{}' for update", alice.user_id);
        holder.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(locked))).await.unwrap();
        changed(&alice, &json!({"nickname": "ada"})).await;
        let waiting = WAITING.replace("my.people", "auth.users");
        wait_until("auth is being told", LONG, async || mesh.db.count(&waiting).await > 0).await;
        mesh.node_mut(0, "my").kill().await;
        holder.execute("rollback").await.unwrap();
        mesh.node_mut(0, "my").start().await;
        wait_until("auth knows", LONG, async || alice.me().await["nickname"] == "ada").await;
        let noted = format!(
            "select count(*) from auth.auth_events where aggregate_id = '{}' and event_type = 'auth.profile_set'",
            alice.user_id
        );
        assert!(mesh.db.count(&noted).await <= 2, "a change is set once");
    });
}
