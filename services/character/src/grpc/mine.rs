//! `GetMine`: of the caller, and of nobody else. `GetOwned`: of anybody, for services.

use coreloop_access::Caller;
use coreloop_character_api::v1;
use tonic::{Request, Response};
use uuid::Uuid;

use super::catalogue::proto_character;
use crate::{
    App, Error,
    catalogue::{self, Character},
    collection::Piece,
    mine::{self, Holding},
    times::{parse, proto_micros},
};

/// `GetMine`.
///
/// # Errors
/// When nobody can tell.
pub async fn get_mine(app: &App, request: Request<v1::GetMineRequest>) -> Result<Response<v1::GetMineResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id.0;
    let shelf = catalogue::shown(app).await?;
    let holding = match parse("as_of", request.get_ref().as_of.as_ref())? {
        Some(at) => mine::then(app, user, at).await?,
        None => mine::now(app, user).await?,
    };
    let shown = |character: &&Character| character.active || holding.owned.contains_key(&character.code);
    Ok(Response::new(v1::GetMineResponse {
        characters: shelf.iter().filter(shown).map(|character| proto_mine(character, &holding)).collect(),
        owned_count: i32::try_from(holding.owned.len()).unwrap_or(i32::MAX),
        max_owned: i32::try_from(app.options.max_owned).unwrap_or(i32::MAX),
        version: holding.version,
    }))
}

fn proto_mine(character: &Character, holding: &Holding) -> v1::MyCharacter {
    let owned = holding.owned.get(&character.code).map(|piece| proto_owned(&character.code, piece));
    let counters = holding.counters.as_ref().filter(|_| owned.is_none());
    let progress = counters.map(|counters| character.unlock.progress(counters));
    v1::MyCharacter { character: Some(proto_character(character)), owned, progress }
}

/// As the contract has it.
#[must_use]
pub fn proto_owned(code: &str, piece: &Piece) -> v1::OwnedCharacter {
    v1::OwnedCharacter {
        code: code.to_owned(),
        level: piece.level,
        source: piece.source.clone(),
        acquired_at: Some(proto_micros(piece.acquired_at)),
        expires_at: piece.expires_at.map(proto_micros),
    }
}

/// `GetOwned`.
///
/// # Errors
/// When nobody can tell.
pub async fn get_owned(
    app: &App,
    request: Request<v1::GetOwnedRequest>,
) -> Result<Response<v1::GetOwnedResponse>, Error> {
    let holding = mine::now(app, user("user_id", &request.get_ref().user_id)?).await?;
    let characters = holding.owned.iter().map(|(code, piece)| proto_owned(code, piece)).collect();
    Ok(Response::new(v1::GetOwnedResponse { characters, version: holding.version }))
}

/// The id of a user that a request names.
///
/// # Errors
/// When it is none.
pub fn user(field: &str, text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::invalid(field, "must be the id of a user"))
}
