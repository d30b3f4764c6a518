//! People who say something, and those who follow what is answered.

use coreloop_testkit::{
    Answer, Persona, Shared, TestMesh,
    mesh::Builder,
    rest::Open,
    wait::{PATIENCE, wait_for, wait_until, within},
};
use http::Method;
use serde_json::{Value, json};

use crate::eco::stage::{self, LONG};

/// Path of all conversations.
pub const CONVERSATIONS: &str = "/api/v1/chat/conversations";

/// Two replicas that the tests of this folder share: each test has people of its own.
pub static MESH: Shared<TestMesh> = Shared::new(|| Box::pin(mesh().split().replicas(2).start()));

/// A mesh with chat and its neighbours. On a busy machine everything may answer late, and is not away for that.
pub fn mesh() -> Builder {
    stage::mesh()
        .modules(&["character", "chat", "image", "scan"])
        .setting("chat.model_timeout_ms", 200_000_i64)
        .setting("chat.model_silence_ms", 100_000_i64)
        .setting("chat.redis_timeout_ms", 10_000_i64)
}

/// A conversation of somebody.
#[derive(Debug, Clone)]
pub struct Talk {
    /// Whose.
    pub who: Persona,
    /// Id.
    pub id: String,
}

impl Talk {
    /// A new one.
    pub async fn of(who: &Persona) -> Self {
        let begun = who.post(CONVERSATIONS, &json!({"title": "Bottles"})).await.expect(200);
        let id = begun["conversation"]["conversation_id"].as_str().expect("an id").to_owned();
        Self { who: who.clone(), id }
    }

    /// As somebody sees it at another address, or somebody else.
    pub fn by(&self, who: &Persona) -> Self {
        Self { who: who.clone(), id: self.id.clone() }
    }

    /// Its path, and what is behind it.
    pub fn path(&self, rest: &str) -> String {
        format!("{CONVERSATIONS}/{}{rest}", self.id)
    }

    /// Says something.
    pub async fn say(&self, body: &Value) -> Answer {
        self.who.post(&self.path("/messages"), body).await
    }

    /// Says a text; the answer that is to be given.
    pub async fn said(&self, text: &str) -> Value {
        self.say(&json!({"text": text})).await.expect(202)["answer"].clone()
    }

    /// Says a text and waits for the answer, which comes.
    pub async fn answered(&self, text: &str) -> Value {
        let answer = self.ended(&self.said(text).await).await;
        assert_eq!(answer["state"], "MESSAGE_STATE_DONE", "{answer}");
        answer
    }

    /// Says a text and waits for the answer, which comes to nothing.
    pub async fn failed(&self, text: &str, reason: &str) -> Value {
        let answer = self.ended(&self.said(text).await).await;
        came_to_nothing(&answer, reason);
        answer
    }

    /// Has an answer given again.
    pub async fn again(&self, answer: &Value) -> Answer {
        self.who.post(&self.path(&format!("/messages/{}/retry", id(answer))), &json!({})).await
    }

    /// The messages, newest first.
    pub async fn messages(&self) -> Vec<Value> {
        let page = self.who.get(&self.path("/messages?page_size=200")).await.expect(200);
        page["messages"].as_array().expect("messages").clone()
    }

    /// A message as it is now.
    pub async fn message(&self, of: &Value) -> Value {
        let found = self.messages().await.into_iter().find(|message| message["message_id"] == of["message_id"]);
        found.unwrap_or_else(|| panic!("{of} is not there"))
    }

    /// An answer at its end.
    pub async fn ended(&self, answer: &Value) -> Value {
        wait_for(format!("the end of {answer}"), LONG, async || {
            Some(self.message(answer).await).filter(|message| message["state"] != "MESSAGE_STATE_PENDING")
        })
        .await
    }

    /// Opens a stream of server-sent events.
    pub async fn open(&self, query: &str) -> Listener {
        let call = self.who.call(Method::GET, &self.path(&format!("/stream?{query}")));
        Listener(call.header("accept", "text/event-stream").within(PATIENCE).open().await)
    }

    /// Follows an answer, and has heard that it is being given.
    pub async fn follow(&self, answer: &Value) -> Listener {
        let mut listener = self.open(&format!("message_id={}", id(answer))).await;
        let opened = listener.next().await;
        assert_eq!((kind(&opened), &opened["message"]["message_id"]), ("OPENED", &answer["message_id"]), "{opened}");
        listener
    }

    /// Waits until it can be read again, by whoever was killed.
    pub async fn there(&self) {
        wait_until("chat answers", LONG, async || self.who.get(&self.path("/messages")).await.status == 200).await;
    }

    /// Deletes it.
    pub async fn delete(&self) -> Answer {
        self.who.delete(&self.path("")).await
    }
}

/// Somebody who follows an answer.
#[derive(Debug)]
pub struct Listener(Open);

impl Listener {
    /// What is heard next, or the error that ends the stream; heartbeats are left out. Null: it has ended.
    pub async fn next(&mut self) -> Value {
        within("something of an answer", LONG, async {
            loop {
                let Some(event) = self.0.until(b"\n\n").await.expect("the stream goes on") else { return Value::Null };
                let text = String::from_utf8(event).expect("text");
                let Some(data) = text.lines().find_map(|line| line.strip_prefix("data:")) else { continue };
                let data: Value = serde_json::from_str(data).expect("JSON");
                if data["kind"] != "STREAM_KIND_HEARTBEAT" {
                    return data;
                }
            }
        })
        .await
    }

    /// The next piece: what it says, and where it is.
    pub async fn piece(&mut self) -> (String, String) {
        let heard = self.next().await;
        assert_eq!(kind(&heard), "PIECE", "{heard}");
        let of = |name: &str| heard[name].as_str().expect("a text").to_owned();
        (of("text"), of("position"))
    }

    /// All that is left: what the pieces say since the answer began anew last, how often it did, and the message that it ends with.
    pub async fn rest(mut self) -> Rest {
        let mut rest = Rest::default();
        loop {
            let heard = self.next().await;
            match kind(&heard) {
                "PIECE" => {
                    rest.pieces += 1;
                    rest.text.push_str(heard["text"].as_str().expect("a text"));
                }
                "RESTARTED" => {
                    rest.restarted += 1;
                    rest.text.clear();
                }
                "DONE" | "FAILED" => {
                    rest.message = heard["message"].clone();
                    assert_eq!(self.next().await, Value::Null, "the stream ends");
                    return rest;
                }
                _ => panic!("{heard}"),
            }
        }
    }
}

/// The end of a stream.
#[derive(Debug, Default)]
pub struct Rest {
    /// What the pieces say.
    pub text: String,
    /// How many they were.
    pub pieces: usize,
    /// How often the answer began anew.
    pub restarted: usize,
    /// What it ended with.
    pub message: Value,
}

/// What is told, without its prefix.
pub fn kind(heard: &Value) -> &str {
    heard["kind"].as_str().unwrap_or_default().trim_start_matches("STREAM_KIND_")
}

/// Id of a message.
pub fn id(message: &Value) -> &str {
    message["message_id"].as_str().expect("an id")
}

/// Text of a message.
pub fn text(message: &Value) -> &str {
    message["text"].as_str().expect("a text")
}

/// Asserts how an answer came to nothing.
#[track_caller]
pub fn came_to_nothing(answer: &Value, reason: &str) {
    let seen = (&answer["state"], &answer["failure"], &answer["text"]);
    assert_eq!(seen, (&json!("MESSAGE_STATE_FAILED"), &json!(reason), &json!("")), "{answer}");
}

/// How many messages the model says that it has read.
#[track_caller]
pub fn read(answer: &Value) -> u64 {
    let said = text(answer).strip_prefix("I have read ").and_then(|rest| rest.split(' ').next());
    said.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// Switches a fault of the model on.
pub async fn fault(mesh: &TestMesh, change: Value) {
    let mut fault = json!({"provider": "openai", "endpoint": "chat"});
    for (name, value) in change.as_object().expect("a fault") {
        fault[name] = value.clone();
    }
    mesh.stand_ins.as_ref().expect("stand-ins").fault(&fault).await;
}

/// Switches every fault off.
pub async fn mended(mesh: &TestMesh) {
    mesh.stand_ins.as_ref().expect("stand-ins").rest().delete("/_sandbox/faults").send().await;
}

/// How often the model was asked.
pub async fn asked(mesh: &TestMesh) -> u64 {
    mesh.stand_ins.as_ref().expect("stand-ins").requests("openai/chat").await
}

/// Facts of a kind that were told of an answer.
pub async fn told(mesh: &TestMesh, event: &str, answer: &Value) -> i64 {
    let of = format!("aggregatetype = 'chat' and type = '{event}' and payload ->> 'message_id' = '{}'", id(answer));
    mesh.db.count(&format!("select count(*) from chat.outbox where {of}")).await
}

/// Facts of a kind that were told of a conversation.
pub async fn told_of(mesh: &TestMesh, event: &str, talk: &Talk) -> i64 {
    let of = format!("aggregatetype = 'chat' and type = '{event}' and aggregateid = '{}'", talk.id);
    mesh.db.count(&format!("select count(*) from chat.outbox where {of}")).await
}

/// One answer that is there: told, in its history, and paid for, each once; asked for so often.
pub async fn is_once(mesh: &TestMesh, answer: &Value, attempts: i64) {
    assert_eq!((&answer["state"], &answer["attempt"]), (&json!("MESSAGE_STATE_DONE"), &json!(attempts)), "{answer}");
    assert_eq!(
        (told(mesh, "message_asked", answer).await, told(mesh, "message_answered", answer).await),
        (attempts, 1)
    );
    let events = format!(
        "select count(*) from chat.events where event_type = 'chat.message_answered' and payload ->> 'message_id' = '{}'",
        id(answer)
    );
    assert_eq!(mesh.db.count(&events).await, 1, "{answer}");
    let unpaid = format!(
        "select count(*) from chat.messages where id = '{}' and (reserved <> 0 or answer_tokens = 0 or prompt_tokens = 0)",
        id(answer)
    );
    assert_eq!(mesh.db.count(&unpaid).await, 0, "{answer}");
}

/// What somebody's answers have taken, beside what they are known to have taken.
pub async fn owed(mesh: &TestMesh, who: &Persona) -> i64 {
    // In one statement: others of theirs may end meanwhile.
    let user = &who.user_id;
    let owed = format!(
        "select (select coalesce(sum(tokens), 0)::bigint from chat.usage where user_id = '{user}')
              - (select coalesce(sum(prompt_tokens + answer_tokens), 0)::bigint from chat.messages where user_id = '{user}')"
    );
    mesh.db.count(&owed).await
}

/// Rows that hold a text, in what is not the table of messages.
pub async fn leaked(mesh: &TestMesh, text: &str) -> i64 {
    let mut rows = 0;
    for (table, column) in
        [("outbox", "payload"), ("events", "payload"), ("snapshots", "state"), ("processed_events", "result")]
    {
        rows += mesh.db.count(&format!("select count(*) from chat.{table} where {column}::text like '%{text}%'")).await;
    }
    rows + mesh
        .db
        .count(&format!("select count(*) from chat.held_events where convert_from(payload, 'utf8') like '%{text}%'"))
        .await
}

/// Commands and events that were set aside, in a state.
pub async fn held(mesh: &TestMesh, state: &str) -> i64 {
    mesh.db.count(&format!("select count(*) from chat.held_events where state = '{state}'")).await
}

/// For what is to be longer than a test.
pub const FOREVER_MS: u64 = 120_000;
