//! What histories came to is made anew, while it serves: the same as before, whatever it had become; and what does not fit is found.

use coreloop_my::{integrity, rebuilding::rebuild};
use coreloop_scan_api::v1::Category;
use coreloop_testkit::{Persona, TestMesh, run, seed};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use sqlx::PgPool;

use super::stage::{changed, counted, day, mesh, noon, owns, recycles, scans, summary, waste};
use crate::eco::character::stage::{given, scan, tell};

/// Everything that can be made anew, as text.
async fn everything(mesh: &TestMesh) -> String {
    let mut connection = mesh.db.connect().await;
    let mut all = String::new();
    for (table, order) in [
        ("people", "user_id"),
        ("footprints", "user_id, day"),
        ("categories", "user_id, category"),
        ("streaks", "user_id"),
        ("badges", "user_id, code"),
    ] {
        let sql = format!("select coalesce(string_agg(t::text, E'\\n' order by {order}), '') from my.{table} t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
        all.push_str(&format!("{table}\n{rows}\n"));
    }
    all
}

/// People to whom this and that happened, days in any order.
async fn people(mesh: &TestMesh) -> Vec<Persona> {
    let mut chance = StdRng::seed_from_u64(seed("my-rebuilding"));
    let mut people = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let who = mesh.persona(name).await;
        given(mesh, &who, "CHR001").await;
        changed(&who, &serde_json::json!({"bio": "hello"})).await;
        // Never seven in a row, which would be worth another character.
        let mut days: Vec<i64> = (-12..=0).filter(|day| *day != -6 && chance.random_bool(0.7)).collect();
        days.shuffle(&mut chance);
        for from_now in &days {
            let on = day(mesh, *from_now);
            match chance.random_bool(0.7) {
                true => drop(recycles(mesh, &who, Category::General, &on).await),
                false => tell(mesh, &who.user_id, &waste(&who, &on)).await,
            }
        }
        counted(mesh, &who, i64::try_from(days.len()).unwrap()).await;
        owns(mesh, &who, 1).await;
        people.push(who);
    }
    people
}

#[test]
fn what_histories_came_to_is_made_anew_whatever_it_had_become() {
    run(async {
        let mesh = mesh().setting("my.summary_cache_secs", 0_i64).start().await;
        noon(&mesh);
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let people = people(&mesh).await;
        let (before, seen) = (everything(&mesh).await, summary(&people[0]).await);
        let sound = integrity::verify(&pool).await.unwrap();
        assert!(sound.findings.is_empty(), "{:?}", sound.findings);
        let user = &people[0].user_id;
        for bend in [
            format!("update my.people set scans = scans + 1 where user_id = '{user}'"),
            format!("update my.people set version = version + 1 where user_id = '{user}'"),
            format!("update my.people set owned = 7 where user_id = '{user}'"),
            format!("update my.footprints set co2_g = 1 where user_id = '{user}'"),
            format!("delete from my.footprints where user_id = '{user}'"),
            format!("update my.streaks set longest = 99 where user_id = '{user}'"),
            format!("delete from my.streaks where user_id = '{user}'"),
            format!("insert into my.badges values ('{user}', 'STREAK_100', now())"),
            format!("update my.categories set scans = scans + 1 where user_id = '{user}'"),
        ] {
            mesh.db.execute(&bend).await;
            let found = integrity::verify(&pool).await.unwrap().findings;
            assert_eq!(
                found.iter().map(|one| (&one.what[..], &one.subject)).collect::<Vec<_>>(),
                [("person", user)],
                "{bend}"
            );
            let rebuilt = rebuild(&pool).await.unwrap();
            assert!(rebuilt.people >= 3 && rebuilt.events > 9, "{rebuilt:?}");
            assert_eq!(everything(&mesh).await, before, "{bend}");
        }
        // Of all of it nothing is left but the histories and who there is.
        for table in ["footprints", "categories", "streaks", "badges"] {
            mesh.db.execute(&format!("delete from my.{table}")).await;
        }
        let empty = "update my.people set version = 0, scans = 0, recycled = 0, tree_milli = 0, water_ml = 0, co2_g = 0, owned = 0,
                            owned_version = 0";
        mesh.db.execute(empty).await;
        rebuild(&pool).await.unwrap();
        assert_eq!(everything(&mesh).await, before);
        let mut again = summary(&people[0]).await;
        again["as_of"] = seen["as_of"].clone();
        assert_eq!(again, seen);
        pool.close().await;
    });
}

#[test]
fn it_serves_and_counts_meanwhile_and_one_rebuilds_at_a_time() {
    run(async {
        let mesh = mesh().setting("my.summary_cache_secs", 0_i64).start().await;
        noon(&mesh);
        let pool = PgPool::connect(&mesh.db.url()).await.unwrap();
        let (alice, today) = (mesh.persona("alice").await, day(&mesh, 0));
        let told = async {
            for number in 1..=20 {
                recycles(&mesh, &alice, Category::General, &today).await;
                counted(&mesh, &alice, number).await;
                assert_eq!(summary(&alice).await["recycling"]["recycled"], number);
            }
        };
        let rebuilds = async {
            while scans(&mesh, &alice).await < 20 {
                rebuild(&pool).await.unwrap();
            }
        };
        futures::join!(told, rebuilds);
        assert!(integrity::verify(&pool).await.unwrap().findings.is_empty());
        let lease = coreloop_db::lease::Lease::try_take(&pool, "my.rebuild").await.unwrap().unwrap();
        let second = rebuild(&pool).await;
        assert!(matches!(second, Err(coreloop_my::Error::Rebuilding)), "{second:?}");
        lease.give_up().await;
        pool.close().await;
    });
}

/// The other way to zero: an empty schema hears everything again, in another order, some of it twice.
#[test]
fn heard_again_from_zero_it_comes_to_the_same() {
    run(async {
        let mesh = mesh().setting("my.summary_cache_secs", 0_i64).start().await;
        noon(&mesh);
        let alice = mesh.persona("alice").await;
        let days = [-3, 0, -1, -7, -2, 0];
        let facts: Vec<_> = days
            .iter()
            .enumerate()
            .map(|(number, from_now)| {
                scan(&format!("task-{number}"), &alice, Category::General, &day(&mesh, *from_now))
            })
            .collect();
        for fact in &facts {
            tell(&mesh, &alice.user_id, fact).await;
        }
        counted(&mesh, &alice, 6).await;
        owns(&mesh, &alice, 1).await;
        let before = summary(&alice).await;
        for table in ["heard", "footprints", "categories", "streaks", "badges", "processed_events"] {
            mesh.db.execute(&format!("delete from my.{table}")).await;
        }
        // Histories refuse to be forgotten: a new one is of somebody who has none.
        let fresh = "alter table my.events disable trigger all; delete from my.events; alter table my.events enable trigger all;
                     delete from my.people";
        for statement in fresh.split(';') {
            mesh.db.execute(statement).await;
        }
        for place in [5, 1, 3, 0, 4, 2, 1, 5] {
            tell(&mesh, &alice.user_id, &facts[place]).await;
        }
        recycles(&mesh, &alice, Category::General, &day(&mesh, -30)).await;
        counted(&mesh, &alice, 7).await;
        let after = summary(&alice).await;
        assert_eq!(after["streak"], before["streak"]);
        assert_eq!(after["recycling"]["recycled"], 7);
    });
}
