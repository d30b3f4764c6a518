//! Deadlines travel: from the client through Envoy and the edge to the service, no statement starts after them (O6).

use std::time::{Duration, Instant};

use coreloop_testkit::{Before, Fault, TestMesh, run, wait_until};

#[test]
fn a_deadline_travels_through_envoy_and_edge_to_the_last_statement() {
    run(async {
        let mesh = TestMesh::builder().split().proxy(Before::Postgres).envoy().start().await;
        let visitors: Vec<_> = (0..8).map(|_| mesh.visitor("alice")).collect();
        let proxy = mesh.postgres_proxy.as_ref().unwrap();
        // Each piece is late: a sign-up begins in time, and its last statements are due after the deadline.
        proxy.set(Fault::Delay(Duration::from_millis(120)));
        let begin = Instant::now();
        let calls = visitors.iter().map(|visitor| {
            let call = visitor.rest().post("/api/v1/auth/signup", &visitor.sign_up_body());
            call.header("grpc-timeout", "700m").send()
        });
        let answers = futures::future::join_all(calls).await;
        let took = begin.elapsed();
        proxy.heal();
        let refused = answers.iter().filter(|answer| answer.status == 504 || answer.status == 503).count();
        assert!(refused > 0, "nobody was late: {:?}", answers.iter().map(|a| a.status.as_u16()).collect::<Vec<_>>());
        assert!(took < Duration::from_secs(3), "the deadline of 0.7 s ended calls after {took:?}");
        wait_until("the service is well", Duration::from_secs(5), async || {
            mesh.visitor("late").try_login("x").await.status == 401
        })
        .await;
        for (visitor, answer) in visitors.iter().zip(&answers) {
            let accounts = format!("select count(*) from auth.users where email = '{}'", visitor.email);
            let made = mesh.db.count(&accounts).await;
            match answer.status.as_u16() {
                201 => assert_eq!(made, 1),
                // A commit that was sent in time may have arrived; nothing is half done.
                _ => assert_eq!(
                    made,
                    mesh.db
                        .count(&accounts.replace("auth.users", "auth.users u join auth.sessions s on s.user_id = u.id"))
                        .await
                ),
            }
        }
    });
}
