//! The way to Postgres is cut in the midst of commits: what was answered has happened, what was not is told by its key, and
//! nothing happens twice.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use coreloop_testkit::{Fault, TestMesh, deep, mesh::Before, run, seed, wait::wait_for};
use coreloop_wallet_api::v1::{Posting, SpendRequest};
use futures::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tonic::Code;

use super::stage::{Shop, balance, failures, somebody, spend};

/// Asks until there is an answer; the same key each time. Counts what was not known in between.
async fn until_known(shop: &Shop, replica: usize, asked: &SpendRequest, unknown: &AtomicUsize) -> Posting {
    wait_for("an answer", Duration::from_secs(60), async || match shop.spend_as(replica, asked).await {
        Ok(posting) => Some(posting),
        Err(status) => {
            assert!([Code::Unavailable, Code::DeadlineExceeded].contains(&status.code()), "{status}: {}", failures());
            unknown.fetch_add(1, Ordering::SeqCst);
            None
        }
    })
    .await
}

#[test]
fn nothing_is_lost_or_doubled_when_the_way_to_postgres_is_cut() {
    run(async {
        let mesh = TestMesh::builder().split().replicas(2).proxy(Before::Postgres).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, somebody());
        let (spends, cuts) = if deep() { (3_000, 60) } else { (300, 8) };
        shop.grant(&alice, spends * 3).await.unwrap();
        let (done, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let requests: Vec<SpendRequest> = (0..spends).map(|_| spend(&alice, 3)).collect();
        let spending = stream::iter(requests.iter().enumerate())
            .map(|(number, asked)| {
                let (shop, unknown, done) = (&shop, &unknown, &done);
                async move {
                    let posting = until_known(shop, number, asked, unknown).await;
                    done.fetch_add(1, Ordering::SeqCst);
                    (asked, posting)
                }
            })
            .buffer_unordered(24)
            .collect::<Vec<_>>();
        let cutting = async {
            let (proxy, mut random) = (mesh.postgres_proxy.as_ref().unwrap(), StdRng::seed_from_u64(seed("cuts")));
            for cut in 1..=cuts {
                let mark = usize::try_from(spends).unwrap() * cut / (cuts + 1) + random.random_range(0..5);
                wait_for("some are done", Duration::from_secs(60), async || {
                    (done.load(Ordering::SeqCst) >= mark).then_some(())
                })
                .await;
                proxy.set(Fault::Cut);
                let refused = unknown.load(Ordering::SeqCst);
                wait_for("the cut is felt", Duration::from_secs(60), async || {
                    (unknown.load(Ordering::SeqCst) > refused).then_some(())
                })
                .await;
                proxy.heal();
            }
        };
        let (answers, ()) = tokio::join!(spending, cutting);
        assert_eq!(balance(&mesh, &alice).await, 0, "each once");
        for (asked, posting) in answers {
            assert_eq!(shop.spend_as(1, asked).await.unwrap(), posting, "and the same answer for ever");
        }
        assert!(shop.verify_integrity().await.sound);
    });
}
