//! `WatchSession`.

use std::{sync::Arc, time::Duration};

use coreloop_access::{Caller, Role, User};
use coreloop_auth_api::v1;
use coreloop_core::{Problem, Reason};
use futures::{StreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use tonic::{Request, Response, Status};

use crate::{
    App, Error,
    store::{
        self,
        sessions::Watched,
        users::{proto_age, proto_role, proto_time},
    },
    watch::Watch,
};

/// The messages of a watch.
pub type States = BoxStream<'static, Result<v1::WatchSessionResponse, Status>>;

/// Watches the caller's session. The server ends the stream with the session and the token.
///
/// # Errors
/// `TOO_MANY_WATCHES`; `TOKEN_REVOKED` when the session has just ended.
pub async fn watch_session(app: &App, request: Request<v1::WatchSessionRequest>) -> Result<Response<States>, Error> {
    let caller = *Caller::of(&request)?.require_user()?;
    // Watched before it is read, so that no change falls between.
    let watch = app.watches.open(caller.user_id, caller.session_id, caller.expires_at)?;
    let now = store::sessions::watched(&app.db, &[caller.session_id.0], app.live_after()).await?.pop();
    let ended = || Problem::common(Reason::TokenRevoked, "the session has ended");
    let state = Arc::new(now.ok_or_else(ended)?);
    let beat = Duration::from_secs(app.options.watch_heartbeat_secs.into());
    let opened = message(v1::WatchCause::Opened, &state, &caller);
    let rest = futures::stream::unfold(Watching { watch, state, caller, beat }, |mut watching| async move {
        let message = watching.next().await?;
        Some((Ok(message), watching))
    });
    Ok(Response::new(futures::stream::iter([Ok(opened)]).chain(rest).boxed()))
}

struct Watching {
    watch: Watch,
    /// What the client was shown last.
    state: Arc<Watched>,
    caller: User,
    beat: Duration,
}

impl Watching {
    async fn next(&mut self) -> Option<v1::WatchSessionResponse> {
        let until = tokio::time::Instant::now() + self.beat;
        loop {
            match tokio::time::timeout_at(until, self.watch.next()).await {
                Ok(state) => {
                    let state = state?;
                    // The first reading after the stream was opened is mostly no news.
                    if state != self.state {
                        self.state = state;
                        return Some(message(v1::WatchCause::Changed, &self.state, &self.caller));
                    }
                }
                Err(_) => return Some(message(v1::WatchCause::Heartbeat, &self.state, &self.caller)),
            }
        }
    }
}

fn message(cause: v1::WatchCause, state: &Watched, caller: &User) -> v1::WatchSessionResponse {
    let age_state = proto_age(&state.age_state);
    let roles = state.roles.iter().filter_map(|name| Role::parse(name));
    let expires_at = Timestamp::from_second(caller.expires_at).ok().map(proto_time);
    v1::WatchSessionResponse {
        cause: cause.into(),
        session: Some(v1::SessionState {
            session_id: state.id.to_string(),
            user_id: state.user_id.to_string(),
            roles: roles.map(|role| proto_role(role).into()).collect(),
            age_state: age_state.into(),
            age_verified: age_state == v1::AgeState::Verified,
            device_name: state.device_name.clone(),
            created_at: Some(proto_time(state.created_at)),
            access_token_expires_at: expires_at,
            other_sessions: i32::try_from(state.others).unwrap_or(i32::MAX),
        }),
    }
}
