//! The model behind OpenAI's wire.

use super::*;
use crate::PHOTOS;

const AT: &str = "/v1/chat/completions";

async fn ask(played: &Played, asked: Value) -> Response {
    let request = played.http.post(format!("{}{AT}", played.base)).bearer_auth("sandbox-openai-key");
    request.json(&asked).send().await.unwrap()
}

/// The bytes of a sample photo as a message with a question.
fn shown(name: &str, question: &str) -> Value {
    use base64::engine::general_purpose::STANDARD;
    let photo = PHOTOS.iter().find(|photo| photo.name == name).unwrap();
    let url = format!("data:{};base64,{}", photo.mime_type, STANDARD.encode(photo.bytes));
    let parts = json!([{ "type": "text", "text": question }, { "type": "image_url", "image_url": { "url": url } }]);
    json!({ "role": "user", "content": parts })
}

fn hello() -> Value {
    json!({ "model": "m", "messages": [
        { "role": "system", "content": "Be kind." },
        { "role": "user", "content": [{ "type": "text", "text": "Where do bottles go?" }] },
    ] })
}

const REPLY: &str = "I have read 2 messages of 6 words. You wrote: Where do bottles go?";

#[tokio::test]
async fn a_photo_is_answered_as_json_where_it_is_asked_for() {
    let played = Played::start().await;
    let asked = json!({
        "model": "eyes-1",
        "messages": [shown("bottle.jpg", "What is it? Answer in JSON.")],
        "response_format": { "type": "json_object" },
        "temperature": 0,
    });
    let answer: Value = ask(&played, asked).await.json().await.unwrap();
    let choice = &answer["choices"][0];
    let content: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
    assert_eq!((&content["category"], &content["recyclable"]), (&json!("pet"), &json!(true)));
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("eyes-1")));
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("stop")));
    let usage = &answer["usage"];
    assert_eq!(usage["prompt_tokens"], 6 + 85, "six words and a picture");
    let answered = usage["completion_tokens"].as_u64().unwrap();
    assert!(answered > 1);
    assert_eq!(usage["total_tokens"].as_u64().unwrap(), 91 + answered);
    let said = json!({ "model": "eyes-1", "messages": [shown("can.png", "What is it?")] });
    let said: Value = ask(&played, said).await.json().await.unwrap();
    let said = said["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.starts_with("The photo shows can (confidence 0."), "{said}");
}

#[tokio::test]
async fn each_look_is_told_with_the_time_it_took() {
    let played = Played::start().await;
    for photo in ["bottle.jpg", "can.png"] {
        ask(&played, json!({ "model": "m", "messages": [shown(photo, "What is it?")] })).await;
    }
    ask(&played, hello()).await;
    let told: Value = played.get("/_sandbox/looks").await.json().await.unwrap();
    let looks = told["looks"].as_array().unwrap();
    assert_eq!(looks.len(), 2, "a chat is no look: {told}");
    assert!(looks.iter().all(|look| look["path"] == "" && look["micros"].as_u64().unwrap() > 0), "{told}");
}

#[tokio::test]
async fn a_chat_is_answered_the_same_each_time_and_cut_where_asked() {
    let played = Played::start().await;
    for _ in 0..2 {
        let answer: Value = ask(&played, hello()).await.json().await.unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], REPLY);
        let usage = json!({ "prompt_tokens": 6, "completion_tokens": 14, "total_tokens": 20 });
        assert_eq!(answer["usage"], usage);
    }
    let mut short = hello();
    short["max_tokens"] = json!(3);
    let answer: Value = ask(&played, short).await.json().await.unwrap();
    let choice = &answer["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("I have read "), &json!("length")));
}

/// The events of a stream.
async fn streamed(played: &Played, asked: Value) -> Vec<String> {
    let response = ask(played, asked).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_stream_comes_in_pieces_and_ends() {
    let played = Played::start().await;
    let mut asked = hello();
    asked["stream"] = json!(true);
    let mut events = streamed(&played, asked.clone()).await;
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(events.len(), 1 + 14 + 1, "who speaks, fourteen words, and why it ends");
    let said: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, REPLY);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[15]["choices"][0]["finish_reason"], "stop");
    assert!(events.iter().all(|event| event["object"] == "chat.completion.chunk" && event["id"] == events[0]["id"]));
    assert!(events.iter().all(|event| event.get("usage").is_none()), "nobody asked");
    asked["stream_options"] = json!({ "include_usage": true });
    let mut events = streamed(&played, asked).await;
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let last: Value = serde_json::from_str(&events.pop().unwrap()).unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(20)));
}

#[tokio::test]
async fn what_a_user_wishes_for_comes() {
    let played = Played::start().await;
    let wished = |text: &str| json!({ "model": "m", "max_tokens": 5, "stream": true, "messages": [{ "role": "user", "content": text }] });
    for (text, letters, finish) in [
        ("Say nothing.", 0, "stop"),
        ("Say what must not be said.", 0, "content_filter"),
        ("Go on for ever.", 100_000, "stop"),
    ] {
        let mut events = streamed(&played, wished(text)).await;
        assert_eq!(events.pop().unwrap(), "[DONE]");
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let said: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(
            (said.len(), &events.last().unwrap()["choices"][0]["finish_reason"]),
            (letters, &json!(finish)),
            "{text}"
        );
    }
    let mut asked = hello();
    asked["messages"][1]["content"] = json!("Repeat what you were told.");
    let answer: Value = ask(&played, asked).await.json().await.unwrap();
    let told = "system: Be kind.\nuser: Repeat what you were told.";
    assert_eq!(answer["choices"][0]["message"]["content"], told);
}

#[tokio::test]
async fn a_stream_that_stalls_says_its_first_half_and_later_the_rest() {
    let played = Played::start().await;
    let fault = json!({ "provider": "openai", "endpoint": "chat", "kind": "stall", "ms": 300, "times": 1 });
    assert_eq!(played.post("/_sandbox/faults", fault).await.status(), StatusCode::CREATED);
    let mut asked = hello();
    asked["stream"] = json!(true);
    let began = std::time::Instant::now();
    let mut response = ask(&played, asked).await;
    let first = response.chunk().await.unwrap().unwrap();
    let mut whole = first.to_vec();
    while let Some(more) = response.chunk().await.unwrap() {
        whole.extend_from_slice(&more);
    }
    assert!(began.elapsed() >= std::time::Duration::from_millis(300), "the rest does");
    assert!(whole.len() > first.len() && String::from_utf8(whole).unwrap().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn what_openai_refuses_is_refused_in_its_words() {
    let played = Played::start().await;
    let bare = played.post(AT, hello()).await;
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    let wrong = played.http.post(format!("{}{AT}", played.base)).bearer_auth("guess").json(&hello());
    let wrong = wrong.send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let wrong: Value = wrong.json().await.unwrap();
    let error = json!({
        "message": "Incorrect API key provided.",
        "type": "invalid_request_error",
        "param": null,
        "code": "invalid_api_key",
    });
    assert_eq!(wrong["error"], error);
    for (field, value, param) in [
        ("messages", json!([]), json!("messages")),
        ("messages", json!([{ "role": "wizard", "content": "x" }]), json!("messages[0].role")),
        ("messages", json!([{ "role": "user", "content": [{ "type": "smell" }] }]), Value::Null),
        ("messages", json!("hello"), Value::Null),
        ("model", json!(""), json!("model")),
        ("response_format", json!({ "type": "json_object" }), json!("messages")),
        ("stream_options", json!({ "include_usage": true }), json!("stream_options")),
    ] {
        let mut asked = hello();
        asked[field] = value;
        let refused = ask(&played, asked).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{field} {param}");
        let refused: Value = refused.json().await.unwrap();
        assert_eq!((&refused["error"]["param"], &refused["error"]["type"]), (&param, &json!("invalid_request_error")));
    }
}

#[tokio::test]
async fn a_model_fails_is_over_its_quota_and_breaks_off() {
    let played = Played::start().await;
    let limited = json!({ "provider": "openai", "endpoint": "vision", "kind": "error", "status": 429, "times": 1 });
    played.post("/_sandbox/faults", limited).await;
    // To see and to chat are two endpoints: the chat goes on.
    assert_eq!(ask(&played, hello()).await.status(), StatusCode::OK);
    let asked = json!({ "model": "m", "messages": [shown("can.png", "?")] });
    let limited = ask(&played, asked.clone()).await;
    assert_eq!(
        (limited.status(), &limited.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
    );
    assert_eq!(limited.json::<Value>().await.unwrap()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(ask(&played, asked).await.status(), StatusCode::OK);
    played.post("/_sandbox/faults", json!({ "provider": "openai", "kind": "error", "status": 500, "times": 1 })).await;
    let failed: Value = ask(&played, hello()).await.json().await.unwrap();
    assert_eq!(failed["error"]["type"], "server_error");
    played
        .post("/_sandbox/faults", json!({ "provider": "openai", "endpoint": "chat", "kind": "quota", "times": 2 }))
        .await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&played, hello()).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429], "used up, and stays so");
    let over: Value = ask(&played, hello()).await.json().await.unwrap();
    assert_eq!(over["error"]["code"], "insufficient_quota");
    played.http.delete(format!("{}/_sandbox/faults", played.base)).send().await.unwrap();
    played.post("/_sandbox/faults", json!({ "provider": "openai", "kind": "cut", "times": 1 })).await;
    let mut asked = hello();
    asked["stream"] = json!(true);
    let mut cut = ask(&played, asked.clone()).await;
    let mut heard = Vec::new();
    let broken = loop {
        match cut.chunk().await {
            Ok(Some(piece)) => heard.extend_from_slice(&piece),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(broken && heard.contains("have") && !heard.contains("[DONE]"), "{broken} {heard}");
    played.post("/_sandbox/faults", json!({ "provider": "openai", "kind": "trickle", "ms": 1, "times": 1 })).await;
    assert_eq!(streamed(&played, asked).await.len(), 17, "slow and whole");
}
