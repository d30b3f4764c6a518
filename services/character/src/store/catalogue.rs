//! `character.catalogue`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::{
    Error,
    catalogue::{Character, Text},
    condition::Unlock,
    schema::Schema,
};

#[derive(Debug)]
struct Row {
    code: String,
    name_en: String,
    name_ko: String,
    lore_en: String,
    lore_ko: String,
    label_en: String,
    label_ko: String,
    unlock: Value,
    categories: Vec<String>,
    evolves_at: Vec<i32>,
    active: bool,
}

impl Row {
    /// A condition that its schema refuses was put in past us: it is not believed.
    fn read(self, schema: &Schema) -> Result<Character, Error> {
        let unlock = Unlock::read(schema, &self.unlock).map_err(|error| {
            tracing::error!(code = self.code, ?error, "a condition of the catalogue breaks its schema");
            Error::Corrupt("a condition of the catalogue breaks its schema")
        })?;
        Ok(Character {
            code: self.code,
            name: Text { en: self.name_en, ko: self.name_ko },
            lore: Text { en: self.lore_en, ko: self.lore_ko },
            type_label: Text { en: self.label_en, ko: self.label_ko },
            unlock,
            categories: self.categories,
            evolves_at: self.evolves_at,
            active: self.active,
        })
    }
}

/// All of it in its order, what cannot be had now too.
///
/// # Errors
/// When the database fails; a condition that breaks its schema.
pub async fn all(db: impl PgExecutor<'_>, schema: &Schema) -> Result<Vec<Character>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "select code, name_en, name_ko, lore_en, lore_ko, label_en, label_ko, unlock, categories, evolves_at, active
           from character.catalogue order by position, code"
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| row.read(schema)).collect()
}

/// Puts a character in, or changes it; who has it keeps it.
///
/// # Errors
/// When the database fails.
pub async fn put(
    connection: &mut PgConnection,
    character: &Character,
    (unlock, position): (&Value, i32),
    by: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into character.catalogue (code, name_en, name_ko, lore_en, lore_ko, label_en, label_ko, unlock, categories,
                                          evolves_at, position, active, updated_at, updated_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         on conflict on constraint catalogue_pkey do update
            set name_en = $2, name_ko = $3, lore_en = $4, lore_ko = $5, label_en = $6, label_ko = $7, unlock = $8,
                categories = $9, evolves_at = $10, position = $11, active = $12, updated_at = $13, updated_by = $14",
        character.code,
        character.name.en,
        character.name.ko,
        character.lore.en,
        character.lore.ko,
        character.type_label.en,
        character.type_label.ko,
        unlock,
        &character.categories[..],
        &character.evolves_at[..],
        position,
        character.active,
        now.to_sqlx() as _,
        by,
    )
    .execute(connection)
    .await?;
    Ok(())
}
