//! Settings of the section `chat`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use coreloop_service::Mode;
use secrecy::SecretString;
use serde::Deserialize;

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Where the model is, the base of an API of OpenAI's form; empty: there is none, and nothing can be said.
    pub model_url: String,
    /// Its name, where the API has several.
    pub model: String,
    /// Key of its API.
    pub api_key: Option<SecretString>,
    /// The model may look at images; else it is told what scan says of them.
    pub model_sees: bool,
    /// One answer gets this long, with all that is asked again, in milliseconds.
    pub model_timeout_ms: u64,
    /// A model that says nothing for so long is given up, in milliseconds.
    pub model_silence_ms: u64,
    /// Requests of one answer that may fail.
    pub model_tries: u32,
    /// Failures in a row after which the model is left alone.
    pub breaker_failures: u32,
    /// For how long, in seconds.
    pub breaker_secs: u32,
    /// Answers that are given at the same time, by all replicas.
    pub workers: u32,
    /// Most tokens of an answer.
    pub answer_tokens: u32,
    /// Most tokens that a user's answers may take a day (UTC).
    pub daily_tokens: i64,
    /// What an answer counts as until it is known what it took, in tokens.
    pub reserve_tokens: i64,
    /// Most messages that the model is told of a conversation.
    pub context_messages: u32,
    /// Most characters of them, beside the question.
    pub context_chars: u32,
    /// Conversations of a user.
    pub max_conversations: u32,
    /// Messages of a conversation, of both sides.
    pub max_messages: u32,
    /// Answers that may be open before people who say more are refused.
    pub max_open: u32,
    /// Answers of a user that may be open.
    pub max_open_of_user: u32,
    /// Streams that a user may have open, by replica.
    pub streams_per_user: u32,
    /// A stream says this often that there is nothing new, in seconds.
    pub heartbeat_secs: u32,
    /// Pieces of an answer are put together for so long before they are told, in milliseconds.
    pub piece_ms: u64,
    /// Pieces are kept for so long, in seconds.
    pub pieces_secs: u32,
    /// Redis gets this long for one answer, in milliseconds; what it does not say is done without.
    pub redis_timeout_ms: u64,
    /// Other services get this long for one answer, in milliseconds; while one is given, what they do not say is done without.
    pub neighbour_timeout_ms: u64,
    /// Time between two looks for answers that were lost, in seconds.
    pub sweep_secs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model_url: String::new(),
            model: "gpt-4o-mini".to_owned(),
            api_key: None,
            model_sees: true,
            model_timeout_ms: 60_000,
            model_silence_ms: 15_000,
            model_tries: 3,
            breaker_failures: 5,
            breaker_secs: 30,
            workers: 16,
            answer_tokens: 800,
            daily_tokens: 100_000,
            reserve_tokens: 4_000,
            context_messages: 20,
            context_chars: 16_000,
            max_conversations: 200,
            max_messages: 1_000,
            max_open: 5_000,
            max_open_of_user: 3,
            streams_per_user: 8,
            heartbeat_secs: 15,
            piece_ms: 50,
            pieces_secs: 600,
            redis_timeout_ms: 100,
            neighbour_timeout_ms: 2_000,
            sweep_secs: 60,
        }
    }
}

impl Options {
    /// Reads and checks the section.
    ///
    /// # Errors
    /// Every problem, with file and line or the variable's name.
    pub fn read(section: &Section, mode: Mode) -> Result<Self, Errors> {
        section.read_with(|options: &Self, report| {
            report.within("model_timeout_ms", options.model_timeout_ms, 100, 300_000);
            report.within("model_silence_ms", options.model_silence_ms, 50, 300_000);
            report.within("model_tries", options.model_tries, 1, 10);
            report.within("breaker_failures", options.breaker_failures, 1, 1_000_000);
            report.within("breaker_secs", options.breaker_secs, 1, 3_600);
            report.within("workers", options.workers, 1, 256);
            report.within("answer_tokens", options.answer_tokens, 1, 100_000);
            report.within("daily_tokens", options.daily_tokens, 1, 1_000_000_000);
            report.within("reserve_tokens", options.reserve_tokens, 1, 1_000_000);
            report.within("context_messages", options.context_messages, 0, 200);
            report.within("context_chars", options.context_chars, 0, 1_000_000);
            report.within("max_conversations", options.max_conversations, 1, 10_000);
            report.within("max_messages", options.max_messages, 2, 10_000);
            // Below what the queue takes, or the outbox would wait for it.
            report.within("max_open", options.max_open, 1, 9_000);
            report.within("max_open_of_user", options.max_open_of_user, 1, 100);
            report.within("streams_per_user", options.streams_per_user, 1, 1_000);
            report.within("heartbeat_secs", options.heartbeat_secs, 1, 60);
            report.within("piece_ms", options.piece_ms, 1, 10_000);
            report.within("pieces_secs", options.pieces_secs, 1, 86_400);
            report.within("redis_timeout_ms", options.redis_timeout_ms, 1, 10_000);
            report.within("neighbour_timeout_ms", options.neighbour_timeout_ms, 10, 10_000);
            report.within("sweep_secs", options.sweep_secs, 1, 3_600);
            if options.reserve_tokens > options.daily_tokens {
                report.refuse("reserve_tokens", "must not be above daily_tokens");
            }
            let url = options.model_url.parse::<url::Url>().ok();
            if !options.model_url.is_empty() && !url.is_some_and(|url| ["http", "https"].contains(&url.scheme())) {
                report.refuse("model_url", "must be an address of http or https");
            }
            if mode == Mode::Production && !options.model_url.is_empty() {
                report.require_secret("api_key", options.api_key.as_ref());
                if !options.model_url.starts_with("https://") {
                    report.refuse("model_url", "must be an https address");
                }
            }
        })
    }
}
