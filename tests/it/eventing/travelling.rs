//! A real event of a real service.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use coreloop_config::Section;
use coreloop_db::Transaction;
use coreloop_eventing::{Consumer, Event, Failure, Handler, Options, Parts};
use coreloop_facts::v1::AuthUserRegistered;
use coreloop_server::{OtlpOptions, Telemetry};
use coreloop_testkit::{
    TestMesh, run,
    wait::{wait_for, within},
};
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::stage::{Running, parts};

struct Hearing(mpsc::UnboundedSender<(Event, AuthUserRegistered, Option<String>)>);

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
            Consumer::new("auth.hearing", parts, Hearing(sender)).unwrap().hears::<AuthUserRegistered>().unwrap();
        let running = Running::of(consumer.worker());
        let alice = mesh.persona("alice").await;
        let id = alice.user_id.clone();
        let (event, fact, trace) = within("the event", Duration::from_secs(30), async {
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

/// The span of the handler hangs below that of the RPC that caused the event, across outbox, relay and broker.
#[test]
fn a_request_and_what_it_causes_are_one_trace() {
    run(async {
        let mesh = TestMesh::builder().otlp().start().await;
        let otlp = mesh.otlp.as_ref().unwrap();
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let settings = format!("endpoint = \"{}\"\nratio = 1.0\ntimeout_ms = 30000", otlp.endpoint());
        let options = OtlpOptions::read(&Section::from_toml("otlp", &settings).unwrap()).unwrap();
        let telemetry = Telemetry::exporting(&options).unwrap();
        let parts = Parts { spans: telemetry.spans(), ..parts(&pool, &mesh.redis.url(), &Options::default()).await };
        let (sender, _heard) = mpsc::unbounded_channel();
        let consumer =
            Consumer::new("auth.hearing", parts, Hearing(sender)).unwrap().hears::<AuthUserRegistered>().unwrap();
        let running = Running::of(consumer.worker());
        let trace = "8bf92f3577b34da6a3ce929d0e0e4736";
        let visitor = mesh.visitor("traced");
        let call = visitor.rest().post("/api/v1/auth/signup", &visitor.sign_up_body());
        let answer = call.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")).send().await;
        assert_eq!(answer.status, 201);
        let named = |name: &str| otlp.trace(trace).into_iter().map(|one| one.span).find(|span| span.name == name);
        let handled = wait_for("the handler's span has come", Duration::from_secs(30), async || {
            named("process events.auth.user_registered")
        })
        .await;
        let cause = wait_for("the RPC's span has come", Duration::from_secs(30), async || {
            named("coreloop.auth.v1.AuthService/SignUp")
        })
        .await;
        assert_eq!(handled.parent_span_id, cause.span_id);
        assert!(handled.start_time_unix_nano >= cause.start_time_unix_nano);
        let said = |key: &str| {
            let found = handled.attributes.iter().find(|attribute| attribute.key == key);
            format!("{:?}", found.and_then(|attribute| attribute.value.clone()))
        };
        assert!(said("messaging.consumer.group.name").contains("auth.hearing"));
        assert!(said("coreloop.outcome").contains("handled"));

        let metrics = mesh.node(0, "auth").running().metrics.encode();
        let published = metrics.lines().find(|line| line.starts_with("outbox_published_total{domain=\"auth\"}"));
        let published: f64 = published.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default();
        assert!(published >= 1.0, "{metrics}");
        for family in ["outbox_age_seconds", "outbox_depth", "outbox_oldest_age_seconds"] {
            assert_eq!(metrics.matches(&format!("# TYPE {family} ")).count(), 1, "{family}");
        }
        running.stop().await;
        telemetry.finish().await;
        pool.close().await;
    });
}
