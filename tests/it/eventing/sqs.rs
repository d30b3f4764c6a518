//! Commands over SQS, as ElasticMQ speaks it.

use std::{
    future::IntoFuture as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Bytes, extract::Request, response::IntoResponse as _};
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};
use coreloop_eventing::{Command, CommandBus, Commands, Consumer, Error, Queue};
use coreloop_eventing_sqs::{Options, SqsBus};
use coreloop_testkit::{Fault, FaultProxy, TestSqs, figure, run, wait::wait_for, wait_until};
use http::{StatusCode, header::HOST, request::Parts};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use super::{
    commanding::{Issuing, QUEUE, command},
    stage::{Running, Stage},
};

const PATIENCE: Duration = Duration::from_secs(40);

/// A server before `target`, which answers for it where `instead` has an answer; its address.
pub async fn before(
    target: String,
    instead: impl Fn(&Parts) -> Option<(StatusCode, &'static str)> + Clone + Send + Sync + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let client = reqwest::Client::new();
    let app = axum::Router::new().fallback(move |request: Request| async move {
        let (mut parts, body) = request.into_parts();
        if let Some(answer) = instead(&parts) {
            return answer.into_response();
        }
        parts.headers.remove(HOST);
        let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let asked = client.request(parts.method, format!("{target}{}", parts.uri)).headers(parts.headers).body(body);
        let answer = asked.send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap()).into_response()
    });
    tokio::spawn(axum::serve(listener, app).into_future());
    address
}

/// A corner of the shared server.
#[derive(Clone)]
struct Corner(Options);

impl Corner {
    async fn shared() -> Self {
        let prefix = format!("{}-", SystemIds.uuid().simple());
        Self(Options {
            endpoint: TestSqs::shared().await.endpoint(),
            access_key_id: "key".into(),
            access_key_secret: "secret".into(),
            prefix,
            timeout_ms: 30_000,
            visibility_secs: 10,
            ..Options::default()
        })
    }

    fn bus(&self) -> SqsBus {
        SqsBus::new(&self.0, Arc::new(SystemClock))
    }

    /// What the server says, past all of ours.
    async fn ask(&self, action: &str, body: Value) -> Value {
        let asked = reqwest::Client::new().post(&self.0.endpoint).header("x-amz-target", format!("AmazonSQS.{action}"));
        let asked = asked.header("content-type", "application/x-amz-json-1.0").body(body.to_string());
        serde_json::from_slice(&asked.send().await.unwrap().bytes().await.unwrap()).unwrap_or_default()
    }

    fn commands(&self) -> Commands {
        Commands::new(Arc::new(self.bus()), Arc::new(SystemClock), "rewards")
    }

    async fn worker(&self, stage: &Stage, handler: &Issuing) -> Running {
        let consumer = Consumer::working(QUEUE, Arc::new(self.bus()), stage.parts().await, handler.clone());
        Running::of(consumer.unwrap().worker())
    }
}

fn ids(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| SystemIds.uuid()).collect()
}

#[test]
fn a_command_over_sqs_is_done_once_and_in_order_per_key() {
    run(async {
        let (stage, corner) = (Stage::set().await, Corner::shared().await);
        let (commands, handler) = (corner.commands(), Issuing::new());
        let ids = ids(40);
        for _ in 0..2 {
            for (number, id) in ids.iter().enumerate() {
                commands.send(QUEUE, format!("key {}", number % 10), *id, &number).await.unwrap();
            }
        }
        let _workers = (corner.worker(&stage, &handler).await, corner.worker(&stage, &handler).await);
        stage.wait_for_effects_within(40, PATIENCE).await;
        let reader = corner.bus().work(QUEUE, SystemIds.uuid()).await.unwrap();
        wait_until("the queue is empty", PATIENCE, async || reader.lag().await.unwrap()[0].1 == 0).await;
        let effects = stage.effects().await;
        assert_eq!(effects.values().map(Vec::len).sum::<usize>(), 40);
        assert!(effects.values().all(|numbers| numbers.len() == 4 && numbers.is_sorted()), "{effects:?}");
        assert_eq!(handler.asked().len(), 40, "somebody was asked twice");
    });
}

#[test]
fn what_a_killed_worker_had_of_sqs_comes_back_before_what_followed_it() {
    run(async {
        let (stage, mut corner) = (Stage::set().await, Corner::shared().await);
        // It is given back: nobody would wait so long.
        corner.0.visibility_secs = 300;
        let commands = corner.commands();
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let first = corner.worker(&stage, &stuck).await;
        let ids = ids(3);
        for (number, id) in ids.iter().enumerate() {
            commands.send(QUEUE, "a", *id, &(number + 1)).await.unwrap();
        }
        wait_until("the vendor is asked", PATIENCE, async || !stuck.asked().is_empty()).await;
        first.kill().await;
        let handler = Issuing { asked: Arc::clone(&stuck.asked), ..Issuing::new() };
        let _second = corner.worker(&stage, &handler).await;
        stage.wait_for_effects_within(3, PATIENCE).await;
        assert_eq!(stage.effects().await["a"], [1, 2, 3]);
        assert_eq!(handler.asked(), [ids[0], ids[0], ids[1], ids[2]]);
    });
}

/// Nobody gives back what a killed process had: SQS does, when the time is over that its reader asked for, whatever time the
/// queue was made with.
#[test]
fn what_a_killed_process_had_of_sqs_is_anothers_within_thirty_seconds() {
    run(async {
        let mut corner = Corner::shared().await;
        corner.0.visibility_secs = 300;
        corner.commands().send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        corner.0.visibility_secs = Options::default().visibility_secs;
        let given = async |bus: SqsBus| {
            let reader = bus.work(QUEUE, SystemIds.uuid()).await.unwrap();
            let given = wait_for("it is given", 2 * PATIENCE, async || {
                Some(reader.next(1).await.unwrap()).filter(|given| !given.is_empty())
            });
            (given.await.remove(0).again, reader)
        };
        let bus = corner.bus();
        let killed = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (again, reader) = runtime.block_on(given(bus));
            // Nothing of it runs any more, and it says no goodbye.
            std::mem::forget(reader);
            again
        });
        assert!(!killed.await.unwrap(), "it was given before");
        let since = Instant::now();
        let (again, _reader) = given(corner.bus()).await;
        assert!(again && since.elapsed() < figure(Duration::from_secs(30)), "{:?}", since.elapsed());
    });
}

#[test]
fn sqs_that_refuses_for_the_moment_costs_nothing_that_is_under_way() {
    run(async {
        let (stage, mut corner) = (Stage::set().await, Corner::shared().await);
        let refused: [Arc<AtomicUsize>; 2] = Default::default();
        let (refuses, [reads, deletes]) = (Arc::new(AtomicBool::new(false)), refused.clone());
        let moody = Arc::clone(&refuses);
        corner.0.endpoint = before(corner.0.endpoint.clone(), move |asked| {
            let (count, answer) = match asked.headers["x-amz-target"].to_str().unwrap() {
                "AmazonSQS.ReceiveMessage" => (&reads, (StatusCode::SERVICE_UNAVAILABLE, "")),
                "AmazonSQS.DeleteMessageBatch" => {
                    (&deletes, (StatusCode::BAD_REQUEST, "{\"__type\":\"com.amazonaws.sqs#RequestThrottled\"}"))
                }
                _ => return None,
            };
            moody.load(Ordering::SeqCst).then(|| {
                count.fetch_add(1, Ordering::SeqCst);
                answer
            })
        })
        .await;
        let slow = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let _worker = corner.worker(&stage, &slow).await;
        corner.commands().send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        wait_until("the vendor is asked", PATIENCE, async || !slow.asked().is_empty()).await;
        refuses.store(true, Ordering::SeqCst);
        let [reads, deletes] = refused;
        wait_until("it is refused, and asks again", PATIENCE, async || reads.load(Ordering::SeqCst) >= 2).await;
        slow.answers.add_permits(2);
        wait_until("what is done is not deleted", PATIENCE, async || deletes.load(Ordering::SeqCst) >= 1).await;
        refuses.store(false, Ordering::SeqCst);
        // While the first is there its key gives nothing more.
        corner.commands().send(QUEUE, "a", SystemIds.uuid(), &2).await.unwrap();
        stage.wait_for_effects_within(2, PATIENCE).await;
        assert_eq!((&stage.effects().await["a"], slow.asked().len()), (&vec![1, 2], 2));
    });
}

#[test]
fn a_queue_that_is_taken_away_is_made_again_by_who_reads_it_and_by_nobody_who_may_not() {
    run(async {
        let (stage, corner) = (Stage::set().await, Corner::shared().await);
        let mut others = corner.clone();
        others.0.create = false;
        let (bus, now) = (others.bus(), SystemClock.now());
        for _ in 0..2 {
            let refused = bus.send(QUEUE, &[command(1, now)]).await.map_err(Error::from);
            assert!(matches!(refused, Err(Error::Broker(_))), "{refused:?}");
        }
        let handler = Issuing::new();
        let _worker = corner.worker(&stage, &handler).await;
        corner.commands().send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        stage.wait_for_effects_within(1, PATIENCE).await;
        let named = json!({ "QueueName": format!("{}cmd-rewards-issue.fifo", corner.0.prefix) });
        let found = corner.ask("GetQueueUrl", named).await;
        corner.ask("DeleteQueue", json!({ "QueueUrl": found["QueueUrl"] })).await;
        let (number, key) = (command(2, now), SystemIds.uuid());
        wait_until("it is there again", PATIENCE, async || {
            bus.send(QUEUE, &[Command { idempotency_key: key, ..number.clone() }]).await.is_ok()
        })
        .await;
        stage.wait_for_effects_within(2, PATIENCE).await;
        assert_eq!(stage.effects().await["a"], [1, 2]);
    });
}

#[test]
fn what_sqs_takes_too_slowly_is_sent_again_as_less() {
    run(async {
        let mut corner = Corner::shared().await;
        let (queue, now) = (Queue::CHAT_PIPELINE, SystemClock.now());
        let proxy = FaultProxy::before(corner.0.endpoint.trim_start_matches("http://").to_owned()).await;
        (corner.0.endpoint, corner.0.timeout_ms) = (format!("http://{}", proxy.address()), 6_000);
        let (bus, of_a_key) = (corner.bus(), |count| -> Vec<Command> {
            (0..count).map(|number| Command { queue, ..command(number, now) }).collect()
        });
        bus.send(queue, &of_a_key(1)).await.unwrap();
        proxy.set(Fault::Delay(Duration::from_millis(300)));
        let late = bus.send(queue, &of_a_key(40)).await.unwrap_err();
        assert!(matches!(late.source, Error::Timeout), "{late:?}");
        // They are of one key, so what it has are the first, which need not be sent again.
        assert!(late.taken.len() < 40 && late.taken.iter().copied().eq(0..late.taken.len()), "{late:?}");
        bus.send(queue, &of_a_key(1)).await.unwrap();
    });
}

/// A vendor that takes longer than SQS waits for a reader is asked once: its reader asks for more time.
#[test]
fn what_takes_long_is_not_given_out_again_meanwhile() {
    run(async {
        let (stage, mut corner) = (Stage::set().await, Corner::shared().await);
        // Far longer than a busy machine keeps its reader from asking.
        corner.0.visibility_secs = 10;
        let slow = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let _worker = corner.worker(&stage, &slow).await;
        corner.commands().send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        wait_until("the vendor is asked", PATIENCE, async || !slow.asked().is_empty()).await;
        let (other, since) = (corner.bus().work(QUEUE, SystemIds.uuid()).await.unwrap(), Instant::now());
        wait_for("twice as long", PATIENCE, async || {
            assert!(other.next(1).await.unwrap().is_empty(), "it was given out again");
            (since.elapsed() > Duration::from_secs(22)).then_some(())
        })
        .await;
        slow.answers.add_permits(1);
        stage.wait_for_effects(1).await;
        assert_eq!(slow.asked().len(), 1);
    });
}

#[test]
fn what_sqs_gives_up_is_a_dead_letter_of_the_consumer() {
    run(async {
        let (stage, mut corner) = (Stage::set().await, Corner::shared().await);
        corner.0.delivery_limit = 2;
        let commands = corner.commands();
        commands.send(QUEUE, "a", SystemIds.uuid(), &1).await.unwrap();
        // Given out, and again: each time its worker dies, until SQS has had enough.
        let stuck = Issuing { answers: Arc::new(Semaphore::new(0)), ..Issuing::new() };
        let died = async || stage.effects().await.contains_key("a died of DELIVERY_LIMIT");
        for times in 1.. {
            assert!(times <= 4, "it is given out for ever");
            let worker = corner.worker(&stage, &stuck).await;
            wait_until("it is begun, or dead", PATIENCE, async || stuck.asked().len() >= times || died().await).await;
            worker.kill().await;
            if died().await {
                break;
            }
        }
        assert!((1..=2).contains(&stuck.asked().len()), "{:?}", stuck.asked());
        commands.send(QUEUE, "a", SystemIds.uuid(), &2).await.unwrap();
        let handler = Issuing::new();
        let _worker = corner.worker(&stage, &handler).await;
        stage.wait_for_effects_within(2, PATIENCE).await;
        let effects = stage.effects().await;
        assert_eq!((&effects["a"], &effects["a died of DELIVERY_LIMIT"]), (&vec![2], &vec![1]));
        assert_eq!(handler.asked().len(), 1, "what was given up was begun");
    });
}

#[test]
fn sqs_takes_no_more_than_a_queue_may_hold_and_says_when_it_is_away() {
    run(async {
        let mut corner = Corner::shared().await;
        let (queue, now) = (Queue::CHAT_PIPELINE, SystemClock.now());
        let many: Vec<Command> =
            (0..=queue.most()).map(|number| Command { queue, ..command(number.into(), now) }).collect();
        let refused = corner.bus().send(queue, &many).await.map_err(Error::from);
        assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
        corner.bus().send(queue, &many[..25]).await.unwrap();
        corner.0.endpoint = "http://127.0.0.1:9".into();
        let refused = corner.bus().send(queue, &many[..1]).await.map_err(Error::from);
        assert!(matches!(refused, Err(Error::Broker(_))), "{refused:?}");
    });
}
