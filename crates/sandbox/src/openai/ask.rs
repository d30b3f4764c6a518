//! What is asked of the model.

use serde::Deserialize;

use super::refusal::Refusal;

/// Most characters of a user's text that are repeated.
const MOST_REPEATED: usize = 1_000;
/// What a picture costs, in tokens: OpenAI's price of one at low detail.
const PICTURE_TOKENS: usize = 85;

/// A request for a completion. What is not here (temperature, seed, …) changes nothing.
#[derive(Debug, Deserialize)]
pub(crate) struct Ask {
    /// Name of the model; any.
    pub(super) model: String,
    messages: Vec<Message>,
    /// Whether the answer comes in pieces.
    #[serde(default)]
    pub(super) stream: bool,
    stream_options: Option<StreamOptions>,
    response_format: Option<Format>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Format {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    Text { text: String },
    ImageUrl { image_url: Address },
}

#[derive(Debug, Deserialize)]
struct Address {
    url: String,
}

/// What a user may wish for, so that a test can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// No text.
    Nothing,
    /// An end by the filter.
    Filtered,
    /// More than was allowed.
    Forever,
    /// All that was read.
    Repeat,
}

impl Message {
    fn texts(&self) -> Vec<&str> {
        match &self.content {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![text],
            Some(Content::Parts(parts)) => parts.iter().filter_map(Part::text).collect(),
        }
    }

    fn pictures(&self) -> Vec<&str> {
        match &self.content {
            Some(Content::Parts(parts)) => parts.iter().filter_map(Part::picture).collect(),
            _ => Vec::new(),
        }
    }
}

impl Part {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            Self::ImageUrl { .. } => None,
        }
    }

    fn picture(&self) -> Option<&str> {
        match self {
            Self::Text { .. } => None,
            Self::ImageUrl { image_url } => Some(&image_url.url),
        }
    }
}

impl Ask {
    /// What OpenAI refuses of a request that can be read.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.model.is_empty() {
            return Err(Refusal::invalid("you must provide a model parameter").of("model"));
        }
        if self.messages.is_empty() {
            let refusal = Refusal::invalid("Invalid 'messages': empty array. Expected an array with minimum length 1.");
            return Err(refusal.of("messages").code("empty_array"));
        }
        for (place, message) in self.messages.iter().enumerate() {
            if !["system", "developer", "user", "assistant", "tool"].contains(&message.role.as_str()) {
                let refusal = Refusal::invalid(format!("Invalid value: '{}'.", message.role));
                return Err(refusal.of(format!("messages[{place}].role")).code("invalid_value"));
            }
        }
        if self.stream_options.is_some() && !self.stream {
            let refusal = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(Refusal::invalid(refusal).of("stream_options"));
        }
        if self.wants_json() && !self.texts().any(|text| text.to_lowercase().contains("json")) {
            let refusal =
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";
            return Err(Refusal::invalid(refusal).of("messages"));
        }
        Ok(())
    }

    /// Whether the answer is to be a JSON object.
    pub(super) fn wants_json(&self) -> bool {
        self.response_format.as_ref().is_some_and(|format| format.kind == "json_object")
    }

    /// Whether a stream ends with the usage.
    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage)
    }

    /// Most words of the answer.
    pub(super) fn most_words(&self) -> usize {
        self.max_completion_tokens.or(self.max_tokens).unwrap_or(usize::MAX)
    }

    /// The last picture.
    pub(super) fn picture(&self) -> Option<&str> {
        self.messages.iter().flat_map(Message::pictures).next_back()
    }

    /// What was asked, in tokens.
    pub(super) fn tokens(&self) -> usize {
        let pictures = self.messages.iter().flat_map(Message::pictures).count();
        self.words().saturating_add(pictures.saturating_mul(PICTURE_TOKENS))
    }

    /// What is wished for instead of an answer.
    pub(super) fn wish(&self) -> Option<Wish> {
        match self.said().as_str() {
            "Say nothing." => Some(Wish::Nothing),
            "Say what must not be said." => Some(Wish::Filtered),
            "Go on for ever." => Some(Wish::Forever),
            "Repeat what you were told." => Some(Wish::Repeat),
            _ => None,
        }
    }

    /// The last text of the user.
    fn said(&self) -> String {
        let last = self.messages.iter().rev().find(|message| message.role == "user");
        last.map(|message| message.texts().join(" ")).unwrap_or_default()
    }

    /// The answer to a chat without a picture.
    pub(super) fn reply(&self) -> String {
        let said: String = self.said().chars().take(MOST_REPEATED).collect();
        let reply =
            format!("I have read {} messages of {} words. You wrote: {said}", self.messages.len(), self.words());
        if self.wants_json() { serde_json::json!({ "answer": reply }).to_string() } else { reply }
    }

    /// All that was read, a line a text, with who said it.
    pub(super) fn told(&self) -> String {
        let told = self.messages.iter().map(|message| format!("{}: {}", message.role, message.texts().join(" ")));
        told.collect::<Vec<_>>().join("\n")
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().flat_map(Message::texts)
    }

    fn words(&self) -> usize {
        self.texts().map(|text| text.split_whitespace().count()).sum()
    }
}
