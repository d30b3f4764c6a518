//! Parts go away between a promise and its end: it is given all the same, once, and what is missing in the audit is found.

use coreloop_rewards_api::v1::GrantState;
use coreloop_testkit::{TestMesh, run, wait::PATIENCE, wait_until};

use super::stage::{Giver, audited, points, points_of, told};

#[test]
fn a_promise_outlives_the_wallet_and_whoever_made_it() {
    run(async {
        let mut mesh =
            TestMesh::builder().split().setting("rewards.recover_after_secs", 1_i64).stand_ins().start().await;
        let (scan, alice) = (Giver::of(&mesh, "scan").await, mesh.persona("alice").await);
        mesh.node_mut(0, "wallet").kill().await;
        let asked = points(&alice.user_id, 40);
        let promised = scan.give(0, &asked).await.unwrap();
        assert_eq!(promised.state(), GrantState::Pending);
        mesh.node_mut(0, "rewards").kill().await;
        mesh.node_mut(0, "wallet").start().await;
        mesh.node_mut(0, "rewards").start().await;
        wait_until("it is given", PATIENCE, async || points_of(&alice).await == 40).await;
        wait_until("it is known", PATIENCE, async || audited(&mesh, &promised.grant_id).await == 2).await;
        let granted = Giver::of(&mesh, "scan").await.give(0, &asked).await.unwrap();
        assert_eq!((granted.state(), &granted.grant_id), (GrantState::Granted, &promised.grant_id));
        assert_eq!(told(&mesh, "granted", "grant_id", &promised.grant_id).await, 1);
        assert_eq!(points_of(&alice).await, 40);
    });
}

/// Gaps, as the process tells of them.
fn told_of(mesh: &TestMesh, series: &str) -> u32 {
    let text = mesh.node(0, "rewards").running().metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Those that it has counted.
fn counted(mesh: &TestMesh) -> u32 {
    told_of(mesh, "cc_reward_audit_gap_total")
}

/// Those that there are.
fn open(mesh: &TestMesh) -> u32 {
    told_of(mesh, "cc_reward_audit_gap_open")
}

#[test]
fn what_is_missing_in_the_audit_is_found_and_counted_once() {
    run(async {
        let mut mesh = TestMesh::builder().setting("rewards.audit_secs", 1_i64).start().await;
        let (scan, alice) = (Giver::of(&mesh, "scan").await, mesh.persona("alice").await);
        for _ in 0..3 {
            scan.give(0, &points(&alice.user_id, 1)).await.unwrap();
        }
        let hurt = scan.give(0, &points(&alice.user_id, 1)).await.unwrap().grant_id;
        assert_eq!((counted(&mesh), open(&mesh)), (0, 0));
        mesh.db.execute("create table public.kept as select * from rewards.reward_audit").await;
        mesh.db.execute("alter table rewards.reward_audit disable trigger user").await;
        let sql = format!("delete from rewards.reward_audit where subject = '{hurt}' and step = 'granted'");
        mesh.db.execute(&sql).await;
        wait_until("the gap is found", PATIENCE, async || counted(&mesh) == 1).await;
        let noted = format!(
            "select count(*) from rewards.audit_gaps where subject = '{hurt}' and what = 'grant_end_unwritten'"
        );
        assert_eq!(mesh.db.count(&noted).await, 1);
        // A second gap is the second, not the third.
        let sql = format!("delete from rewards.reward_audit where subject = '{hurt}'");
        mesh.db.execute(&sql).await;
        wait_until("the next is found", PATIENCE, async || counted(&mesh) == 2).await;
        assert_eq!(mesh.db.count("select count(*) from rewards.audit_gaps").await, 2);
        // Who is started since counts nothing, and tells of both all the same; until they are mended.
        wait_until("both are told of", PATIENCE, async || open(&mesh) == 2).await;
        mesh.node_mut(0, "rewards").kill().await;
        mesh.node_mut(0, "rewards").start().await;
        wait_until("both are told of", PATIENCE, async || open(&mesh) == 2).await;
        assert_eq!(counted(&mesh), 0);
        let mend = format!(
            "insert into rewards.reward_audit overriding system value select * from public.kept where subject = '{hurt}'"
        );
        mesh.db.execute(&mend).await;
        wait_until("there is none", PATIENCE, async || open(&mesh) == 0).await;
        // What is hurt again is found again.
        mesh.db.execute(&sql).await;
        wait_until("both are found again", PATIENCE, async || (counted(&mesh), open(&mesh)) == (2, 2)).await;
    });
}
