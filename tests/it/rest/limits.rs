//! Rate limits: counted once, told in headers, held over replicas, and without Redis.

use coreloop_testkit::{TestMesh, run};
use serde_json::json;

in_both_topologies! {
    async fn a_limited_call_tells_what_is_left(mesh) {
        let visitor = mesh.visitor("alice");
        let answer = visitor.try_login("not the password").await;
        let number = |name: &str| answer.header(name).parse::<u64>().unwrap_or_else(|_| panic!("{name} in {:?}", answer.headers));
        assert_eq!(number("ratelimit-limit"), 10);
        assert_eq!(number("ratelimit-remaining"), 9);
        assert!((1..=60).contains(&number("ratelimit-reset")));
    }

    async fn the_eleventh_call_in_a_minute_is_refused(mesh) {
        let visitor = mesh.visitor("alice");
        // Side by side: one after another their hashes, which come last of all, may take longer than the minute.
        let tries = (1..=10).map(|call| {
            let body = json!({"email": format!("nobody.{call}.{}", visitor.email), "password": "x"});
            let visitor = &visitor;
            async move { visitor.post("/api/v1/auth/login", &body).await.status.as_u16() }
        });
        assert_eq!(futures::future::join_all(tries).await, [401; 10]);
        let refused = visitor.try_login("x").await;
        refused.refused(429, "RATE_LIMITED");
        assert!((1..=60).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
        assert_eq!(refused.header("ratelimit-remaining"), "0");
        assert!(refused.detail("google.rpc.RetryInfo").is_some());
        assert_eq!(visitor.elsewhere().try_login("x").await.status, 401, "another address is another count");
    }

    async fn an_address_cannot_be_made_up(mesh) {
        let visitor = mesh.visitor("eve");
        let tries = (0..14).map(|call| {
            let body = json!({"email": format!("nobody.{call}.{}", visitor.email), "password": "x"});
            let made_up = format!("203.0.113.{call}");
            let call = visitor.rest().post("/api/v1/auth/login", &body);
            let call = call.header("x-forwarded-for", &made_up).header("x-real-ip", &made_up).header("forwarded", &format!("for={made_up}"));
            call.header("x-envoy-external-address", &made_up).send()
        });
        let answers = futures::future::join_all(tries).await;
        let refused = answers.iter().filter(|answer| answer.status == 429).count();
        assert_eq!(refused, 4, "a made-up address must not open a new count");
    }
}

#[test]
fn parallel_calls_on_two_replicas_share_one_count() {
    run(async {
        let mesh = TestMesh::builder().exact_limits().replicas(2).start().await;
        let visitor = mesh.visitor("eve");
        let gateways = [mesh.gateway_on(0), mesh.gateway_on(1)];
        let tries = (0..60).map(|number| {
            let (visitor, body) = (
                visitor.at(&gateways[number % 2]),
                json!({"email": format!("nobody.{number}@example.com"), "password": "x"}),
            );
            async move { visitor.post("/api/v1/auth/login", &body).await.status.as_u16() }
        });
        let statuses = futures::future::join_all(tries).await;
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 10, "{statuses:?}");
        assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    });
}

#[test]
fn limits_hold_about_as_well_without_redis() {
    run(async {
        let mut mesh = TestMesh::start().await;
        let visitor = mesh.visitor("eve");
        assert_eq!(visitor.try_login("x").await.status, 401);
        mesh.redis.kill();
        // Side by side: a place comes back every six seconds, and a hash may take as long.
        let tries = (0..40).map(|number| {
            let body = json!({"email": format!("nobody.{number}@example.com"), "password": "x"});
            let visitor = &visitor;
            async move { visitor.post("/api/v1/auth/login", &body).await.status == 401 }
        });
        let evaluated = futures::future::join_all(tries).await.into_iter().filter(|evaluated| *evaluated).count();
        assert!((1..=20).contains(&evaluated), "{evaluated} calls passed a limit of 10");
    });
}

#[test]
fn a_stranger_has_a_hundred_calls_a_minute_in_all() {
    run(async {
        let mesh = TestMesh::builder().exact_limits().start().await;
        let visitor = mesh.visitor("eve");
        let calls = (0..130).map(|_| async { visitor.get("/.well-known/jwks.json").await.status.as_u16() });
        let statuses = futures::future::join_all(calls).await;
        let served = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(served, 100, "{statuses:?}");
        for path in ["/healthz", "/readyz", "/api/v1/health"] {
            assert_eq!(visitor.get(path).await.status, 200, "{path} is asked by machines and counts nowhere");
        }
        let probe = mesh.visitor("probe");
        for path in ["/healthz", "/readyz", "/api/v1/health"].repeat(40) {
            assert_eq!(probe.get(path).await.status, 200, "{path}");
        }
        assert_eq!(probe.get("/.well-known/jwks.json").await.status, 200, "nothing of the hundred is used up");
        let alice = mesh.persona("alice").await;
        let calls = (0..130).map(|_| async { alice.get("/api/v1/auth/me").await.status.as_u16() });
        assert!(futures::future::join_all(calls).await.iter().all(|status| *status == 200), "people are not strangers");
    });
}

/// Whoever refuses it: the edge, or auth for Envoy.
#[test]
fn what_is_refused_costs_a_stranger_as_much_as_what_is_served() {
    run(async {
        let mesh = TestMesh::builder().exact_limits().envoy().start().await;
        for base in [mesh.gateway(), mesh.front()] {
            let visitor = mesh.visitor("eve").at(&base);
            let paths = ["/nothing", "/.well-known/jwks.json", "/api/v1/auth/tokens/%zz", "/api/v1/auth/me"];
            let (visitor, paths) = (&visitor, paths.into_iter().cycle());
            let calls = paths.take(150).map(|path| async move { visitor.get(path).await });
            let answers = futures::future::join_all(calls).await;
            let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(limited.len(), 50, "{base}: {statuses:?}");
            for answer in limited {
                answer.refused(429, "RATE_LIMITED");
                assert_eq!((answer.header("ratelimit-limit"), answer.header("ratelimit-remaining")), ("100", "0"));
                assert!(!answer.header("retry-after").is_empty());
            }
            assert_eq!(visitor.elsewhere().get("/nothing").await.status, 404, "another address is another count");
            assert_eq!(mesh.persona("alice").await.at(&base).get("/api/v1/auth/me").await.status, 200);
        }
    });
}
