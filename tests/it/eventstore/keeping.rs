//! What was written stays, with who wrote it; and auth's history is such a one.

use std::sync::Arc;

use coreloop_core::id::SystemIds;
use coreloop_eventstore::{Aggregate, BoxError, Error, Event, EventStore, EventType, message};
use coreloop_facts::v1::{AuthUserLoggedIn as UserLoggedIn, AuthUserRegistered as UserRegistered};
use coreloop_service::{Call, Target, Trace};
use coreloop_testkit::{TestMesh, run};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::purse::{Happened, Purse, Stage, at};

#[test]
fn a_history_is_only_added_to_and_has_no_hole() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(120).await;
        let refusal = |code: &str, constraint: &str| (code.to_owned(), constraint.to_owned());
        for change in [
            "update wallet.events set payload = '{}'",
            "update wallet.events set created_at = now() where sequence_number = 1",
            "delete from wallet.events",
            "delete from wallet.events where sequence_number = 120",
            "truncate wallet.events cascade",
            "update wallet.snapshots set state = '{}'",
        ] {
            assert_eq!(stage.refused(change).await, refusal("23000", ""), "{change}");
        }
        let insert = |number: i64, id: &str| {
            format!(
                "insert into wallet.events values (gen_random_uuid(), 'purse', '{id}', {number}, 'x', '{{}}', '{{}}', now())"
            )
        };
        let (here, new) = (id.to_string(), Uuid::from_u128(1).to_string());
        for (number, id, constraint) in [
            (120, &here, ("23505", "events_sequence_key")),
            (1, &here, ("23505", "events_sequence_key")),
            (122, &here, ("23514", "events_no_gap")),
            (2, &new, ("23514", "events_no_gap")),
            (0, &new, ("23514", "events_sequence_positive")),
            (-5, &new, ("23514", "events_sequence_positive")),
        ] {
            assert_eq!(stage.refused(&insert(number, id)).await, refusal(constraint.0, constraint.1), "{number}");
        }
        assert_eq!(stage.load::<1>(id).await.unwrap().state().balance, 120);
        // Snapshots can be made again.
        stage.db.execute("delete from wallet.snapshots").await;
        assert_eq!(stage.load::<1>(id).await.unwrap().state().balance, 120);
        stage.pool.close().await;
    });
}

/// Whoever owns the tables can do anything; then the history does not read as if nothing had happened.
#[test]
fn a_hole_that_was_made_by_force_is_found() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(120).await;
        stage
            .db
            .execute(
                "alter table wallet.events disable trigger all; delete from wallet.events where sequence_number = 50",
            )
            .await;
        let mut connection = stage.pool.acquire().await.unwrap();
        let broken = stage.store.replay::<Purse>(&mut connection, id).await;
        assert!(matches!(broken, Err(Error::Broken { missing: 50, .. })));
        let broken = stage.store.verify::<Purse>(&mut connection, id).await;
        assert!(matches!(broken, Err(Error::Broken { missing: 50, .. })));
        drop(connection);
        stage.pool.close().await;
    });
}

#[test]
fn an_event_names_the_call_that_wrote_it_and_text_that_postgres_does_not_keep_is_refused() {
    run(async {
        let stage = Stage::set().await;
        let id = stage.purse(1).await;
        let mut loaded = stage.load::<1>(id).await.unwrap();
        let trace = Trace { trace_id: [0xab; 16], span_id: [1; 8], parent: None, sampled: true };
        let call = Call::new(HeaderValue::from_static("request-7"), trace, Arc::new(Target::default()), None);
        Arc::new(call).scope(stage.append(&mut loaded, &[Happened::Named("Ada".into())], at(5))).await.unwrap();
        let mut connection = stage.pool.acquire().await.unwrap();
        let told = stage.store.history::<Purse>(&mut connection, id, 0, 10).await.unwrap();
        assert_eq!((told[0].request_id.as_str(), told[0].trace_id.as_str()), ("", ""));
        assert_eq!((told[1].request_id.as_str(), told[1].trace_id.as_str()), ("request-7", "ab".repeat(16).as_str()));
        assert_eq!((told[1].sequence, told[1].at, told[1].id), (2, at(5), loaded.head().unwrap()));

        let refused = stage.append(&mut loaded, &[Happened::Named("a\0b".into())], at(6)).await;
        assert!(matches!(refused, Err(Error::Db(_))));
        let large = Happened::Named("x".repeat(coreloop_eventstore::MAX_PAYLOAD_BYTES));
        assert!(matches!(stage.append(&mut loaded, &[large], at(6)).await, Err(Error::TooLarge(_))));
        assert_eq!(stage.load::<1>(id).await.unwrap().version(), 2);
        drop(connection);
        stage.pool.close().await;
    });
}

/// An account as its history tells it, in the messages of auth's contract.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    registered_by: String,
    sign_ins: u32,
    other: u32,
}

#[derive(Debug)]
enum OfAccount {
    Registered(UserRegistered),
    LoggedIn(UserLoggedIn),
    Other,
}

impl Event for OfAccount {
    const TYPES: &'static [EventType] = &[
        EventType::new("auth.user_registered"),
        EventType::new("auth.user_logged_in"),
        EventType::new("auth.birth_date_declared"),
    ];

    fn event_type(&self) -> &'static str {
        "auth.birth_date_declared"
    }

    fn encode(&self) -> Result<Value, BoxError> {
        Ok(serde_json::json!({}))
    }

    fn decode(event_type: &str, payload: Value) -> Result<Self, BoxError> {
        Ok(match event_type {
            "auth.user_registered" => Self::Registered(message(&payload)?),
            "auth.user_logged_in" => Self::LoggedIn(message(&payload)?),
            _ => Self::Other,
        })
    }
}

impl Aggregate for Account {
    type Event = OfAccount;

    const TYPE: &'static str = "user";
    const SCHEMA: i32 = 1;

    fn apply(&mut self, event: &OfAccount) {
        match event {
            OfAccount::Registered(fact) => self.registered_by.clone_from(&fact.method),
            OfAccount::LoggedIn(fact) => self.sign_ins += u32::from(!fact.session_id.is_empty()),
            OfAccount::Other => self.other += 1,
        }
    }
}

#[test]
fn the_history_of_an_account_is_read_and_added_to_by_the_same_crate() {
    run(async {
        let mesh = TestMesh::start().await;
        let alice = mesh.persona("alice").await;
        alice.visitor.elsewhere().login().await;
        let id: Uuid = alice.user_id.parse().unwrap();
        let store = EventStore::over("auth", "auth_events").unwrap();
        let mut connection = mesh.db.connect().await;
        let account = store.load::<Account>(&mut connection, id).await.unwrap();
        let state = account.state();
        assert_eq!((state.registered_by.as_str(), state.sign_ins, state.other), ("password", 2, 0));
        assert_eq!(account.version(), 3);
        let first = &store.history::<Account>(&mut connection, id, 0, 1).await.unwrap()[0];
        assert!(!first.request_id.is_empty() && first.trace_id.len() == 32);

        let one = [OfAccount::Other];
        let refused = store.append_at::<Account>(&mut connection, (id, 2), &one, &SystemIds, at(0)).await;
        assert!(matches!(refused, Err(Error::Conflict { expected: 2, .. })));
        let refused = store.append_at::<Account>(&mut connection, (id, 4), &one, &SystemIds, at(0)).await;
        assert!(matches!(refused, Err(Error::Conflict { expected: 4, .. })));
        let mut account = account;
        store.append(&mut connection, &mut account, &one, &SystemIds, at(0)).await.unwrap();
        assert_eq!(store.verify::<Account>(&mut connection, id).await.unwrap().state().other, 1);
    });
}
