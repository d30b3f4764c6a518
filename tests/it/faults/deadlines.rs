//! Deadlines travel: from the client through Envoy and the edge to the service, no statement starts after them (O6).

use std::time::{Duration, Instant};

use coreloop_testkit::{Before, Fault, TestMesh, run, wait_until};

/// Sessions that are in a transaction.
const BUSY: &str = "select count(*) from pg_stat_activity where datname = current_database() \
                    and pid <> pg_backend_pid() and xact_start is not null";

#[test]
fn a_deadline_travels_through_envoy_and_edge_to_the_last_statement() {
    run(async {
        let mesh = TestMesh::builder().split().proxy(Before::Postgres).envoy().start().await;
        // Each of the late ones is to find a connection that is open: opening one takes longer than they have.
        futures::future::join_all((0..8).map(|_| mesh.persona("early"))).await;
        let visitors: Vec<_> = (0..8).map(|_| mesh.visitor("alice")).collect();
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        // A statement and its answer take 0.24 s: the first ones of a sign-up begin in time, and the commit, which is its
        // sixth at least, is due long after the deadline. Nobody can have made an account in time.
        proxy.set(Fault::Delay(Duration::from_millis(120)));
        let begin = Instant::now();
        let calls = visitors.iter().map(|visitor| {
            let call = visitor.rest().post("/api/v1/auth/signup", &visitor.sign_up_body());
            call.header("grpc-timeout", "700m").send()
        });
        let (answers, _) = tokio::join!(
            futures::future::join_all(calls),
            wait_until("a sign-up began", Duration::from_secs(5), async || mesh.db.count(BUSY).await > 0)
        );
        let took = begin.elapsed();
        proxy.heal();
        let said: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert!(said.iter().all(|status| [503, 504].contains(status)), "somebody was not late: {said:?}");
        assert!(said.contains(&504), "nobody was told that the deadline passed: {said:?}");
        assert!(took < Duration::from_secs(3), "the deadline of 0.7 s ended calls after {took:?}");
        wait_until("the service is well", Duration::from_secs(5), async || {
            mesh.visitor("late").try_login("x").await.status == 401
        })
        .await;
        // What went on after its deadline would now go on to its commit.
        wait_until("no transaction is open", Duration::from_secs(5), async || mesh.db.count(BUSY).await == 0).await;
        let accounts = "select count(*) from auth.users where nickname = 'alice'";
        assert_eq!(mesh.db.count(accounts).await, 0, "something was written after the deadline");
        let again = visitors[0].post("/api/v1/auth/signup", &visitors[0].sign_up_body()).await;
        assert_eq!(again.status, 201, "{}", again.text());
    });
}
