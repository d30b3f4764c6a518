//! Batches of numbers that are doubled.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use tokio::{sync::Semaphore, task::JoinHandle};

use super::*;

type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

/// Doubles numbers, panics on 666; each batch waits for a permit of `gate`.
fn doubling(gate: &Arc<Semaphore>, limits: Limits) -> (Grouped<u32, u32>, Batches) {
    let (seen, gate) = (Batches::default(), Arc::clone(gate));
    let batches = Arc::clone(&seen);
    let writes = Grouped::new(limits, move |items: Vec<u32>, _| {
        let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            assert!(!items.contains(&666), "as the test says");
            seen.lock().unwrap().push(items.clone());
            items.into_iter().map(|item| item * 2).collect()
        })
    });
    (writes, batches)
}

fn ask(writes: &Grouped<u32, u32>, item: u32) -> JoinHandle<Result<u32, GroupError>> {
    let writes = writes.clone();
    tokio::spawn(async move { writes.submit(item).await })
}

async fn settle(writes: &Grouped<u32, u32>, waiting: usize) {
    reach(writes, waiting, 0).await;
}

async fn reach(writes: &Grouped<u32, u32>, waiting: usize, free: usize) {
    for _ in 0..1_000 {
        if writes.waiting() == waiting && writes.0.state().free.len() == free {
            return;
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    panic!("{} wait, {} lanes are free", writes.waiting(), writes.0.state().free.len());
}

const TWO: Limits = Limits { lanes: 2, most: 256, queue: 1_000, ample: usize::MAX };

#[tokio::test(start_paused = true)]
async fn what_waits_goes_together_and_everybody_gets_their_own_answer() {
    let gate = Arc::new(Semaphore::new(0));
    let (writes, batches) = doubling(&gate, TWO);
    let asked: Vec<_> = (0..600).map(|item| ask(&writes, item)).collect();
    // Both lanes have taken as much as they may.
    settle(&writes, 88).await;
    gate.add_permits(600);
    for (item, asked) in (0..600_u32).zip(asked) {
        assert_eq!(asked.await.unwrap(), Ok(item * 2));
    }
    let mut sizes: Vec<_> = batches.lock().unwrap().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [88, 256, 256]);
}

#[tokio::test(start_paused = true)]
async fn while_enough_is_under_way_more_of_it_gathers_but_not_behind_what_stands_still() {
    let gate = Arc::new(Semaphore::new(0));
    let (writes, batches) = doubling(&gate, Limits { lanes: 3, ample: 2, ..TWO });
    let mut asked = Vec::new();
    // One is little, so the second has a lane of its own; those after it wait.
    for (item, waiting, free) in [(1, 0, 2), (2, 0, 1), (3, 1, 1), (4, 2, 1)] {
        asked.push(ask(&writes, item));
        reach(&writes, waiting, free).await;
    }
    // Nothing ends, and nobody comes to ask.
    let begun = Instant::now();
    reach(&writes, 0, 0).await;
    assert!(begun.elapsed() <= PATIENCE * 2, "{:?}", begun.elapsed());
    gate.add_permits(9);
    for (item, asked) in (1..=4_u32).zip(asked) {
        assert_eq!(asked.await.unwrap(), Ok(item * 2));
    }
    let mut seen = batches.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, [vec![1], vec![2], vec![3, 4]]);
}

#[tokio::test(start_paused = true)]
async fn what_gathers_goes_when_a_batch_ends_also_beside_one_that_stands_still() {
    let (stuck, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (held, free) = (Arc::clone(&stuck), Arc::clone(&gate));
    let limits = Limits { lanes: 3, ample: 1, ..TWO };
    let writes: Grouped<u32, u32> = Grouped::new(limits, move |items: Vec<u32>, _| {
        let gate = Arc::clone(if items.contains(&1) { &held } else { &free });
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            items
        })
    });
    let first = ask(&writes, 1);
    reach(&writes, 0, 2).await;
    tokio::time::advance(PATIENCE).await;
    let begun = Instant::now();
    for item in 2..5 {
        reach(&writes, 0, 2).await;
        let one = ask(&writes, item);
        reach(&writes, 0, 1).await;
        let next = ask(&writes, item + 10);
        reach(&writes, 1, 1).await;
        gate.add_permits(2);
        assert_eq!((one.await.unwrap(), next.await.unwrap()), (Ok(item), Ok(item + 10)));
    }
    assert!(begun.elapsed() < PATIENCE, "none of them waited for the first: {:?}", begun.elapsed());
    stuck.add_permits(1);
    assert_eq!(first.await.unwrap(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may() {
    let gate = Arc::new(Semaphore::new(0));
    let (writes, _) = doubling(&gate, Limits { lanes: 1, most: 8, queue: 2, ample: usize::MAX });
    let asked = [ask(&writes, 1)];
    settle(&writes, 0).await;
    let more = [ask(&writes, 2), ask(&writes, 3)];
    settle(&writes, 2).await;
    assert_eq!(writes.submit(4).await, Err(GroupError::Full));
    gate.add_permits(9);
    for asked in asked.into_iter().chain(more) {
        assert!(asked.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_stops_nobody_and_what_was_not_begun_is_not() {
    let gate = Arc::new(Semaphore::new(0));
    let (writes, batches) = doubling(&gate, Limits { lanes: 1, ..TWO });
    let first = ask(&writes, 1);
    settle(&writes, 0).await;
    let (gone, late) = (ask(&writes, 2), {
        let writes = writes.clone();
        let end = Instant::now() + Duration::from_millis(1);
        tokio::spawn(deadline::scope(end, async move { writes.submit(3).await }))
    });
    let last = ask(&writes, 4);
    settle(&writes, 3).await;
    first.abort();
    gone.abort();
    assert!(gone.await.is_err());
    tokio::time::advance(Duration::from_millis(2)).await;
    gate.add_permits(9);
    assert_eq!(last.await.unwrap(), Ok(8));
    assert_eq!(late.await.unwrap(), Err(GroupError::Deadline));
    assert_eq!(*batches.lock().unwrap(), [[1], [4]]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_panics_costs_its_own_alone() {
    let gate = Arc::new(Semaphore::new(9));
    let (writes, _) = doubling(&gate, Limits { lanes: 1, ..TWO });
    assert_eq!(writes.submit(666).await, Err(GroupError::Lost));
    assert_eq!(writes.submit(3).await, Ok(6));
}

#[tokio::test(start_paused = true)]
async fn what_is_locked_waits_together_and_is_not_overtaken() {
    let gate = Arc::new(Semaphore::new(0));
    let (seen, permits) = (Batches::default(), Arc::clone(&gate));
    let batches = Arc::clone(&seen);
    // A number locks its tens and its ones.
    let locks = |item: &u32| vec![u128::from(item / 10), u128::from(item % 10)];
    let writes = Grouped::apart(TWO, locks, move |items: Vec<u32>, _| {
        let (seen, gate) = (Arc::clone(&seen), Arc::clone(&permits));
        Box::pin(async move {
            seen.lock().unwrap().push(items.clone());
            gate.acquire().await.unwrap().forget();
            items
        })
    });
    let begun = async |many: usize| {
        while batches.lock().unwrap().len() < many {
            tokio::task::yield_now().await;
        }
    };
    let mut asked = vec![ask(&writes, 11)];
    begun(1).await;
    // All but the last lock what the first has, or what one before them waits for.
    for (waiting, item) in [12, 11, 23, 34].into_iter().enumerate() {
        asked.push(ask(&writes, item));
        while writes.waiting() != waiting + 1 {
            tokio::task::yield_now().await;
        }
    }
    asked.push(ask(&writes, 56));
    begun(2).await;
    gate.add_permits(9);
    for (item, asked) in [11, 12, 11, 23, 34, 56].into_iter().zip(asked) {
        assert_eq!(asked.await.unwrap(), Ok(item));
    }
    assert_eq!(*batches.lock().unwrap(), [vec![11], vec![56], vec![12, 11, 23, 34]]);
    while writes.0.state().free.len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(writes.0.state().locked.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_had_no_room_goes_with_another_lane() {
    let gate = Arc::new(Semaphore::new(0));
    let (writes, batches) = doubling(&gate, Limits { most: 2, ..TWO });
    let asked: Vec<_> = (0..5).map(|item| ask(&writes, item)).collect();
    settle(&writes, 1).await;
    gate.add_permits(9);
    for (item, asked) in (0..5_u32).zip(asked) {
        assert_eq!(asked.await.unwrap(), Ok(item * 2));
    }
    assert_eq!(batches.lock().unwrap().len(), 3);
}
