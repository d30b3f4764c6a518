//! What the model is asked and what it streams, in OpenAI's form (<https://platform.openai.com/docs/api-reference/chat-streaming>).

use coreloop_outbound::Away;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Prompt;

/// Most tokens that are believed.
const MOST_TOKENS: i64 = 1_000_000;
/// What a stream ends with.
const DONE: &[u8] = b"[DONE]";

/// The request for an answer in pieces.
#[must_use]
pub fn question(model: &str, prompt: &Prompt, most_tokens: u32) -> Value {
    json!({
        "model": model,
        "messages": prompt.messages(),
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": most_tokens,
    })
}

/// A piece of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// More of the answer.
    pub text: String,
    /// Why it ends, as `stop`, `length` or `content_filter`; none while it goes on.
    pub finish: Option<String>,
    /// What was read and said, in tokens.
    pub usage: Option<(i64, i64)>,
    /// It was the last.
    pub last: bool,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

/// What the data of an event says.
///
/// # Errors
/// [`Away::Broken`] for what is no piece of such a stream, or an error in the middle of one.
pub fn piece(data: &[u8]) -> Result<Piece, Away> {
    if data == DONE {
        return Ok(Piece { last: true, ..Piece::default() });
    }
    let chunk: Chunk = serde_json::from_slice(data).map_err(|_| Away::Broken)?;
    if chunk.error.is_some() {
        return Err(Away::Broken);
    }
    let usage = chunk.usage.as_ref().and_then(tokens);
    let first = chunk.choices.into_iter().flatten().next();
    let Some(choice) = first else { return Ok(Piece { usage, ..Piece::default() }) };
    let text = choice.delta.and_then(|delta| delta.content).as_deref().map(clean).unwrap_or_default();
    Ok(Piece { text, finish: choice.finish_reason, usage, last: false })
}

fn tokens(usage: &Value) -> Option<(i64, i64)> {
    let of = |name: &str| usage.get(name)?.as_i64().map(|tokens| tokens.clamp(0, MOST_TOKENS));
    Some((of("prompt_tokens")?, of("completion_tokens")?))
}

/// Without what no text has: a database keeps no NUL, and nobody shows the others.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || ['\n', '\t'].contains(c)).collect()
}

#[derive(Deserialize)]
struct Refusal {
    error: Fault,
}

#[derive(Deserialize)]
struct Fault {
    code: Option<String>,
}

/// Whether the body of a refusal says that the model could not have the image. The text repeats the address: it is read by nobody.
#[must_use]
pub fn could_not_see(body: &[u8]) -> bool {
    let refusal = serde_json::from_slice::<Refusal>(body).ok();
    let code = refusal.and_then(|refusal| refusal.error.code).unwrap_or_default();
    ["invalid_image_url", "invalid_image_format", "image_parse_error", "image_too_large", "invalid_base64_image_url"]
        .contains(&code.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_says_text_end_and_usage() {
        let first = piece(
            br#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
        );
        assert_eq!(first.unwrap(), Piece::default());
        let more = piece(br#"{"choices":[{"delta":{"content":"a\u0000b\u001b\n"}}]}"#).unwrap();
        assert_eq!(more.text, "ab\n");
        let end = piece(br#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#).unwrap();
        assert_eq!((end.finish.as_deref(), end.last), (Some("length"), false));
        let usage = piece(br#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#);
        assert_eq!(usage.unwrap().usage, Some((7, 3)));
        assert!(piece(DONE).unwrap().last);
    }

    #[test]
    fn nonsense_is_no_stream_and_no_price() {
        for broken in
            ["", "null", "[]", "<html>", r#"{"error":{"message":"overloaded"}}"#, r#"{"choices":[{"delta":7}]}"#]
        {
            assert!(matches!(piece(broken.as_bytes()), Err(Away::Broken)), "{broken}");
        }
        for usage in [r#"{"prompt_tokens":"many"}"#, r#"{"prompt_tokens":1.5,"completion_tokens":1}"#, "7", "{}"] {
            let data = format!(r#"{{"choices":[],"usage":{usage}}}"#);
            assert_eq!(piece(data.as_bytes()).unwrap().usage, None, "{usage}");
        }
        let wild = piece(br#"{"choices":[],"usage":{"prompt_tokens":-5,"completion_tokens":9000000000000}}"#).unwrap();
        assert_eq!(wild.usage, Some((0, MOST_TOKENS)));
    }

    #[test]
    fn a_refusal_of_the_image_is_told_from_others() {
        assert!(could_not_see(br#"{"error":{"message":"Error while downloading","code":"invalid_image_url"}}"#));
        assert!(!could_not_see(br#"{"error":{"message":"no","code":null}}"#));
        assert!(!could_not_see(b"<html>"));
    }
}
