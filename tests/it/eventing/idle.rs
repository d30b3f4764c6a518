//! What is asked of Postgres while nothing happens: nothing.

use std::time::Duration;

use coreloop_eventing::Options;
use coreloop_testkit::{run, wait::wait_for, wait_until};
use sqlx::Connection as _;
use tokio::time::Instant;

use super::stage::{Noting, Stage};

/// Time for which nothing happens; longer than any poll of the defaults but the sweeps of every minute.
const IDLE: Duration = Duration::from_secs(12);

/// Statements of this service that the server has begun, the last of each connection. Transactions of the server's own, as
/// those of autovacuum, are not counted, and a ping is none.
const ASKED: &str = "select coalesce(string_agg(left(query, 80), '; '), '') from pg_stat_activity
    where datname = $1 and backend_type = 'client backend' and query_start > to_timestamp($2)";

#[test]
fn relay_and_consumer_ask_nothing_while_nothing_happens() {
    run(async {
        let mut stage = Stage::set().await;
        stage.options = Options::default();
        let (_relay, _consumer) = (stage.relay().await, stage.consumer(Noting).await);
        for number in 1..=3 {
            stage.tell("a", &[number]).await;
        }
        stage.wait_for_effects(3).await;
        let done = "select count(*) from auth.outbox_relay where read_to = 3";
        wait_until("it is recorded", Duration::from_secs(30), async || stage.db.count(done).await == 1).await;
        wait_until("all is acknowledged", Duration::from_secs(30), async || stage.pending().await == 0).await;
        // Looking is done from another database.
        let mut url: sqlx::postgres::PgConnectOptions = stage.db.url().parse().unwrap();
        let name = url.get_database().unwrap_or_default().to_owned();
        url = url.database("postgres");
        let mut looker = sqlx::PgConnection::connect_with(&url).await.unwrap();
        // What was begun before may be asked a little later.
        let calm = "select coalesce(max(query_start) < clock_timestamp() - interval '1 s', true)
            from pg_stat_activity where datname = $1 and backend_type = 'client backend'";
        wait_for("nothing is asked", Duration::from_secs(30), async || {
            sqlx::query_scalar::<_, bool>(calm).bind(&name).fetch_one(&mut looker).await.unwrap().then_some(())
        })
        .await;
        let now = "select extract(epoch from clock_timestamp())::float8";
        let (since, begun): (f64, _) = (sqlx::query_scalar(now).fetch_one(&mut looker).await.unwrap(), Instant::now());
        wait_for("the time is over", Duration::from_secs(60), async || {
            let asked: String = sqlx::query_scalar(ASKED).bind(&name).bind(since).fetch_one(&mut looker).await.unwrap();
            assert_eq!(asked, "", "asked although nothing happened");
            (begun.elapsed() >= IDLE).then_some(())
        })
        .await;
        // It still hears.
        stage.tell("a", &[4]).await;
        stage.wait_for_effects(4).await;
    });
}
