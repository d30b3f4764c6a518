//! What the stand-ins hold. Everything is bounded.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coreloop_core::{Clock, SystemClock};

use crate::{
    Error, Options,
    fault::Faults,
    fcm::Pushes,
    grant::{Access, Store},
    mail::Mailbox,
    openai::Looking,
    options::Client,
    payment::Payments,
    persona::Personas,
    s3::Storage,
    signing::Keys,
    traces::Traces,
    vendor::Orders,
};

/// The state that every handler shares.
#[derive(Debug)]
pub(crate) struct State {
    /// Settings.
    pub(crate) options: Options,
    /// Signing keys of Google.
    pub(crate) keys: Keys,
    /// Switched faults and counters.
    pub(crate) faults: Faults,
    /// Accepted mail.
    pub(crate) mail: Mailbox,
    /// What the vendor of vouchers knows.
    pub(crate) orders: Orders,
    /// Collected traces.
    pub(crate) traces: Traces,
    /// Payments.
    pub(crate) payments: Payments,
    /// Messages that were pushed.
    pub(crate) pushes: Pushes,
    /// The S3 store.
    pub(crate) storage: Storage,
    /// The vision model's eyes.
    pub(crate) looking: Looking,
    /// For webhooks, and for photos that the vision model is pointed to.
    pub(crate) http: reqwest::Client,
    /// Wall time. A third party's clock is not ours to move, so it is the machine's.
    pub(crate) clock: SystemClock,
    personas: Mutex<Personas>,
    codes: Mutex<Store<crate::grant::Code>>,
    tokens: Mutex<Store<Access>>,
}

impl State {
    /// An empty state.
    pub(crate) fn new(options: Options) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Client)?;
        Ok(Self {
            storage: Storage::new(&options)?,
            looking: Looking::default(),
            options,
            keys: Keys::default(),
            faults: Faults::default(),
            mail: Mailbox::default(),
            payments: Payments::default(),
            pushes: Pushes::default(),
            orders: Orders::default(),
            traces: Traces::default(),
            http,
            clock: SystemClock,
            personas: Mutex::default(),
            codes: Mutex::default(),
            tokens: Mutex::default(),
        })
    }

    /// Seconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.clock.unix()
    }

    /// The address of `path` at this sandbox.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.options.base_url.trim_end_matches('/'))
    }

    /// The application `id` registered at `provider`.
    pub(crate) fn client(&self, provider: &str, id: &str) -> Option<&Client> {
        self.options.clients.iter().find(|client| client.provider == provider && client.id == id)
    }

    /// The personas, locked.
    pub(crate) fn personas(&self) -> MutexGuard<'_, Personas> {
        self.personas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The issued codes, locked.
    pub(crate) fn codes(&self) -> MutexGuard<'_, Store<crate::grant::Code>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The issued access tokens, locked.
    pub(crate) fn tokens(&self) -> MutexGuard<'_, Store<Access>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
