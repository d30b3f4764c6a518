//! Value that is set aside, and value that expires.

use coreloop_testkit::{TestMesh, run, wait::PATIENCE, wait_until};
use coreloop_wallet_api::v1::GrantRequest;
use futures::future::join_all;
use jiff::SignedDuration;

use super::stage::{MESH, Shop, balance, grant, reason, somebody};

#[test]
fn what_is_held_is_captured_or_comes_back() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 100).await.unwrap();
        let held = shop.hold(&alice, 60).await.unwrap();
        assert_eq!(held.hold_id, held.posting_id);
        assert_eq!(reason(shop.spend(&alice, 41).await), "INSUFFICIENT_FUNDS");
        assert_eq!(reason(shop.capture(&held.hold_id, 61).await), "AMOUNT_TOO_LARGE");
        let captured = shop.capture(&held.hold_id, 25).await.unwrap();
        assert_eq!(balance(mesh, &alice).await, 75);
        assert_eq!(reason(shop.capture(&held.hold_id, 0).await), "HOLD_SETTLED");
        assert_eq!(reason(shop.release(&held.hold_id).await), "HOLD_SETTLED");
        shop.reverse(&captured.posting_id, 0).await.unwrap();
        assert_eq!(balance(mesh, &alice).await, 100);
        let held = shop.hold(&alice, 100).await.unwrap();
        shop.release(&held.hold_id).await.unwrap();
        assert_eq!(balance(mesh, &alice).await, 100);
        let posting = shop.spend(&alice, 1).await.unwrap().posting_id;
        for no_hold in [somebody(), posting] {
            assert_eq!(reason(shop.capture(&no_hold, 0).await), "HOLD_NOT_FOUND");
        }
    });
}

/// The refund of a purchase: all of the hold was taken, so nothing of it went back to its owner before.
#[test]
fn a_capture_of_all_is_given_back() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 100).await.unwrap();
        let held = shop.hold(&alice, 60).await.unwrap();
        let captured = shop.capture(&held.hold_id, 0).await.unwrap();
        assert_eq!(balance(mesh, &alice).await, 40);
        shop.reverse(&captured.posting_id, 0).await.unwrap();
        assert_eq!(balance(mesh, &alice).await, 100);
        assert_eq!(reason(shop.reverse(&captured.posting_id, 0).await), "ALREADY_REVERSED");
    });
}

#[test]
fn what_a_service_holds_or_made_is_nobody_elses() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, other, alice) = (Shop::of(mesh).await, Shop::of(mesh).await, somebody());
        shop.grant(&alice, 100).await.unwrap();
        let held = shop.hold(&alice, 60).await.unwrap();
        assert_eq!(reason(other.capture(&held.hold_id, 0).await), "HOLD_NOT_FOUND");
        assert_eq!(reason(other.release(&held.hold_id).await), "HOLD_NOT_FOUND");
        let captured = shop.capture(&held.hold_id, 0).await.unwrap();
        assert_eq!(reason(other.reverse(&captured.posting_id, 0).await), "POSTING_NOT_FOUND");
        assert_eq!(balance(mesh, &alice).await, 40);
    });
}

/// Gold that is over is in the way of nobody's points.
#[test]
fn points_move_while_gold_is_over() {
    run(async {
        let mesh = TestMesh::builder().setting("wallet.sweep_secs", 3_600_i64).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, somebody());
        let soon = mesh.now() + 60;
        let expires_at = Some(prost_types::Timestamp { seconds: soon, nanos: 0 });
        shop.grant_as(GrantRequest { expires_at, ..grant(&alice, 30) }).await.unwrap();
        mesh.clock.advance(SignedDuration::from_secs(61));
        shop.grant_as(GrantRequest { currency: 2, ..grant(&alice, 5) }).await.unwrap();
        let has: Vec<i64> = shop.balances(&alice).await.unwrap().iter().map(|balance| balance.available).collect();
        assert_eq!((has, balance(&mesh, &alice).await), (vec![0, 5], 0));
        assert!(shop.verify_integrity().await.sound);
    });
}

#[test]
fn a_hold_ends_once_however_many_end_it() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 10).await.unwrap();
        let held = shop.hold(&alice, 10).await.unwrap();
        let captures = (0..20).map(|_| shop.capture(&held.hold_id, 0));
        let releases = (0..20).map(|_| shop.release(&held.hold_id));
        let (captured, released) = tokio::join!(join_all(captures), join_all(releases));
        let captured = captured.into_iter().filter(Result::is_ok).count();
        let released = released.into_iter().filter(Result::is_ok).count();
        assert_eq!(captured + released, 1);
        assert_eq!(balance(mesh, &alice).await, if released == 1 { 10 } else { 0 });
    });
}

#[test]
fn what_is_over_is_not_captured_and_can_be_released() {
    run(async {
        let mesh = TestMesh::builder().setting("wallet.sweep_secs", 3_600_i64).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, somebody());
        shop.grant(&alice, 10).await.unwrap();
        let held = shop.hold(&alice, 10).await.unwrap();
        mesh.clock.advance(SignedDuration::from_mins(16));
        let shop = shop.later(&mesh).await;
        assert_eq!(reason(shop.capture(&held.hold_id, 0).await), "HOLD_EXPIRED");
        shop.release(&held.hold_id).await.unwrap();
        assert_eq!(balance(&mesh, &alice).await, 10);
    });
}

#[test]
fn what_is_over_comes_back_or_goes_by_itself() {
    run(async {
        let mesh = TestMesh::builder().setting("wallet.sweep_secs", 1_i64).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, somebody());
        let expires_at = Some(prost_types::Timestamp { seconds: mesh.now() + 600, nanos: 0 });
        shop.grant_as(GrantRequest { expires_at, ..grant(&alice, 7) }).await.unwrap();
        shop.grant(&alice, 30).await.unwrap();
        // What expires is held first.
        shop.hold(&alice, 10).await.unwrap();
        assert_eq!(balance(&mesh, &alice).await, 27);
        mesh.clock.advance(SignedDuration::from_mins(16));
        wait_until("the hold comes back", PATIENCE, async || balance(&mesh, &alice).await == 37).await;
        let open = "select count(*) from wallet.holds where state = 'held'";
        assert_eq!(mesh.db.count(open).await, 0);
        // What was over when it came back has a week.
        mesh.clock.advance(SignedDuration::from_hours(24 * 8));
        wait_until("what expires goes", PATIENCE, async || balance(&mesh, &alice).await == 30).await;
        let report = Shop::of(&mesh).await.verify_integrity().await;
        assert!(report.sound, "{:?}", report.findings);
    });
}
