//! Who closes the account is forgotten, and what is heard of them late changes nothing.

use coreloop_facts::v1::AuthUserWithdrawn;
use coreloop_my::cache::Cache;
use coreloop_my_api::v1::GetSummaryResponse;
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{PASSWORD, run, wait::wait_for, wait_until};
use serde_json::json;

use super::stage::{LONG, changed, counted, day, follow, happened, heard, mesh, patch, public, recycles, summary};
use crate::eco::character::stage::{given, tell};

const TABLES: [&str; 7] = ["heard", "footprints", "categories", "streaks", "badges", "profiles", "preferences"];

#[test]
fn a_closed_account_stays_closed() {
    run(async {
        let mesh = mesh().start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        recycles(&mesh, &alice, Category::General, &day(&mesh, 0)).await;
        counted(&mesh, &alice, 1).await;
        changed(&alice, &json!({"nickname": "Zuzanna", "bio": "hello"})).await;
        patch(&alice, "/api/v1/my/preferences", &json!({"public_figures": true})).await.expect(200);
        follow(&alice, &bob.user_id).await.expect(200);
        follow(&bob, &alice.user_id).await.expect(200);
        let of_alice = async |table: &str| {
            mesh.db.count(&format!("select count(*) from my.{table} where user_id = '{}'", alice.user_id)).await
        };
        for table in TABLES {
            assert!(of_alice(table).await > 0, "{table} knows her");
        }

        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        let closed = format!("select count(*) from my.people where closed and user_id = '{}'", alice.user_id);
        wait_until("my knows of it", LONG, async || mesh.db.count(&closed).await == 1).await;
        for table in TABLES {
            assert_eq!(of_alice(table).await, 0, "{table}");
        }
        assert_eq!(mesh.db.count("select count(*) from my.follows").await, 0);
        public(&mesh, &alice.user_id).await.refused(404, "USER_NOT_FOUND");
        follow(&bob, &alice.user_id).await.refused(404, "USER_NOT_FOUND");
        let lists = bob.get("/api/v1/my/followers").await.expect(200);
        assert_eq!(lists["followers"], json!([]));

        // Late: a scan, and the word itself once more.
        recycles(&mesh, &alice, Category::Glass, &day(&mesh, 0)).await;
        tell(&mesh, &alice.user_id, &AuthUserWithdrawn { user_id: alice.user_id.clone(), occurred_at: None }).await;
        recycles(&mesh, &bob, Category::Glass, &day(&mesh, 0)).await;
        counted(&mesh, &bob, 1).await;
        heard(&mesh).await;
        for table in TABLES {
            assert_eq!(of_alice(table).await, 0, "{table}");
        }
        assert_eq!((happened(&mesh, "closed", &alice).await, happened(&mesh, "scanned", &alice).await), (1, 1));
        // What is left of her names her by id alone.
        let named = format!(
            "select count(*) from my.events where aggregate_id = '{}' and (payload::text like '%Zuzanna%' or payload::text like '%hello%')",
            alice.user_id
        );
        assert_eq!(mesh.db.count(&named).await, 0);
        let auth = format!("select count(*) from auth.users where id = '{}' and nickname = 'withdrawn'", alice.user_id);
        assert_eq!(mesh.db.count(&auth).await, 1, "nothing that was told late brought her name back");
    });
}

#[test]
fn somebody_who_was_never_heard_of_leaves_nothing_either() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        given(&mesh, &alice, "CHR001").await;
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        let closed = format!("select count(*) from my.people where closed and user_id = '{}'", alice.user_id);
        wait_until("my knows of it", LONG, async || mesh.db.count(&closed).await == 1).await;
        // Whoever looks after that does not bring her back.
        let answer = public(&mesh, &alice.user_id).await;
        answer.refused(404, "USER_NOT_FOUND");
        assert!(!answer.text().contains("alice"));
        let rows = format!("select count(*) from my.profiles where user_id = '{}'", alice.user_id);
        assert_eq!(mesh.db.count(&rows).await, 0);
    });
}

#[test]
fn redis_forgets_the_summary_and_keeps_no_other() {
    run(async {
        // Each is put together anew, and kept.
        let mesh = mesh().setting("my.summary_cache_secs", 0_i64).start().await;
        let alice = mesh.persona("alice").await;
        recycles(&mesh, &alice, Category::General, &day(&mesh, 0)).await;
        counted(&mesh, &alice, 1).await;
        let key = format!("my:summary:{}", alice.user_id);
        let mut redis = mesh.redis.connect().await;
        let mut kept = async || redis::cmd("STRLEN").arg(&key).query_async::<usize>(&mut redis).await.unwrap();
        assert_eq!((summary(&alice).await["stale"].clone(), kept().await > 8), (json!([]), true));
        alice.post("/api/v1/auth/withdraw", &json!({"password": PASSWORD})).await.expect(200);
        wait_for("it is forgotten", LONG, async || (kept().await == 1).then_some(())).await;
        // Whoever has put one together meanwhile is late.
        let client = redis::Client::open(mesh.redis.url()).unwrap();
        let cache = Cache::new(Some(client.get_connection_manager().await.unwrap()), 30_000);
        let (user, late) = (alice.user_id.parse().unwrap(), vec!["late".to_owned()]);
        cache.keep(user, &GetSummaryResponse { stale: late, ..GetSummaryResponse::default() }).await;
        assert_eq!((kept().await, cache.find(user).await), (1, None));
    });
}
