//! `PutCharacter`, `RevokeCharacter`.

use coreloop_access::Caller;
use coreloop_character_api::v1::{self, CharacterReason};
use serde_json::{Value, json};
use tonic::{Request, Response};

use super::{catalogue::proto_character, mine::user};
use crate::{
    App, Error, acts,
    catalogue::{Character, Text},
    changing::{self, Going},
    collection::{Collection, DELETED},
    condition::Unlock,
    store::{catalogue, collections},
};

/// `PutCharacter`.
///
/// # Errors
/// Fields that break their rules, those of the condition by its schema.
pub async fn put_character(
    app: &App,
    request: Request<v1::PutCharacterRequest>,
) -> Result<Response<v1::PutCharacterResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let asked = request.into_inner();
    let unlock = condition(asked.unlock.unwrap_or_default());
    // Each level costs more than the one before.
    if !asked.evolves_at.is_sorted_by(|one, next| one < next) {
        return Err(Error::invalid("evolves_at", "must grow"));
    }
    let character = Character {
        code: asked.code,
        name: text(asked.name),
        lore: text(asked.lore),
        type_label: text(asked.type_label),
        unlock: Unlock::read(&app.schema, &unlock)?,
        categories: asked.categories,
        evolves_at: asked.evolves_at,
        active: asked.active,
    };
    let now = app.clock.now();
    let mut tx = coreloop_db::begin(&app.db).await?;
    catalogue::put(&mut tx, &character, (&unlock, asked.position), &format!("user:{by}"), now).await?;
    acts::put(app, &mut tx, by, &character.code, now).await?;
    tx.commit().await?;
    // For who starts while the database is away; who reads it meanwhile asks the database.
    if let Ok(shelf) = catalogue::all(&app.db, &app.schema).await
        && let Err(away) = app.views.tell(&shelf).await
    {
        tracing::debug!(%away, "redis has the catalogue as it was");
    }
    tracing::info!(code = character.code, by = %by, "a character was put");
    Ok(Response::new(v1::PutCharacterResponse { character: Some(proto_character(&character)) }))
}

/// As its schema sees it. What is not said is not there.
fn condition(asked: v1::Unlock) -> Value {
    let categories = asked.metadata.unwrap_or_default().categories;
    let metadata = if categories.is_empty() { json!({}) } else { json!({ "categories": categories }) };
    json!({ "condition_type": asked.condition_type, "threshold": asked.threshold, "metadata": metadata })
}

fn text(asked: Option<v1::Text>) -> Text {
    let v1::Text { en, ko } = asked.unwrap_or_default();
    Text { en, ko }
}

/// `RevokeCharacter`.
///
/// # Errors
/// `NOT_OWNED`.
pub async fn revoke_character(
    app: &App,
    request: Request<v1::RevokeCharacterRequest>,
) -> Result<Response<v1::RevokeCharacterResponse>, Error> {
    let by = Caller::of(&request)?.require_user()?.user_id;
    let v1::RevokeCharacterRequest { code, user_id, reason } = request.into_inner();
    let (user, now) = (user("user_id", &user_id)?, app.clock.now());
    let mut tx = coreloop_db::begin(&app.db).await?;
    collections::lock(&mut tx, user).await?;
    let mut loaded = app.history.load::<Collection>(&mut tx, user).await?;
    let piece = loaded.state().owned.get(&code).cloned().ok_or(CharacterReason::NotOwned)?;
    let going = Going { code: &code, cause: DELETED, by: &format!("admin:{by}") };
    let facts = changing::lose(app, &mut tx, &mut loaded, &going, now).await?;
    acts::revoked(app, &mut tx, (by, &reason), (user, &code, &piece), now).await?;
    app.outbox.write(&mut tx, &facts, now).await?;
    tx.commit().await?;
    tracing::info!(code, user_id = %user, by = %by, "a character was taken away");
    Ok(Response::new(v1::RevokeCharacterResponse {}))
}
