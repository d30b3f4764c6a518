//! A message to a user, and what of two messages may be put together.

use std::sync::Arc;

use coreloop_core::UserId;
use coreloop_realtime_api::v1;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a message is (chapter 04), and the message that says what its `data` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The socket is open.
    SyncConnected,
    /// How things are now.
    InitialState,
    /// Fields of the user that have other values now.
    ProfileUpdate,
    /// Something was given.
    RewardGranted,
    /// Days in a row.
    StreakUpdate,
    /// How far an achievement is.
    AchievementProgress,
    /// Figures as they are now.
    StatsUpdate,
    /// Figures that moved.
    StatsDelta,
    /// Something the user did.
    UserAction,
    /// How far a purchase is.
    PurchaseUpdate,
    /// How far a mission is.
    MissionUpdate,
    /// How far the user is in an event.
    EventProgress,
    /// A round of the crash game.
    CrashRound,
    /// Something was put into the inbox.
    Notification,
    /// How far a scan is.
    ScanUpdate,
}

/// What may become of a message that waits when another of its kind comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// It stays as it is.
    Never,
    /// Only the latest counts of those whose field has one value; an empty name: of all.
    Latest(&'static str),
    /// The numbers of this object are added up.
    Sum(&'static str),
    /// The later values of this object go over the earlier.
    Overlay(&'static str),
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::SyncConnected,
        Self::InitialState,
        Self::ProfileUpdate,
        Self::RewardGranted,
        Self::StreakUpdate,
        Self::AchievementProgress,
        Self::StatsUpdate,
        Self::StatsDelta,
        Self::UserAction,
        Self::PurchaseUpdate,
        Self::MissionUpdate,
        Self::EventProgress,
        Self::CrashRound,
        Self::Notification,
        Self::ScanUpdate,
    ];

    /// The `type` on the wire, the full name of the message that is its `data`, and how two of it go together.
    fn row(self) -> (&'static str, &'static str, Merge) {
        use Merge::{Latest, Never, Overlay, Sum};
        match self {
            Self::SyncConnected => ("sync_connected", "coreloop.realtime.v1.SyncConnected", Never),
            Self::InitialState => ("initial_state", "coreloop.realtime.v1.InitialState", Never),
            Self::ProfileUpdate => ("profile_update", "coreloop.realtime.v1.ProfileUpdate", Overlay("changes")),
            Self::RewardGranted => ("reward_granted", "coreloop.realtime.v1.RewardGranted", Never),
            Self::StreakUpdate => ("streak_update", "coreloop.realtime.v1.StreakUpdate", Latest("action_type")),
            Self::AchievementProgress => {
                ("achievement_progress", "coreloop.realtime.v1.AchievementProgress", Latest("achievement_code"))
            }
            Self::StatsUpdate => ("stats_update", "coreloop.realtime.v1.StatsUpdate", Latest("")),
            Self::StatsDelta => ("stats_delta", "coreloop.realtime.v1.StatsDelta", Sum("deltas")),
            Self::UserAction => ("user_action", "coreloop.realtime.v1.UserAction", Never),
            Self::PurchaseUpdate => ("purchase_update", "coreloop.shop.v1.PurchaseUpdate", Latest("transaction_id")),
            Self::MissionUpdate => ("mission_update", "coreloop.realtime.v1.MissionUpdate", Latest("mission_id")),
            Self::EventProgress => ("event_progress", "coreloop.realtime.v1.EventProgress", Latest("event_id")),
            Self::CrashRound => ("crash_round", "coreloop.realtime.v1.CrashRound", Latest("round_id")),
            Self::Notification => ("notification", "coreloop.realtime.v1.Notification", Never),
            Self::ScanUpdate => ("scan_update", "coreloop.realtime.v1.ScanUpdate", Latest("task_id")),
        }
    }

    /// The `type` on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Full name of the message that says what `data` holds.
    #[must_use]
    pub fn described_by(self) -> &'static str {
        self.row().1
    }

    /// How two of it go together.
    #[must_use]
    pub fn merge(self) -> Merge {
        self.row().2
    }

    /// Clients of the old socket of games know it.
    #[must_use]
    pub fn is_of_games(self) -> bool {
        matches!(self, Self::SyncConnected | Self::CrashRound | Self::StatsUpdate | Self::StatsDelta | Self::UserAction)
    }
}

/// What is said: all of a message but its place. This is what stands in Redis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it says, as ProtoJSON of the message that describes it.
    pub data: Map<String, Value>,
    /// When what it tells of happened.
    pub timestamp: Timestamp,
}

/// A message in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Place among the messages of its user.
    pub seq: i64,
    /// The place before; 0 when nobody knows it. A message that stands for several has the first one's.
    pub prev: i64,
    /// What it says.
    pub said: Arc<Said>,
}

impl Message {
    /// As it goes to a client.
    #[must_use]
    pub fn told(&self, user: UserId) -> v1::SyncMessage {
        v1::SyncMessage {
            r#type: self.said.kind.name().to_owned(),
            user_id: user.to_string(),
            data: Some(structured(&self.said.data)),
            timestamp: Some(stamp(self.said.timestamp)),
            seq: self.seq,
        }
    }
}

/// A time as the contract has it.
#[must_use]
pub fn stamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// An object as the contract has it.
#[must_use]
pub fn structured(object: &Map<String, Value>) -> prost_types::Struct {
    let fields = object.iter().map(|(name, value)| (name.clone(), valued(value))).collect();
    prost_types::Struct { fields }
}

fn valued(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind as K;
    let kind = match value {
        Value::Null => K::NullValue(0),
        Value::Bool(yes) => K::BoolValue(*yes),
        // Whole numbers of messages are within 2^53 (`safe_integer`) or are written as text.
        Value::Number(number) => K::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => K::StringValue(text.clone()),
        Value::Array(values) => K::ListValue(prost_types::ListValue { values: values.iter().map(valued).collect() }),
        Value::Object(object) => K::StructValue(structured(object)),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use coreloop_transcode::descriptor;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_is_described_and_what_it_is_merged_by_is_there() {
        for kind in Kind::ALL {
            let described = descriptor::pool().get_message_by_name(kind.described_by());
            let described = described.unwrap_or_else(|| panic!("{} is not described", kind.name()));
            let field = match kind.merge() {
                Merge::Never => "",
                Merge::Latest(field) | Merge::Sum(field) | Merge::Overlay(field) => field,
            };
            assert!(field.is_empty() || described.get_field_by_name(field).is_some(), "{}: {field}", kind.name());
            assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.name()));
        }
    }

    #[test]
    fn a_message_is_told_as_the_contract_says() {
        let data = json!({"changes": {"gold": 7, "name": "가", "deep": [1, null, {"x": false}]}});
        let Value::Object(data) = data else { unreachable!() };
        let said = Said { kind: Kind::ProfileUpdate, data, timestamp: Timestamp::from_second(5).unwrap() };
        let message = Message { seq: 9, prev: 8, said: Arc::new(said) };
        let wire = prost::Message::encode_to_vec(&message.told(UserId(uuid::Uuid::nil())));
        let json = coreloop_transcode::message::to_json("coreloop.realtime.v1.SyncMessage", &wire).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let expected = json!({
            "type": "profile_update", "user_id": uuid::Uuid::nil(), "seq": 9, "timestamp": "1970-01-01T00:00:05Z",
            "data": {"changes": {"gold": 7, "name": "가", "deep": [1, null, {"x": false}]}},
        });
        // Numbers of a Struct are doubles; 7 and 7.0 are one number in JSON.
        assert_eq!(normal(&json), normal(&expected));
    }

    fn normal(value: &Value) -> Value {
        match value {
            Value::Number(number) => json!(number.as_f64()),
            Value::Array(values) => values.iter().map(normal).collect(),
            Value::Object(object) => object.iter().map(|(name, value)| (name.clone(), normal(value))).collect(),
            other => other.clone(),
        }
    }
}
