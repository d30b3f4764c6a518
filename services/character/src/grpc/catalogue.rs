//! `GetCatalog`; and a character as the contract has it.

use coreloop_character_api::v1;
use tonic::{Request, Response};

use crate::{
    App, Error,
    catalogue::{self, Character, Text},
    condition::{ConditionType, Unlock},
};

/// `GetCatalog`: what can be had now.
///
/// # Errors
/// When nobody can tell.
pub async fn get_catalog(
    app: &App,
    _: Request<v1::GetCatalogRequest>,
) -> Result<Response<v1::GetCatalogResponse>, Error> {
    let shelf = catalogue::shown(app).await?;
    let characters = shelf.iter().filter(|character| character.active).map(proto_character).collect();
    Ok(Response::new(v1::GetCatalogResponse { characters }))
}

/// As the contract has it.
#[must_use]
pub fn proto_character(character: &Character) -> v1::Character {
    v1::Character {
        code: character.code.clone(),
        name: Some(proto_text(&character.name)),
        lore: Some(proto_text(&character.lore)),
        type_label: Some(proto_text(&character.type_label)),
        asset_url: character.asset_url(),
        unlock: Some(proto_unlock(&character.unlock)),
        categories: character.categories.clone(),
        evolves_at: character.evolves_at.clone(),
        active: character.active,
    }
}

fn proto_text(text: &Text) -> v1::Text {
    v1::Text { en: text.en.clone(), ko: text.ko.clone() }
}

fn proto_unlock(unlock: &Unlock) -> v1::Unlock {
    v1::Unlock {
        condition_type: word(unlock.condition_type).to_owned(),
        threshold: unlock.threshold,
        metadata: Some(v1::UnlockMetadata { categories: unlock.metadata.categories.clone() }),
    }
}

fn word(kind: ConditionType) -> &'static str {
    match kind {
        ConditionType::ScanCount => "scan_count",
        ConditionType::CategoryCount => "category_count",
        ConditionType::Variety => "variety",
        ConditionType::StreakDays => "streak_days",
        ConditionType::Campaign => "campaign",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_called_on_the_wire_as_in_the_schema() {
        use ConditionType as T;
        for kind in [T::ScanCount, T::CategoryCount, T::Variety, T::StreakDays, T::Campaign] {
            assert_eq!(serde_json::to_value(kind).unwrap(), word(kind));
        }
    }
}
