//! `Unlock`: somebody takes what they have earned.

use coreloop_access::Caller;
use coreloop_character_api::v1::{self, CharacterReason};
use tonic::{Request, Response};

use super::mine::proto_owned;
use crate::{
    App, Error,
    changing::{self, Coming},
    collection::Collection,
    rules,
    store::{catalogue, collections, counters},
};

/// `Unlock`: one that the caller has is answered as it is.
///
/// # Errors
/// As the contract lists.
pub async fn unlock(app: &App, request: Request<v1::UnlockRequest>) -> Result<Response<v1::UnlockResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let code = request.get_ref().code.as_str();
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    let standing = collections::lock(&mut tx, user).await?;
    let counted = counters::of(&mut tx, user, standing.longest_streak).await?;
    let shelf = catalogue::all(&mut *tx, &app.schema).await?;
    let mut loaded = app.history.load::<Collection>(&mut tx, user).await?;
    match rules::unlocked(&shelf, loaded.state(), &counted, code, app.options.most()) {
        Ok(_) => {
            let coming = Coming { code, source: "unlock", event_id: "", expires_at: None };
            let facts = changing::acquire(app, &mut tx, &mut loaded, &coming, now).await?;
            app.outbox.write(&mut tx, &facts, now).await?;
            tx.commit().await?;
        }
        Err(refusal) if refusal.reason == CharacterReason::AlreadyOwned => {}
        Err(refusal) => return Err(refusal.into()),
    }
    let piece = loaded.state().owned.get(code).ok_or(Error::Corrupt("a character that is there and is not"))?;
    Ok(Response::new(v1::UnlockResponse { character: Some(proto_owned(code, piece)) }))
}
