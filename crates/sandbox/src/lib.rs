//! Local stand-ins for third parties on the internet: true wire formats, switchable faults.
//!
//! The mesh signs people in with Google, Kakao and Naver, sends mail through a SendGrid-compatible API and hears of
//! verified ages by webhook; photos go to an S3 store, which a CDN stands in front of, and are looked at by a model behind
//! OpenAI's wire; what people are told is pushed through FCM; shops and addresses are looked up at Kakao Local. Tests, demos
//! and a developer's machine need all of these offline, and attacks on them need
//! a provider that enforces what a real one enforces. So the sandbox speaks what the real ones speak, quirks included
//! (Kakao's `KOE` codes, Naver's errors with status 200 and its `expires_in` as text), and is strict where they are:
//! **a code is good once, expires, and is bound to its client, its redirect URI and its PKCE challenge.**
//!
//! Who signs in is a persona, chosen by `login_hint` (or `persona`) on the authorize address, by
//! [`Options::auto_persona`], or by hand on a small page. Faults are switched over `/_sandbox/faults`: latency, errors,
//! garbage, silence, a reset connection, and for Google ID tokens that lie in a chosen way (`tamper`). A quota runs out and refuses
//! (`quota`), a stream breaks off, comes slowly or stops half way for a while (`cut`, `trickle`, `stall`). Everything held is bounded, so a sandbox that is left running does not grow.
//!
//! It also collects traces over OTLP and draws them (`/_sandbox/traces/{trace_id}`), so that one's own machine shows
//! what a collector would.
//!
//! Rejected: mocks inside the services. A mock agrees with its author; a wire does not.

mod age;
mod cdn;
mod chooser;
mod control;
mod fault;
mod fcm;
mod google;
mod grant;
mod kakao;
mod kakao_local;
mod mail;
mod naver;
mod openai;
mod options;
mod payment;
mod persona;
mod photos;
mod s3;
mod secret;
mod signing;
mod spoilt;
mod state;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;
mod traces;
mod vendor;
mod vision;
mod waste;

use std::{io, sync::Arc};

use axum::Router;
use tokio::net::TcpListener;

pub use options::{Client, Options};
pub use photos::{PHOTOS, Photo};
use state::State;

/// Why a sandbox cannot start or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener failed.
    #[error("the sandbox's listener failed")]
    Listen(#[from] io::Error),
    /// A signing key could not be made.
    #[error("the sandbox cannot make its signing key")]
    Key,
    /// The HTTP client for webhooks could not be made.
    #[error("the sandbox cannot make its HTTP client")]
    Client(#[source] reqwest::Error),
    /// The folder of the S3 store could not be made.
    #[error("the sandbox cannot make the folder of its S3 store")]
    Storage(#[source] io::Error),
    /// A bucket cannot be called so.
    #[error("a bucket cannot be called {0:?}: 3 to 63 of a-z, 0-9 and -, and not what the sandbox serves else")]
    Bucket(String),
}

/// A sandbox, ready to be served. Clones share personas, codes, mail and faults.
#[derive(Clone, Debug)]
pub struct Sandbox {
    state: Arc<State>,
}

impl Sandbox {
    /// A sandbox that names itself `options.base_url` in what it answers.
    ///
    /// # Errors
    /// When its signing key, its HTTP client or the folder of its S3 store cannot be made, or a bucket cannot be called as the
    /// settings say.
    pub fn new(options: Options) -> Result<Self, Error> {
        Ok(Self { state: Arc::new(State::new(options)?) })
    }

    /// Every stand-in under one router: `/google`, `/kakao`, `/naver`, `/v3/mail/send`, `/age`, `/payment`, `/vendor`,
    /// `/fcm`, `/v1/chat/completions`, `/classify`, `/v2/local`, `/{bucket}`, `/cdn/{bucket}`, and `/_sandbox` to steer them.
    pub fn router(&self) -> Router {
        let state = &self.state;
        Router::new()
            .merge(google::routes(state))
            .merge(kakao::routes(state))
            .merge(kakao_local::routes(state))
            .merge(naver::routes(state))
            .merge(mail::routes(state))
            .merge(age::routes(state))
            .merge(payment::routes(state))
            .merge(vendor::routes(state))
            .merge(fcm::routes(state))
            .merge(openai::routes(state))
            .merge(s3::routes(state))
            .merge(cdn::routes(state))
            .merge(traces::routes(state))
            .merge(control::routes())
            .with_state(Arc::clone(state))
    }

    /// Serves until the future is dropped. An empty `options.base_url` becomes the listener's address.
    ///
    /// # Errors
    /// As [`Sandbox::new`], or when the listener fails.
    pub async fn serve(listener: TcpListener, options: Options) -> Result<(), Error> {
        Self::serve_until(listener, options, std::future::pending()).await
    }

    /// Serves until `stop` resolves, then ends without waiting for calls that hang on purpose.
    ///
    /// # Errors
    /// As [`Sandbox::serve`].
    pub async fn serve_until(
        listener: TcpListener,
        mut options: Options,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        if options.base_url.is_empty() {
            options.base_url = format!("http://{}", listener.local_addr()?);
        }
        let router = Self::new(options)?.router();
        tokio::select! {
            served = async { axum::serve(listener, router).await } => Ok(served?),
            () = stop => Ok(()),
        }
    }
}
