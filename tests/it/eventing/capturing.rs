//! The outbox as Debezium reads it: out of the WAL, through a publication and the plugin `pgoutput`.

use std::{collections::BTreeMap, time::Duration};

use coreloop_testkit::{run, wait::wait_for, wait_until};
use sqlx::PgConnection;

use super::stage::Stage;

/// A message of the logical replication protocol, version 1, walked through from its front.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(length);
        self.0 = tail;
        head
    }

    fn int16(&mut self) -> usize {
        usize::from(u16::from_be_bytes(self.take(2).try_into().unwrap()))
    }

    fn int32(&mut self) -> usize {
        usize::try_from(u32::from_be_bytes(self.take(4).try_into().unwrap())).unwrap()
    }

    fn text(&mut self) -> &'a str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = std::str::from_utf8(self.take(length)).unwrap();
        self.take(1);
        text
    }

    /// Names of the columns of a relation, after its tag.
    fn columns(&mut self) -> Vec<String> {
        self.int32();
        assert_eq!((self.text(), self.text()), ("auth", "outbox"));
        self.take(1);
        (0..self.int16())
            .map(|_| {
                self.take(1);
                let name = self.text().to_owned();
                self.take(8);
                name
            })
            .collect()
    }

    /// The values of a new row, after its tag.
    fn row(&mut self, columns: &[String]) -> BTreeMap<String, String> {
        self.int32();
        assert_eq!(self.take(1), b"N");
        let count = self.int16();
        assert_eq!(count, columns.len());
        columns
            .iter()
            .map(|name| {
                assert_eq!(self.take(1), b"t", "{name} is not text");
                let length = self.int32();
                (name.clone(), String::from_utf8(self.take(length).to_vec()).unwrap())
            })
            .collect()
    }
}

/// What the plugin has not told of yet.
async fn changes(connection: &mut PgConnection, slot: &str) -> Vec<Vec<u8>> {
    sqlx::query_scalar(
        "select data from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'outbox')",
    )
    .bind(slot)
    .fetch_all(connection)
    .await
    .unwrap()
}

/// Topic, key and number of a row, as the router of docs/events.md says.
fn routed(row: &BTreeMap<String, String>) -> (String, String, String) {
    let payload: serde_json::Value = serde_json::from_str(&row["payload"]).unwrap();
    assert!(!row["id"].is_empty());
    let topic = format!("events.{}.{}", row["aggregatetype"], row["type"]);
    (topic, row["aggregateid"].clone(), payload["session_id"].as_str().unwrap().to_owned())
}

#[test]
fn the_wal_tells_the_same_topics_keys_and_payloads_in_the_order_of_commits() {
    run(async {
        let mut stage = Stage::set().await;
        assert_eq!(
            stage.db.count("select count(*) from pg_settings where name = 'wal_level' and setting = 'logical'").await,
            1
        );
        let slot = format!("outbox_{}", stage.db.url().rsplit('/').next().unwrap());
        stage.db.execute("create publication outbox for table auth.outbox").await;
        // Gone with the connection, however the test ends: a slot that stays keeps its database and all WAL.
        let mut connection = stage.db.connect().await;
        sqlx::query("select pg_create_logical_replication_slot($1, 'pgoutput', true)")
            .bind(&slot)
            .execute(&mut connection)
            .await
            .unwrap();
        stage.options.relay = false;
        let worker = stage.relay().await;
        wait_until("commits wake nobody", Duration::from_secs(10), async || !stage.listening().await).await;

        let late = stage.write("late", &[1, 2]).await;
        stage.tell("early", &[1]).await;
        stage.write("never", &[1]).await.rollback().await.unwrap();
        late.commit().await.unwrap();

        // A commit that is not on disk yet is not told of.
        let (mut columns, mut told) = (Vec::new(), Vec::new());
        wait_for("all three are told of", Duration::from_secs(20), async || {
            for message in changes(&mut connection, &slot).await {
                let mut message = Message(&message);
                match message.take(1) {
                    b"R" => columns = message.columns(),
                    b"I" => told.push(routed(&message.row(&columns))),
                    _ => {}
                }
            }
            (told.len() >= 3).then_some(())
        })
        .await;
        drop(connection);
        let topic = "events.auth.user_logged_in";
        let expected = [("early", "1"), ("late", "1"), ("late", "2")];
        let expected: Vec<_> =
            expected.map(|(key, number)| (topic.to_owned(), key.to_owned(), number.to_owned())).into();
        assert_eq!(told, expected);
        assert_eq!(stage.published().await, 0, "the relay published, too");

        // Rows go when their time is over, also where nobody of ours has published them.
        worker.stop().await;
        stage.db.execute("update auth.outbox set created_at = created_at - interval '2 hours'").await;
        let _worker = stage.relay().await;
        wait_until("they are gone", Duration::from_secs(10), async || {
            stage.db.count("select count(*) from auth.outbox").await == 0
        })
        .await;
    });
}
