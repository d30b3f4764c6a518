//! Deadlines travel: from the client through Envoy and the edge to the service, no statement starts after them (O6).

use std::time::{Duration, Instant};

use coreloop_testkit::{Before, Fault, Persona, TestMesh, figure, run, wait::PATIENCE, wait_until};
use futures::future::join_all;
use serde_json::json;

/// Sessions that are in a transaction.
const BUSY: &str = "select count(*) from pg_stat_activity where datname = current_database() \
                    and pid <> pg_backend_pid() and xact_start is not null";

#[test]
fn a_deadline_travels_through_envoy_and_edge_to_the_last_statement() {
    run(async {
        let mesh = TestMesh::builder().split().proxy(Before::Postgres).envoy().start().await;
        let people = join_all((0..8).map(|_| mesh.persona("alice"))).await;
        let born = json!({"birth_date": "1990-12-31"});
        let declare = |alice: &Persona| alice.rest().post("/api/v1/auth/age", &born);
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        // A statement and its answer take two seconds: of the three of a declaration the first is begun long before the
        // deadline, and the commit after them is due long after it. Nobody's date can have been kept in time.
        proxy.set(Fault::Delay(Duration::from_secs(1)));
        let begin = Instant::now();
        let calls = people.iter().map(|alice| declare(alice).header("grpc-timeout", "4S").send());
        let (answers, _) = tokio::join!(
            join_all(calls),
            wait_until("a declaration began", PATIENCE, async || mesh.db.count(BUSY).await > 0)
        );
        let took = begin.elapsed();
        proxy.heal();
        let said: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert!(said.iter().all(|status| [503, 504].contains(status)), "somebody was not late: {said:?}");
        assert!(said.contains(&504), "nobody was told that the deadline passed: {said:?}");
        assert!(took < figure(Duration::from_secs(8)), "the deadline of 4 s ended calls after {took:?}");
        wait_until("the service is well", PATIENCE, async || people[0].get("/api/v1/auth/tokens").await.status == 200)
            .await;
        // What went on after its deadline would now go on to its commit.
        wait_until("no transaction is open", PATIENCE, async || mesh.db.count(BUSY).await == 0).await;
        let dates = "select count(*) from auth.users where birth_date is not null and nickname = 'alice'";
        assert_eq!(mesh.db.count(dates).await, 0, "something was written after the deadline");
        declare(&people[0]).send().await.expect(200);
    });
}
