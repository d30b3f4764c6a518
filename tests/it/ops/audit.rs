//! The audit: what is asked is in it, it is found again, and who tampers with it shows.

use coreloop_testkit::{Persona, TestMesh, run};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// Tampers as somebody could who owns the tables.
pub async fn tamper(mesh: &TestMesh, sql: &str) {
    let mut connection = PgConnection::connect(&mesh.db.url()).await.unwrap();
    connection.execute("alter table ops.audits disable trigger user").await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.execute("alter table ops.audits enable trigger user").await.unwrap();
    connection.close().await.unwrap();
}

pub async fn seen(mesh: &TestMesh) -> Vec<String> {
    let pool = sqlx::PgPool::connect(&mesh.db.url()).await.unwrap();
    let seen = coreloop_ops::integrity::verify(&pool).await.unwrap();
    pool.close().await;
    seen.report.findings.into_iter().map(|finding| format!("{} {}", finding.what, finding.subject)).collect()
}

pub async fn pages(admin: &Persona, query: &str) -> Vec<Value> {
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/admin/audit?page_size=3&{query}&page_token={token}")).await.expect(200);
        rows.extend(page["rows"].as_array().cloned().unwrap_or_default());
        token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return rows;
        }
    }
}

/// `SearchAudit`, over a network between the services.
#[test]
fn what_administrators_do_is_found_again() {
    run(async {
        let mesh = TestMesh::builder().split().start().await;
        let (admin, other, alice) = (mesh.admin().await, mesh.admin().await, mesh.persona("alice").await);
        for queue in ["auth.one", "auth.two", "auth.one"] {
            admin.get(&format!("/admin/dlq/{queue}")).await.expect(200);
        }
        other.get("/admin/dlq/auth.one").await.expect(200);
        other.get("/admin/dlq/nobody.one").await.refused(404, "QUEUE_UNKNOWN");

        let listed = "action=ops.dead_letters.list";
        assert_eq!(pages(&admin, listed).await.len(), 10, "each act is two rows");
        let rows = pages(&admin, &format!("{listed}&actor={}&subject=auth.one", admin.user_id)).await;
        assert_eq!(rows.len(), 4);
        let places: Vec<i64> = rows.iter().map(|row| row["sequence"].as_i64().unwrap()).collect();
        assert!(places.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {places:?}");
        assert_eq!((&rows[0]["step"], &rows[1]["step"]), (&json!("done"), &json!("asked")));
        assert_eq!(rows[0]["act_id"], rows[1]["act_id"]);
        assert_eq!(rows[0]["hash"].as_str().unwrap().len(), 64);

        let failed = pages(&admin, "step=failed").await;
        assert_eq!(failed.len(), 1);
        assert_eq!((&failed[0]["actor"], &failed[0]["subject"]), (&json!(other.user_id), &json!("nobody.one")));
        let act = failed[0]["act_id"].as_str().unwrap();
        assert_eq!(pages(&admin, &format!("act_id={act}")).await.len(), 2);
        let request = failed[0]["request_id"].as_str().unwrap();
        assert_eq!(pages(&admin, &format!("request_id={request}")).await.len(), 2);
        let until = failed[0]["created_at"].as_str().unwrap();
        assert_eq!(pages(&admin, &format!("{listed}&until={until}&step=asked")).await.len(), 5);
        assert_eq!(pages(&admin, &format!("{listed}&from={until}")).await.len(), 1);

        // A token belongs to its search, and looking is in the audit too.
        let page = admin.get(&format!("/admin/audit?page_size=3&{listed}")).await.expect(200);
        let token = page["next_page_token"].as_str().unwrap();
        admin.get(&format!("/admin/audit?page_token={token}")).await.refused(400, "PAGE_TOKEN_INVALID");
        assert!(!pages(&admin, "action=ops.audit.search").await.is_empty());
        admin.get("/admin/audit?step=maybe").await.refused(400, "VALIDATION_FAILED");
        alice.get("/admin/audit").await.refused(403, "ROLE_REQUIRED");
        alice.visitor.get("/admin/audit").await.refused(401, "TOKEN_MISSING");
        assert_eq!(seen(&mesh).await, [""; 0]);
    });
}

#[test]
fn whoever_tampers_with_the_audit_shows() {
    run(async {
        let mesh = TestMesh::start().await;
        let admin = mesh.admin().await;
        for _ in 0..5 {
            admin.get("/admin/dlq/auth.one").await.expect(200);
        }
        assert_eq!(mesh.db.count("select count(*) from ops.audits").await, 10);
        assert_eq!(seen(&mesh).await, [""; 0]);
        tamper(&mesh, "update ops.audits set actor = 'somebody else' where seq = 4").await;
        assert_eq!(seen(&mesh).await, ["chain row 4"]);
        tamper(&mesh, &format!("update ops.audits set actor = '{}' where seq = 4", admin.user_id)).await;
        assert_eq!(seen(&mesh).await, [""; 0]);
        tamper(&mesh, "update ops.audits set detail = '{\"count\": 7}' where seq = 5").await;
        assert_eq!(seen(&mesh).await, ["chain row 5"]);
        tamper(&mesh, "delete from ops.audits where seq = 5").await;
        assert_eq!(seen(&mesh).await, ["gap row 5"]);
        // Who cuts off the end and puts the head right is known by what an earlier check noted.
        tamper(
            &mesh,
            "insert into ops.runs (id, job, subject, state, asked_by, asked_at, ended_at, sound, audit_seq, audit_hash)
             select gen_random_uuid(), 'integrity', 'ops.audit', 'done', 'schedule', now(), now(), true, seq, hash
               from ops.audit_head;
             delete from ops.audits where seq >= 4;
             update ops.audit_head set (seq, hash) = (select seq, hash from ops.audits order by seq desc limit 1)",
        )
        .await;
        assert_eq!(seen(&mesh).await, ["cut row 10"]);
    });
}
