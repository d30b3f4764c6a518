//! Every service has the tables that the crate works with.

use coreloop_testkit::{TestMesh, run};

/// What the tables of a schema look like, constraints, indexes, triggers and the function that wakes the relay included.
/// Postgres quotes a schema that is a word of its own, as `character`.
const SHAPE: &str = r#"
    with named as (select oid, relname from pg_class where relnamespace = $1::text::regnamespace
                   and relname in ('outbox', 'outbox_relay', 'outbox_listening', 'processed_events', 'held_events'))
    select relname || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || attidentity::text
           || ' ' || coalesce(pg_get_expr(adbin, adrelid), '')
      from named join pg_attribute on attrelid = named.oid and attnum > 0
      left join pg_attrdef on adrelid = attrelid and adnum = attnum
    union all
    select relname || ': ' || conname || ' ' || pg_get_constraintdef(c.oid) from named join pg_constraint c on conrelid = named.oid
    union all
    select relname || ': ' || regexp_replace(pg_get_indexdef(indexrelid), '"?' || $1::text || '"?[.]', '', 'g') from named join pg_index on indrelid = named.oid
    union all
    select relname || ': ' || regexp_replace(pg_get_triggerdef(t.oid), '"?' || $1::text || '"?[.]', '', 'g') from named join pg_trigger t on tgrelid = named.oid
    union all
    select 'in order: ' || string_agg(attname, ' ' order by attnum)
      from named join pg_attribute on attrelid = named.oid where relname = 'outbox' and attname in ('xid', 'seq')
    union all
    select replace(prosrc, $1::text, '') from pg_proc where pronamespace = $1::text::regnamespace and proname = 'outbox_wake'
    order by 1"#;

#[test]
fn every_schema_with_an_outbox_has_the_tables_of_the_crate() {
    run(async {
        let mesh = TestMesh::start().await;
        let tables = include_str!("../../../crates/eventing/tables.sql").replace("{{schema}}", "model");
        mesh.db.execute("create schema model").await;
        mesh.db.execute(&tables).await;
        let mut connection = mesh.db.connect().await;
        let schemas: Vec<String> = sqlx::query_scalar(
            "select nspname::text from pg_namespace n where exists (
                 select from pg_class where relnamespace = n.oid and relname = 'outbox')",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert!(schemas.contains(&"auth".to_owned()), "{schemas:?}");
        let mut shapes = Vec::new();
        for schema in ["model".to_owned()].into_iter().chain(schemas) {
            let shape: Vec<String> = sqlx::query_scalar(SHAPE).bind(&schema).fetch_all(&mut connection).await.unwrap();
            shapes.push((schema, shape));
        }
        for (schema, shape) in &shapes {
            assert_eq!(shape, &shapes[0].1, "{schema} is not as crates/eventing/tables.sql");
        }
    });
}
