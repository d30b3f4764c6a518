//! What the database refuses, and what is found when it was gone around.

use coreloop_testkit::{TestMesh, run};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::stage::{Shop, reason, somebody};

/// The constraint that refuses `sql`.
async fn refused_by(connection: &mut PgConnection, sql: &str) -> String {
    let mut tx = connection.begin().await.unwrap();
    let refused = tx.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await;
    let error = refused.expect_err(sql);
    tx.rollback().await.unwrap();
    let error = error.as_database_error().unwrap();
    error.constraint().map_or_else(|| error.message().to_owned(), str::to_owned)
}

#[test]
fn the_database_refuses_books_that_do_not_add_up() {
    run(async {
        let mesh = TestMesh::start().await;
        let (shop, alice) = (Shop::of(&mesh).await, somebody());
        let posting = shop.grant(&alice, 10).await.unwrap().posting_id;
        let mut db = mesh.db.connect().await;
        let entry = |delta: i64, after: i64, seq: i64| {
            format!(
                "insert into wallet.entries values ('{alice}', 1, {seq}, '{posting}', {delta}, {after}, '\\x00', now())"
            )
        };
        let mint = "update wallet.accounts set balance = balance - 5, seq = seq + 1, hash = '\\x01'
                     where owner = '00000000-0000-0000-0000-000000000100' and currency = 1";
        let give = format!(
            "update wallet.accounts set balance = 15, free = 15, seq = 2, hash = '\\x00' where owner = '{alice}' and currency = 1"
        );
        let both = |after: i64, seq: i64| {
            format!("{}, ('00000000-0000-0000-0000-000000000100', 1, (select seq from wallet.accounts
            where owner = '00000000-0000-0000-0000-000000000100' and currency = 1), '{posting}', -5, -5, '\\x01', now())", entry(5, after, seq))
        };
        assert_eq!(reason(shop.spend(&alice, 1_000).await), "INSUFFICIENT_FUNDS");
        // It fits in all but that nothing was posted.
        let of_refused = format!(
            "update wallet.accounts set balance = -5, seq = 1, hash = '\\x01'
              where owner = '00000000-0000-0000-0000-000000000500' and currency = 1; {give};
             insert into wallet.entries (owner, currency, seq, posting, delta, balance_after, hash, posted_at)
             select v.owner::uuid, 1, v.seq, p.id, v.delta, v.after, v.hash::bytea, now() from wallet.postings p,
                    (values ('{alice}', 2, 5, 15, '\\x00'),
                            ('00000000-0000-0000-0000-000000000500', 1, -5, -5, '\\x01')) v(owner, seq, delta, after, hash)
              where p.kind = "
        );
        let row = |kind: i16| {
            format!(
                "insert into wallet.postings select gen_random_uuid(), {kind}, caller, 'another', actor, reason, reference,
                        body_hash, answer, id, posted_at from wallet.postings where id = '{posting}'"
            )
        };
        for (sql, by) in [
            (format!("{of_refused} 11"), "entries_posting"),
            (row(11), "postings_kind_known"),
            (row(12), "postings_kind_known"),
            (
                format!("update wallet.accounts set balance = -1, free = -1 where owner = '{alice}'"),
                "accounts_not_negative",
            ),
            (format!("update wallet.accounts set balance = 11 where owner = '{alice}'"), "accounts_funds"),
            (entry(5, 15, 2), "entries_balanced"),
            (format!("{give}; {}", entry(5, 15, 2)), "entries_balanced"),
            // Balanced, but the accounts do not follow.
            (both(15, 2), "entries_head"),
            (format!("{mint}; {give}; {}", both(16, 2)), "entries_head"),
            (format!("{mint}; {give}; {}", both(15, 3)), "entries_head"),
            (format!("update wallet.entries set delta = 11 where owner = '{alice}'"), "wallet.entries is append-only"),
            ("delete from wallet.postings".to_owned(), "wallet.postings is append-only"),
            ("truncate wallet.entries".to_owned(), "wallet.entries is append-only"),
        ] {
            assert_eq!(refused_by(&mut db, &sql).await, by, "{sql}");
        }
        assert!(shop.verify_integrity().await.sound);
    });
}

#[test]
fn what_was_changed_behind_the_books_is_found_at_its_first_line() {
    run(async {
        let mesh = TestMesh::start().await;
        let (shop, alice) = (Shop::of(&mesh).await, somebody());
        shop.grant(&alice, 100).await.unwrap();
        let mut postings = Vec::new();
        for amount in 1..=5 {
            postings.push(shop.spend(&alice, amount).await.unwrap().posting_id);
        }
        let held = shop.hold(&alice, 10).await.unwrap().posting_id;
        assert_eq!(reason(shop.spend(&alice, 1_000).await), "INSUFFICIENT_FUNDS");
        assert!(shop.verify_integrity().await.sound);
        let line = |seq: i64| format!("where owner = '{alice}' and currency = 1 and seq = {seq}");
        let (second, last) = (&postings[1], &postings[4]);
        // What is done as superuser, past every trigger; what is found; at which entry.
        let doings = [
            (format!("update wallet.entries set delta = -1, balance_after = 98 {}", line(3)), "chain", 3),
            (format!("update wallet.entries set posted_at = posted_at - interval '1 second' {}", line(3)), "chain", 3),
            (format!("update wallet.entries set hash = '\\x00' {}", line(3)), "chain", 3),
            (format!("update wallet.postings set reason = 'nothing' where id = '{second}'"), "chain", 3),
            (format!("update wallet.postings set actor = 'nobody' where id = '{second}'"), "chain", 3),
            (format!("delete from wallet.postings where id = '{second}'"), "orphan", 3),
            (format!("update wallet.postings set kind = 11 where id = '{second}'"), "refused", 3),
            ("update wallet.postings set kind = 2 where kind = 11".to_owned(), "orphan", 0),
            (format!("delete from wallet.entries {}", line(3)), "sequence", 4),
            (format!("delete from wallet.entries where posting = '{held}'"), "sequence", 7),
            (
                format!("update wallet.accounts set balance = 76, free = 76 where owner = '{alice}' and currency = 1"),
                "balance",
                0,
            ),
            (
                format!("update wallet.accounts set free = 70, expiring = 5 where owner = '{alice}' and currency = 1"),
                "funds",
                0,
            ),
            ("update wallet.holds set amount = 11".to_owned(), "holds", 0),
            (format!("update wallet.entries set delta = delta * 1, posting = '{last}' {}", line(3)), "chain", 3),
        ];
        for (sql, what, seq) in doings {
            let mut db = mesh.db.connect().await;
            db.execute("create schema kept; create table kept.entries as table wallet.entries; create table kept.postings as table wallet.postings;
                        create table kept.accounts as table wallet.accounts; create table kept.holds as table wallet.holds").await.unwrap();
            db.execute("set session_replication_role = replica").await.unwrap();
            db.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.as_str()))).await.unwrap();
            let report = shop.verify_integrity().await;
            assert!(!report.sound, "{sql}");
            let found: Vec<_> = report.findings.iter().map(|found| (found.what.as_str(), found.sequence)).collect();
            assert!(found.contains(&(what, seq)), "{sql}: {found:?}");
            let back = ["entries", "postings", "accounts", "holds"].map(|table| {
                format!("delete from wallet.{table}; insert into wallet.{table} select * from kept.{table};")
            });
            db.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(back.concat()))).await.unwrap();
            db.execute("drop schema kept cascade").await.unwrap();
            assert!(shop.verify_integrity().await.sound, "{sql}: as it was");
        }
    });
}
