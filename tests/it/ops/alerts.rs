//! Too many dead letters of one queue are told where somebody is woken by it.

use std::time::Duration;

use coreloop_testkit::{Rest, TestMesh, run, wait_until};
use sqlx::{Connection as _, PgConnection};

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes `count` dead letters of `queue`, half of them archived.
async fn die(mesh: &TestMesh, queue: &str, count: i32) {
    let mut connection = PgConnection::connect(&mesh.db.url()).await.unwrap();
    sqlx::query(
        "insert into auth.held_events (consumer, id, topic, key, envelope, payload, state, failures, reason, error, held_at, due_at)
         select $1, gen_random_uuid(), 'events.auth.x', 'k' || n, '{}', '', case n % 2 when 0 then 'dead' else 'archived' end,
                3, 'POISON', 'e', now(), now()
           from generate_series(1, $2) as n",
    )
    .bind(queue)
    .bind(count)
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
}

#[test]
fn an_alert_fires_at_a_hundred_dead_letters_of_a_queue_and_a_critical_one_at_a_thousand() {
    run(async {
        let mesh = TestMesh::builder().setting("ops.round_secs", 1_i64).start().await;
        let metrics = Rest::to(format!("http://{}", mesh.node(0, "ops").running().admin_addr));
        // Warning and critical, of each of two queues; none of a queue that is not told of.
        let told = async |queue: &str| {
            let text = metrics.get("/metrics").send().await.text();
            ["warning", "critical"].map(|level| {
                let line = format!("ops_dead_letter_alert{{queue=\"{queue}\",level=\"{level}\"}} ");
                text.lines().find_map(|one| one.strip_prefix(&line)).map(str::to_owned)
            })
        };
        let wait = async |queue: &str, wanted: [Option<&str>; 2]| {
            let wanted = wanted.map(|value| value.map(str::to_owned));
            wait_until(format!("{queue} is told of as {wanted:?}"), PATIENCE, async || told(queue).await == wanted)
                .await;
        };
        die(&mesh, "auth.few", 99).await;
        die(&mesh, "auth.many", 999).await;
        wait("auth.few", [Some("0"), Some("0")]).await;
        wait("auth.many", [Some("1"), Some("0")]).await;
        die(&mesh, "auth.few", 1).await;
        die(&mesh, "auth.many", 1).await;
        wait("auth.few", [Some("1"), Some("0")]).await;
        wait("auth.many", [Some("1"), Some("1")]).await;
        mesh.db.execute("delete from auth.held_events").await;
        wait("auth.many", [None, None]).await;
        wait("auth.few", [None, None]).await;
    });
}
