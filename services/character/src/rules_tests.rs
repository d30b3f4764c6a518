#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use coreloop_character_api::v1::CharacterReason as R;
use serde_json::json;

use super::*;
use crate::{catalogue::Text, condition::Unlock, schema::Schema};

fn character(code: &str, kind: &str, threshold: i64, categories: &[&str]) -> Character {
    let metadata = if kind == "category_count" { json!({"categories": categories}) } else { json!({}) };
    let unlock = json!({"condition_type": kind, "threshold": threshold, "metadata": metadata});
    Character {
        code: code.to_owned(),
        name: Text::default(),
        lore: Text::default(),
        type_label: Text::default(),
        unlock: Unlock::read(&Schema::unlock().unwrap(), &unlock).unwrap(),
        categories: categories.iter().map(|name| (*name).to_owned()).collect(),
        evolves_at: vec![3, 9],
        active: true,
    }
}

fn shelf() -> Vec<Character> {
    vec![
        character("GLASS", "category_count", 1, &["glass"]),
        character("MANY", "scan_count", 3, &["glass", "pet"]),
        character("GIFT", "campaign", 0, &[]),
        Character { active: false, ..character("GONE", "scan_count", 1, &["glass"]) },
    ]
}

fn counters(glass: i64, pet: i64) -> Counters {
    let of = [("glass", glass), ("pet", pet)].into_iter().filter(|(_, value)| *value > 0);
    Counters { by_category: of.map(|(name, value)| (name.to_owned(), value)).collect(), longest_streak: 1 }
}

fn owning(codes: &[&str]) -> Collection {
    let piece = |code: &&str| {
        let piece = Piece { level: 1, source: "scan".to_owned(), acquired_at: 0, expires_at: None };
        ((*code).to_owned(), piece)
    };
    Collection { owned: codes.iter().map(piece).collect(), ..Collection::default() }
}

#[test]
fn a_scan_gives_the_first_that_is_due_and_not_there() {
    let shelf = shelf();
    let scan = |owned: &[&str], glass, category, most| {
        let decided = by_scan(&shelf, &owning(owned), &counters(glass, 1), category, most);
        decided.map(|character| character.code.as_str()).map_err(|refusal| refusal.reason)
    };
    assert_eq!(scan(&[], 1, "glass", 15), Ok("GLASS"));
    assert_eq!(scan(&["GLASS"], 1, "glass", 15), Err(R::AlreadyOwned));
    assert_eq!(scan(&["GLASS"], 2, "glass", 15), Ok("MANY"));
    assert_eq!(scan(&["GLASS", "MANY"], 2, "glass", 15), Err(R::AlreadyOwned));
    assert_eq!(scan(&[], 1, "pet", 15), Err(R::ConditionNotMet));
    assert_eq!(scan(&[], 1, "food", 15), Err(R::ConditionNotMet));
    assert_eq!(scan(&["GIFT"], 1, "glass", 1), Err(R::MaxCharactersReached));
    // What is there already is no reason to speak of room.
    assert_eq!(scan(&["GLASS"], 1, "glass", 1), Err(R::AlreadyOwned));
}

#[test]
fn a_gift_needs_no_condition_and_nobody_else_takes_one() {
    let (shelf, none) = (shelf(), counters(0, 0));
    let reason =
        |decided: Result<&Character, Refusal>| decided.map(|character| character.code.clone()).map_err(|no| no.reason);
    assert_eq!(reason(given(&shelf, &owning(&[]), "GIFT", 1)), Ok("GIFT".to_owned()));
    assert_eq!(reason(given(&shelf, &owning(&["GIFT"]), "GIFT", 2)), Err(R::AlreadyOwned));
    assert_eq!(reason(given(&shelf, &owning(&["GLASS"]), "GIFT", 1)), Err(R::MaxCharactersReached));
    assert_eq!(reason(given(&shelf, &owning(&[]), "GONE", 9)), Err(R::CharacterNotFound));
    assert_eq!(reason(given(&shelf, &owning(&[]), "gift", 9)), Err(R::CharacterNotFound));
    assert_eq!(reason(unlocked(&shelf, &owning(&[]), &none, "GIFT", 9)), Err(R::ConditionNotMet));
    let refused = unlocked(&shelf, &owning(&[]), &counters(1, 1), "MANY", 9).unwrap_err();
    assert_eq!(refused.far, Some(Far { value: 2, threshold: 3 }));
    assert_eq!(reason(unlocked(&shelf, &owning(&[]), &counters(2, 1), "MANY", 9)), Ok("MANY".to_owned()));
}

#[test]
fn what_was_taken_is_not_earned_again_and_can_be_given() {
    let (shelf, counters) = (shelf(), counters(3, 0));
    let barred = Collection { barred: ["GLASS".to_owned()].into(), ..Collection::default() };
    assert_eq!(unlocked(&shelf, &barred, &counters, "GLASS", 9).unwrap_err().reason, R::CharacterRevoked);
    assert_eq!(by_scan(&shelf, &barred, &counters, "glass", 9).unwrap().code, "MANY");
    assert_eq!(given(&shelf, &barred, "GLASS", 9).unwrap().code, "GLASS");
}

#[test]
fn a_level_costs_what_the_catalogue_says() {
    let shelf = shelf();
    let rise = |level, glass| {
        let mut collection = owning(&["GLASS"]);
        collection.owned.get_mut("GLASS").unwrap().level = level;
        evolved(&shelf, &collection, &counters(glass, 0), "GLASS", 0)
    };
    assert_eq!(rise(1, 3), Ok(2));
    assert_eq!(rise(2, 9), Ok(3));
    assert_eq!(rise(2, 8).unwrap_err().far, Some(Far { value: 8, threshold: 9 }));
    assert_eq!(rise(3, 99).unwrap_err().reason, R::FullyEvolved);
    assert_eq!(evolved(&shelf, &owning(&[]), &counters(9, 0), "GLASS", 0).unwrap_err().reason, R::NotOwned);
    assert_eq!(evolved(&shelf, &owning(&[]), &counters(9, 0), "NONE", 0).unwrap_err().reason, R::CharacterNotFound);
    let mut over = owning(&["GLASS"]);
    over.owned.get_mut("GLASS").unwrap().expires_at = Some(10);
    assert_eq!(evolved(&shelf, &over, &counters(9, 0), "GLASS", 9), Ok(2));
    assert_eq!(evolved(&shelf, &over, &counters(9, 0), "GLASS", 10).unwrap_err().reason, R::NotOwned);
}

#[test]
fn into_a_closed_collection_nothing_comes() {
    let (shelf, counters) = (shelf(), counters(9, 9));
    let closed = Collection { closed: true, ..Collection::default() };
    assert_eq!(by_scan(&shelf, &closed, &counters, "glass", 9).unwrap_err().reason, R::UserWithdrawn);
    assert_eq!(given(&shelf, &closed, "GIFT", 9).unwrap_err().reason, R::UserWithdrawn);
    assert_eq!(unlocked(&shelf, &closed, &counters, "GLASS", 9).unwrap_err().reason, R::UserWithdrawn);
    assert_eq!(evolved(&shelf, &closed, &counters, "GLASS", 0).unwrap_err().reason, R::UserWithdrawn);
}

#[test]
fn a_refusal_is_known_by_its_word() {
    for reason in (1..).map_while(|number| R::try_from(number).ok()) {
        assert_eq!(Refusal::of(&Refusal::from(reason).word()).reason, reason);
    }
    assert_eq!(Refusal::from(R::MaxCharactersReached).word(), "max_characters_reached");
    assert_eq!(Refusal::of("no such word").reason, R::Unspecified);
}
