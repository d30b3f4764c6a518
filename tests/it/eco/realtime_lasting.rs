//! What lasts: sockets whose log cannot be read, the log under what comes too late, places of replicas that stop; and what does not.

use coreloop_core::{Clock as _, Fact, id::SystemIds};
use coreloop_eventing::{Facts, Outbox};
use coreloop_facts::v1::MyBadgeEarned;
use coreloop_testkit::{
    PASSWORD, Persona, TestMesh, run,
    socket::SYNC_PATH,
    wait::{PATIENCE, wait_for},
};
use jiff::{SignedDuration, Timestamp};
use redis::{FromRedisValue, aio::MultiplexedConnection};
use serde_json::{Value, json};

use crate::wallet::stage::Shop;

const MODULES: &[&str] = &["auth", "wallet", "realtime"];

fn gold(message: &Value) -> i64 {
    message["data"]["changes"]["gold"].as_f64().map_or_else(|| panic!("no gold in {message}"), |gold| gold as i64)
}

/// What Redis answers to `line`, cut at its spaces.
async fn asked<T: FromRedisValue>(redis: &mut MultiplexedConnection, line: &str) -> T {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query_async(redis).await.unwrap()
}

/// Tells of `who` what somebody else would, as if at `at`.
pub(super) async fn tell<F: Fact>(mesh: &TestMesh, who: &Persona, fact: &F, at: Timestamp) {
    let mut facts = Facts::new();
    facts.add(&SystemIds, &who.user_id, fact).unwrap();
    Outbox::new("auth").unwrap().write(&mut mesh.db.connect().await, &facts, at).await.unwrap();
}

/// What `my` tells of a badge.
pub(super) fn badge(who: &Persona, code: &str) -> MyBadgeEarned {
    MyBadgeEarned { user_id: who.user_id.clone(), code: code.to_owned(), ..MyBadgeEarned::default() }
}

/// More of them than catch up at once, and of one user: all read the log at the same time.
#[test]
fn no_socket_closes_because_its_log_cannot_be_read() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).setting("limit.enabled", false);
        let mesh = mesh.setting("realtime.sockets_per_user", 1_000_i64).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let mut sockets = Vec::new();
        for _ in 0..100 {
            sockets.push(alice.socket().await);
        }
        let mut redis = mesh.redis.connect().await;
        // The channel is joined again, and the log is not to be had.
        let () = asked(&mut redis, "ACL SETUSER default -evalsha").await;
        let _killed: i64 = asked(&mut redis, "CLIENT KILL TYPE pubsub").await;
        let joined = format!("PUBSUB NUMSUB rt:{{{}}}", alice.user_id);
        wait_for("the channel is joined again", PATIENCE, async || {
            let (_, listeners): (String, i64) = asked(&mut redis.clone(), &joined).await;
            (listeners == 1).then_some(())
        })
        .await;
        let () = asked(&mut redis, "ACL LOG RESET").await;
        wait_for("somebody was refused the log", PATIENCE, async || {
            let refused: Vec<redis::Value> = asked(&mut redis.clone(), "ACL LOG").await;
            (!refused.is_empty()).then_some(())
        })
        .await;
        let () = asked(&mut redis, "ACL SETUSER default +evalsha").await;
        shop.grant(&alice.user_id, 1).await.unwrap();
        for socket in &mut sockets {
            assert_eq!(gold(&socket.of_type("profile_update").await), 1);
        }
        // Every connection is new: the first command on an old one fails.
        let _killed: i64 = asked(&mut redis, "CLIENT KILL TYPE normal").await;
        let _killed: i64 = asked(&mut redis, "CLIENT KILL TYPE pubsub").await;
        shop.grant(&alice.user_id, 1).await.unwrap();
        for socket in &mut sockets {
            assert_eq!(gold(&socket.of_type("profile_update").await), 2);
        }
    });
}

#[test]
fn a_replica_that_stops_gives_back_the_places_of_its_sockets() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).replicas(2).setting("limit.enabled", false);
        let mut mesh = mesh.start().await;
        let alice = mesh.persona("alice").await;
        let (there, elsewhere) = (alice.at(&mesh.gateway_on(1)), alice.at(&mesh.gateway_on(0)));
        let mut sockets = Vec::new();
        for _ in 0..8 {
            sockets.push(there.socket().await);
        }
        let refusal = elsewhere.ask_for_socket(SYNC_PATH).await.unwrap_err();
        assert_eq!((refusal.status, refusal.reason()), (429, "TOO_MANY_SOCKETS"));
        let open = format!("rt:{{{}}}:open", alice.user_id);
        let mut redis = mesh.redis.connect().await;
        // Of one that is killed they count no longer than this.
        let counts: i64 = asked(&mut redis, &format!("PTTL {open}")).await;
        assert!((1..=45_000).contains(&counts), "{counts}");
        mesh.node_mut(1, "realtime").stop().await;
        let left: i64 = asked(&mut redis, &format!("ZCARD {open}")).await;
        assert_eq!(left, 0);
        sockets.clear();
        for _ in 0..8 {
            sockets.push(elsewhere.socket().await);
        }
    });
}

#[test]
fn what_comes_too_late_begins_anew_once_and_leaves_the_log() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).start().await;
        let (shop, alice) = (Shop::of(&mesh).await, mesh.persona("alice").await);
        let mut socket = alice.socket().await;
        shop.grant(&alice.user_id, 1).await.unwrap();
        let last = socket.of_type("profile_update").await["seq"].as_i64().unwrap();
        shop.grant(&alice.user_id, 2).await.unwrap();
        assert_eq!(gold(&socket.of_type("profile_update").await), 3);
        let mut redis = mesh.redis.connect().await;
        let late = mesh.clock.now() - SignedDuration::from_mins(10);
        for (heard, code) in (3..).zip(["FIRST", "SECOND", "THIRD"]) {
            tell(&mesh, &alice, &badge(&alice, code), late).await;
            let seen = format!("KEYS rt:{{{}}}:seen:*", alice.user_id);
            wait_for("it is heard", PATIENCE, async || {
                let seen: Vec<String> = asked(&mut redis.clone(), &seen).await;
                (seen.len() == heard).then_some(())
            })
            .await;
        }
        assert_eq!(socket.message().await["type"], "initial_state");
        shop.grant(&alice.user_id, 4).await.unwrap();
        assert_eq!(gold(&socket.message().await), 7, "and once, for all of them");
        // Who resumes from before it misses nothing, and begins anew, too.
        let (connected, mut socket) = alice.socket_since(last).await;
        assert_eq!(connected["data"]["resumed"], true);
        assert_eq!([socket.message().await, socket.message().await].each_ref().map(gold), [3, 7]);
        assert_eq!(socket.message().await["type"], "initial_state");
        let kept: i64 = asked(&mut redis, &format!("XLEN rt:{{{}}}:log", alice.user_id)).await;
        assert_eq!(kept, 4, "three messages, and the place of what came too late");
    });
}

#[test]
fn a_badge_that_was_earned_is_told() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).start().await;
        let alice = mesh.persona("alice").await;
        let mut socket = alice.socket().await;
        tell(&mesh, &alice, &badge(&alice, "FIRST_SCAN"), mesh.clock.now()).await;
        let told = socket.of_type("achievement_progress").await;
        assert_eq!(
            (&told["data"]["achievement_code"], &told["data"]["unlocked"]),
            (&json!("FIRST_SCAN"), &json!(true))
        );
        assert_eq!(told["data"]["progress"].as_f64(), Some(1.0));
    });
}

#[test]
fn whoever_closes_their_account_leaves_nothing_that_was_said() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).start().await;
        let (shop, alice, bob) = (Shop::of(&mesh).await, mesh.persona("alice").await, mesh.persona("bob").await);
        for who in [&alice, &bob] {
            let mut socket = who.socket().await;
            shop.grant(&who.user_id, 1).await.unwrap();
            socket.of_type("profile_update").await;
        }
        let kept = |who: &Persona| format!("EXISTS rt:{{{0}}}:seq rt:{{{0}}}:log", who.user_id);
        let mut redis = mesh.redis.connect().await;
        assert_eq!(asked::<i64>(&mut redis, &kept(&alice)).await, 2);
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        wait_for("nothing is kept", PATIENCE, async || {
            (asked::<i64>(&mut redis.clone(), &kept(&alice)).await == 0).then_some(())
        })
        .await;
        assert_eq!(asked::<i64>(&mut redis, &kept(&bob)).await, 2, "of nobody else");
    });
}

#[test]
fn nothing_is_listened_to_while_nobody_is_there() {
    run(async {
        let mesh = TestMesh::builder().modules(MODULES).start().await;
        let alice = mesh.persona("alice").await;
        let redis = mesh.redis.connect().await;
        let listeners = async || asked::<(String, i64)>(&mut redis.clone(), "PUBSUB NUMSUB rt:acts").await.1;
        assert_eq!(listeners().await, 0);
        for _ in 0..2 {
            let socket = alice.socket().await;
            assert_eq!(listeners().await, 1);
            socket.cut();
            wait_for("it is left", PATIENCE, async || (listeners().await == 0).then_some(())).await;
        }
    });
}
