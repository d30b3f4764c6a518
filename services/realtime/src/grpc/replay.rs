//! `Replay`: what was missed, without a socket.

use coreloop_access::Caller;
use coreloop_realtime_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// What the caller missed since a place.
///
/// # Errors
/// UNAVAILABLE when the log cannot be read.
pub async fn replay(app: &App, request: Request<v1::ReplayRequest>) -> Result<Response<v1::ReplayResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let missed = app.log.missed(user, Some(request.get_ref().since)).await?;
    Ok(Response::new(v1::ReplayResponse {
        messages: missed.messages.iter().map(|message| message.told(user)).collect(),
        complete: !missed.anew,
        seq: missed.seq,
    }))
}
