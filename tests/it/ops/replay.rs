//! A consumer reads again what the broker keeps, from the command line.

use std::time::Duration;

use async_trait::async_trait;
use coreloop_db::Transaction;
use coreloop_eventing::{Consumer, Event, Failure, Handler, Options};
use coreloop_facts::v1::AuthUserRegistered;
use coreloop_testkit::{TestMesh, run, wait_until};
use jiff::Timestamp;
use sqlx::PgPool;

use super::cli::coreloop;
use crate::eventing::stage::{Running, parts};

const CONSUMER: &str = "auth.greeter";
const TOPIC: &str = "events.auth.user_registered";
const PATIENCE: Duration = Duration::from_secs(30);

/// Greets whoever registers, by a row.
struct Greeter;

#[async_trait]
impl Handler for Greeter {
    async fn handle(&self, tx: &mut Transaction, event: &Event) -> Result<(), Failure> {
        let fact: AuthUserRegistered = event.decode()?;
        sqlx::query("insert into auth.greeted values ($1)").bind(&fact.user_id).execute(&mut **tx).await?;
        Ok(())
    }
}

/// Waits until the consumer has been given all up to an entry, and has acknowledged it.
async fn read_up_to(mesh: &TestMesh, newest: &str) {
    wait_until("it has read again", PATIENCE, async || {
        let mut redis = mesh.redis.connect().await;
        let mut ask = redis::cmd("XINFO");
        ask.arg("GROUPS").arg(TOPIC);
        let told: redis::streams::StreamInfoGroupsReply = ask.query_async(&mut redis).await.unwrap();
        told.groups.iter().any(|it| it.name == CONSUMER && it.last_delivered_id == newest && it.pending == 0)
    })
    .await;
}

/// As after a database that came back from a backup: it has forgotten what it acted on.
#[test]
fn an_operator_has_a_consumer_read_again_from_an_offset_or_a_time_and_nothing_has_a_second_effect() {
    run(async {
        let mesh = TestMesh::start().await;
        mesh.db.execute("create table auth.greeted (user_id text not null)").await;
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let options = Options { poll_ms: 100, standby_ms: 100, ..Options::default() };
        let consumer = Consumer::new(CONSUMER, parts(&pool, &mesh.redis.url(), &options).await, Greeter).unwrap();
        let running = Running::of(consumer.hears::<AuthUserRegistered>().unwrap().worker());
        let (ann, bob, cho) = (mesh.persona("ann").await, mesh.persona("bob").await, mesh.persona("cho").await);
        let (ann, bob, cho) = (ann.user_id.as_str(), bob.user_id.as_str(), cho.user_id.as_str());
        // Others are registered, too.
        let greeted = async || {
            let rows = "select user_id from auth.greeted where user_id = any ($1) order by user_id";
            sqlx::query_scalar::<_, String>(rows).bind(vec![ann, bob, cho]).fetch_all(&pool).await.unwrap()
        };
        let wait = async |people: &[&str]| {
            let mut people: Vec<String> = people.iter().map(|&id| id.to_owned()).collect();
            people.sort_unstable();
            wait_until(format!("{people:?} are greeted"), PATIENCE, async || greeted().await == people).await;
        };
        wait(&[ann, bob, cho]).await;
        let mut redis = mesh.redis.connect().await;
        let mut ask = redis::cmd("XRANGE");
        let entries: redis::streams::StreamRangeReply =
            ask.arg(TOPIC).arg("-").arg("+").query_async(&mut redis).await.unwrap();
        let place = |user: &str| entries.ids.iter().find(|one| one.get::<String>("key").unwrap() == user).unwrap();
        let replay = async |arguments: &[&str]| {
            coreloop(&mesh, &[["events", "replay", CONSUMER, TOPIC].as_slice(), arguments].concat()).await
        };
        // Nothing is forgotten yet: all of it is read again, and known.
        replay(&["--all"]).await.fine();
        let newest = entries.ids.last().unwrap().id.clone();
        read_up_to(&mesh, &newest).await;
        wait(&[ann, bob, cho]).await;
        mesh.db.execute("truncate auth.greeted").await;
        mesh.db.execute("delete from auth.processed_events where idempotency_key like 'auth.greeter:%'").await;

        replay(&["--offset", &place(cho).id]).await.fine();
        wait(&[cho]).await;
        let millisecond = place(bob).id.split('-').next().unwrap().parse().unwrap();
        replay(&["--from", &Timestamp::from_millisecond(millisecond).unwrap().to_string()]).await.fine();
        wait(&[bob, cho]).await;
        replay(&["--all"]).await.fine();
        wait(&[ann, bob, cho]).await;

        let ahead = replay(&["--offset", "9999999999999-0"]).await.failed();
        assert!(ahead.contains("has not read that far"), "{ahead}");
        assert!(replay(&["--from", "2999-01-01T00:00:00Z"]).await.failed().contains("in the future"));
        assert!(replay(&["--offset", "somewhere"]).await.failed().contains("somewhere"));
        let unknown = coreloop(&mesh, &["events", "replay", "auth.nobody", TOPIC, "--all"]).await.failed();
        assert!(unknown.contains("auth.nobody"), "{unknown}");
        assert!(
            coreloop(&mesh, &["events", "replay", CONSUMER, "greetings", "--all"]).await.failed().contains("no topic")
        );
        let noted = "select count(*) from ops.audits where action = 'ops.events.replay' and actor = 'cli' and step = ";
        assert_eq!(mesh.db.count(&format!("{noted}'asked'")).await, 7);
        assert_eq!(
            (mesh.db.count(&format!("{noted}'done'")).await, mesh.db.count(&format!("{noted}'failed'")).await),
            (4, 3)
        );
        running.stop().await;
        pool.close().await;
    });
}
