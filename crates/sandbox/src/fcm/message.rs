//! A message, held to what FCM holds it to.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Most bytes of names and values of the data.
const MOST_DATA: usize = 4_096;
/// Lengths of a device's token.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=4_096;

/// The message of a request.
///
/// # Errors
/// What FCM says of it.
pub(super) fn read(body: &[u8]) -> Result<Value, Refusal> {
    let asked: Value =
        serde_json::from_slice(body).map_err(|_| Refusal::Invalid("", "Invalid JSON payload received."))?;
    let Some(message) = asked.get("message").and_then(Value::as_object) else {
        return Err(Refusal::Invalid("message", "The message is missing."));
    };
    let targets = ["token", "topic", "condition"].iter().filter(|target| message.contains_key(**target)).count();
    if targets != 1 {
        return Err(Refusal::Invalid("message", "Exactly one of token, topic or condition is required"));
    }
    data(message)?;
    for field in ["title", "body"] {
        let text = message.get("notification").and_then(|shown| shown.get(field));
        if text.is_some_and(|text| !text.is_string()) {
            return Err(Refusal::Invalid("message.notification", "Invalid value (TYPE_STRING)"));
        }
    }
    let ttl = message.get("android").and_then(|android| android.get("ttl"));
    let is_ttl =
        |ttl: &Value| ttl.as_str().and_then(|ttl| ttl.strip_suffix('s')).is_some_and(|ttl| ttl.parse::<f64>().is_ok());
    if ttl.is_some_and(|ttl| !is_ttl(ttl)) {
        return Err(Refusal::Invalid("message.android.ttl", "Illegal duration format; duration must end with 's'"));
    }
    if let Some(token) = message.get("token") {
        device(token.as_str().unwrap_or_default())?;
    }
    Ok(Value::Object(message.clone()))
}

fn data(message: &Map<String, Value>) -> Result<(), Refusal> {
    let Some(data) = message.get("data") else { return Ok(()) };
    let invalid = Refusal::Invalid("message.data", "Invalid value (TYPE_STRING)");
    let Some(data) = data.as_object() else { return Err(invalid) };
    let mut bytes = 0;
    for (name, value) in data {
        let Some(value) = value.as_str() else { return Err(invalid) };
        if name == "from" || name == "message_type" || name.starts_with("google.") || name.starts_with("gcm.") {
            return Err(Refusal::Invalid("message.data", "Invalid data payload key: it is reserved"));
        }
        bytes += name.len() + value.len();
    }
    if bytes > MOST_DATA { Err(Refusal::Invalid("message", "Message too big")) } else { Ok(()) }
}

/// What becomes of a device, by its token.
fn device(token: &str) -> Result<(), Refusal> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_:.%-".contains(letter);
    if !TOKEN.contains(&token.len()) || !token.chars().all(plain) || token.contains("malformed") {
        return Err(Refusal::Invalid("", "The registration token is not a valid FCM registration token"));
    }
    if token.contains("unregistered") {
        return Err(Refusal::Unregistered);
    }
    if token.contains("stranger") {
        return Err(Refusal::Stranger);
    }
    Ok(())
}
