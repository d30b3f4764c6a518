//! `Evolve`: a character rises by a level, once a key.

use coreloop_access::Caller;
use coreloop_character_api::v1;
use coreloop_idempotency::{Claim, Scope};
use prost::Message as _;
use tonic::{Request, Response};

use super::mine::proto_owned;
use crate::{
    App, Error, changing,
    collection::Collection,
    rules,
    store::{catalogue, collections, counters},
};

/// Full name of the RPC, for its keys.
const RPC: &str = "coreloop.character.v1.CharacterService/Evolve";

/// `Evolve`.
///
/// # Errors
/// As the contract lists.
pub async fn evolve(app: &App, request: Request<v1::EvolveRequest>) -> Result<Response<v1::EvolveResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let v1::EvolveRequest { code, idempotency_key } = request.into_inner();
    let (scope, now) = (Scope { user, rpc: RPC, key: &idempotency_key }, app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    if let Claim::Replay(answer) = app.keys.claim(&mut tx, &scope, code.as_bytes(), now).await? {
        let answer = v1::EvolveResponse::decode(answer.as_slice());
        return Ok(Response::new(answer.map_err(|_| Error::Corrupt("an answer that is none"))?));
    }
    let standing = collections::lock(&mut tx, user).await?;
    let counted = counters::of(&mut tx, user, standing.longest_streak).await?;
    let shelf = catalogue::all(&mut *tx, &app.schema).await?;
    let mut loaded = app.history.load::<Collection>(&mut tx, user).await?;
    let level = rules::evolved(&shelf, loaded.state(), &counted, &code, now.as_microsecond())?;
    let facts = changing::evolve(app, &mut tx, &mut loaded, (&code, level), now).await?;
    let piece = loaded.state().owned.get(&code).ok_or(Error::Corrupt("a character that is there and is not"))?;
    let answer = v1::EvolveResponse { character: Some(proto_owned(&code, piece)) };
    app.keys.finish(&mut tx, &scope, &answer.encode_to_vec()).await?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    Ok(Response::new(answer))
}
