//! Settings of the section `scan`: defaulted, documented, checked before the process starts.

use coreloop_config::{Errors, Section};
use coreloop_service::Mode;
use secrecy::SecretString;
use serde::Deserialize;

/// Who classifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Worker {
    /// This service, by a model over HTTP. Where no model is set photos wait.
    #[default]
    Builtin,
    /// Workers outside of the mesh, who ask for jobs.
    External,
}

/// How a model is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// As OpenAI's chat completions.
    #[default]
    Openai,
    /// As a plain classifier.
    Plain,
}

/// Settings of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Who classifies.
    pub worker: Worker,
    /// Every photo that is registered is classified; else those that somebody asks for.
    pub auto_classify: bool,
    /// Where the model is: the base of an API of OpenAI's form, the whole address of a plain classifier; empty: there is none.
    pub model_url: String,
    /// How it is spoken to.
    pub model_style: Style,
    /// Its name, where the API has several.
    pub model: String,
    /// Key of its API.
    pub api_key: Option<SecretString>,
    /// One look at a photo gets this long, with all that is asked again, in milliseconds.
    pub model_timeout_ms: u64,
    /// Requests of one look that may fail.
    pub model_tries: u32,
    /// Photos that are looked at at the same time, by all replicas.
    pub workers: u32,
    /// Failures in a row after which the model is left alone.
    pub breaker_failures: u32,
    /// For how long, in seconds.
    pub breaker_secs: u32,
    /// A result that is less sure is kept and earns nothing.
    pub min_confidence: f64,
    /// Commands that are on their way at the same time; what is more waits in the table.
    pub ahead: u32,
    /// Tasks that may be open before people who ask for more are refused.
    pub max_open: u32,
    /// How long a worker outside of the mesh has a job where it does not say, in seconds.
    pub lease_secs: u32,
    /// How often a job is given to such a worker before it is given up.
    pub max_pulls: u32,
    /// Time between two looks for what was lost or given up, in seconds.
    pub sweep_secs: u32,
    /// Redis gets this long for one answer, in milliseconds; what it does not say is read from Postgres.
    pub redis_timeout_ms: u64,
    /// Addresses of photos may be http, and of hosts that only this network knows. For tests; refused in production.
    pub private_urls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            worker: Worker::default(),
            auto_classify: true,
            model_url: String::new(),
            model_style: Style::default(),
            model: "gpt-4o-mini".to_owned(),
            api_key: None,
            model_timeout_ms: 50_000,
            model_tries: 3,
            workers: 4,
            breaker_failures: 5,
            breaker_secs: 30,
            min_confidence: 0.6,
            ahead: 64,
            max_open: 10_000,
            lease_secs: 120,
            max_pulls: 5,
            sweep_secs: 60,
            redis_timeout_ms: 100,
            private_urls: false,
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
            report.within("model_tries", options.model_tries, 1, 10);
            report.within("workers", options.workers, 1, 64);
            report.within("breaker_failures", options.breaker_failures, 1, 1_000_000);
            report.within("breaker_secs", options.breaker_secs, 1, 3_600);
            report.within("min_confidence", options.min_confidence, 0.0, 1.0);
            // Below what the queue takes, or the outbox would wait for it.
            report.within("ahead", options.ahead, 1, 5_000);
            report.within("max_open", options.max_open, 1, 1_000_000);
            report.within("lease_secs", options.lease_secs, 1, 3_600);
            report.within("max_pulls", options.max_pulls, 1, 1_000);
            report.within("sweep_secs", options.sweep_secs, 1, 3_600);
            report.within("redis_timeout_ms", options.redis_timeout_ms, 1, 10_000);
            let url = options.model_url.parse::<url::Url>().ok();
            if !options.model_url.is_empty() && !url.is_some_and(|url| ["http", "https"].contains(&url.scheme())) {
                report.refuse("model_url", "must be an address of http or https");
            }
            if mode == Mode::Production {
                if options.private_urls {
                    report.refuse("private_urls", "must be off");
                }
                if !options.model_url.is_empty() {
                    report.require_secret("api_key", options.api_key.as_ref());
                    if !options.model_url.starts_with("https://") {
                        report.refuse("model_url", "must be an https address");
                    }
                }
            }
        })
    }

    /// This service has photos classified by itself.
    #[must_use]
    pub fn classifies(&self) -> bool {
        self.worker == Worker::Builtin && !self.model_url.is_empty()
    }
}
