//! A real event of a real service.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_auth_api::v1::UserRegistered;
use coreloop_db::Transaction;
use coreloop_eventing::{Consumer, Event, Failure, Handler, Options};
use coreloop_testkit::{TestMesh, run, wait::within};
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::stage::{Running, parts};

struct Hearing(mpsc::UnboundedSender<(Event, UserRegistered, Option<String>)>);

#[async_trait]
impl Handler for Hearing {
    async fn handle(&self, _transaction: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let trace = coreloop_service::Call::current().map(|call| call.trace.trace_id_hex());
        self.0.send((event.clone(), event.decode()?, trace)).unwrap();
        Ok(())
    }
}

#[test]
fn who_signs_up_is_heard_of_with_the_trace_of_their_request() {
    run(async {
        let mesh = TestMesh::start().await;
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let parts = parts(&pool, &mesh.redis.url(), &Options::default()).await;
        let (sender, mut heard) = mpsc::unbounded_channel();
        let consumer =
            Consumer::new("auth.hearing", parts, Hearing(sender)).unwrap().hears::<UserRegistered>().unwrap();
        let running = Running::of(consumer.worker());
        let alice = mesh.persona("alice").await;
        let id = alice.user_id.clone();
        let (event, fact, trace) = within("the event", Duration::from_secs(20), async {
            loop {
                let heard = heard.recv().await.unwrap();
                if heard.1.user_id == id {
                    return heard;
                }
            }
        })
        .await;
        assert_eq!((fact.method.as_str(), event.key.as_str()), ("password", id.as_str()));
        assert_eq!(event.trace_id.len(), 32);
        assert_eq!(event.traceparent.split('-').nth(1), Some(event.trace_id.as_str()));
        assert_eq!(trace.as_deref(), Some(event.trace_id.as_str()), "the handler runs in the trace of the sign-up");
        assert!(!event.request_id.is_empty());
        running.stop().await;
        pool.close().await;
        let _whole = Arc::new(mesh);
    });
}
