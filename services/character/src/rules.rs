//! Who may have what: values in, a decision out.

use coreloop_character_api::v1::CharacterReason;

use crate::{
    catalogue::Character,
    collection::{Collection, Piece},
    condition::Counters,
    error::constant,
};

/// How far somebody is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Far {
    /// What is counted.
    pub value: i64,
    /// How much of it is asked for.
    pub threshold: i64,
}

/// A rule says no, for this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: CharacterReason,
    /// How far somebody is, where that is why.
    pub far: Option<Far>,
}

impl From<CharacterReason> for Refusal {
    fn from(reason: CharacterReason) -> Self {
        Self { reason, far: None }
    }
}

impl Refusal {
    /// As facts say it: `max_characters_reached`.
    #[must_use]
    pub fn word(&self) -> String {
        constant(self.reason).to_ascii_lowercase()
    }

    /// The one that a fact said.
    #[must_use]
    pub fn of(word: &str) -> Self {
        let name = format!("CHARACTER_REASON_{}", word.to_ascii_uppercase());
        CharacterReason::from_str_name(&name).unwrap_or_default().into()
    }

    fn far(reason: CharacterReason, value: i64, threshold: i64) -> Self {
        Self { reason, far: Some(Far { value, threshold }) }
    }
}

/// What a scan of a category gives: the first of the shelf that it grants, whose condition is met, and that is not there yet.
///
/// # Errors
/// `CONDITION_NOT_MET` where it grants nothing yet, `ALREADY_OWNED` where all that it grants is there,
/// `MAX_CHARACTERS_REACHED`, `USER_WITHDRAWN`.
pub fn by_scan<'a>(
    shelf: &'a [Character],
    collection: &Collection,
    counters: &Counters,
    category: &str,
    most: usize,
) -> Result<&'a Character, Refusal> {
    use CharacterReason as R;
    open(collection)?;
    let grants = |character: &&Character| {
        character.active
            && character.categories.iter().any(|granted| granted == category)
            && character.unlock.is_met(counters)
            && !collection.barred.contains(&character.code)
    };
    let mut due = shelf.iter().filter(grants).peekable();
    if due.peek().is_none() {
        return Err(R::ConditionNotMet.into());
    }
    let next = due.find(|character| !collection.owned.contains_key(&character.code)).ok_or(R::AlreadyOwned)?;
    roomy(collection, most).map(|()| next)
}

/// What a campaign or a reward gives, whatever was counted.
///
/// # Errors
/// `CHARACTER_NOT_FOUND`, `ALREADY_OWNED`, `MAX_CHARACTERS_REACHED`, `USER_WITHDRAWN`.
pub fn given<'a>(
    shelf: &'a [Character],
    collection: &Collection,
    code: &str,
    most: usize,
) -> Result<&'a Character, Refusal> {
    open(collection)?;
    let character = on(shelf, code)?;
    if collection.owned.contains_key(code) {
        return Err(CharacterReason::AlreadyOwned.into());
    }
    roomy(collection, most).map(|()| character)
}

/// What somebody takes by themselves.
///
/// # Errors
/// As [`given`], `CHARACTER_REVOKED`, and `CONDITION_NOT_MET` with how far they are.
pub fn unlocked<'a>(
    shelf: &'a [Character],
    collection: &Collection,
    counters: &Counters,
    code: &str,
    most: usize,
) -> Result<&'a Character, Refusal> {
    use CharacterReason as R;
    open(collection)?;
    let character = on(shelf, code)?;
    if collection.owned.contains_key(code) {
        return Err(R::AlreadyOwned.into());
    }
    if collection.barred.contains(code) {
        return Err(R::CharacterRevoked.into());
    }
    if !character.unlock.is_met(counters) {
        let (value, threshold) = (character.unlock.value(counters), character.unlock.threshold);
        return Err(Refusal::far(R::ConditionNotMet, value, threshold));
    }
    roomy(collection, most).map(|()| character)
}

/// The level that a character rises to.
///
/// # Errors
/// `NOT_OWNED`, `CHARACTER_NOT_FOUND`, `FULLY_EVOLVED`, `USER_WITHDRAWN`, and `EVOLUTION_NOT_READY` with how far they are.
pub fn evolved(
    shelf: &[Character],
    collection: &Collection,
    counters: &Counters,
    code: &str,
    now: i64,
) -> Result<i32, Refusal> {
    use CharacterReason as R;
    open(collection)?;
    let character = shelf.iter().find(|character| character.code == code).ok_or(R::CharacterNotFound)?;
    let piece: &Piece = collection.owned.get(code).filter(|piece| piece.lasts(now)).ok_or(R::NotOwned)?;
    // Level 1 rises by the first of them.
    let step = usize::try_from(piece.level.saturating_sub(1)).ok();
    let threshold = step.and_then(|step| character.evolves_at.get(step)).ok_or(R::FullyEvolved)?;
    let (value, threshold) = (character.unlock.value(counters), i64::from(*threshold));
    match value >= threshold {
        true => Ok(piece.level.saturating_add(1)),
        false => Err(Refusal::far(R::EvolutionNotReady, value, threshold)),
    }
}

fn open(collection: &Collection) -> Result<(), Refusal> {
    if collection.closed { Err(CharacterReason::UserWithdrawn.into()) } else { Ok(()) }
}

fn roomy(collection: &Collection, most: usize) -> Result<(), Refusal> {
    if collection.owned.len() < most { Ok(()) } else { Err(CharacterReason::MaxCharactersReached.into()) }
}

fn on<'a>(shelf: &'a [Character], code: &str) -> Result<&'a Character, Refusal> {
    let found = shelf.iter().find(|character| character.active && character.code == code);
    found.ok_or_else(|| CharacterReason::CharacterNotFound.into())
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
