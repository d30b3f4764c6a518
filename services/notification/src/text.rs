//! What notifications say, in Korean and in English: a template by its name, and what is filled in. No text names anybody else.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What is filled in, and what apps look things up by: codes, ids and numbers as text.
pub type Params = BTreeMap<String, String>;

/// A language of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Korean.
    #[default]
    Ko,
    /// English.
    En,
}

impl Language {
    /// By its code; none for what is none, and for an empty one.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        match code {
            "ko" => Some(Self::Ko),
            "en" => Some(Self::En),
            _ => None,
        }
    }
}

/// What somebody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Headline.
    pub title: String,
    /// Text.
    pub body: String,
}

/// Title and body.
type Words = (&'static str, &'static str);

/// Name, Korean, English. A name that is there is never given another meaning: rows of ninety days have it.
const TEMPLATES: &[(&str, Words, Words)] = &[
    (
        "profile.updated",
        ("프로필이 변경되었어요", "본인이 변경하지 않았다면 비밀번호를 바꿔 주세요."),
        ("Your profile was changed", "If it was not you, please change your password."),
    ),
    (
        "character.acquired",
        ("새 캐릭터를 얻었어요", "이제 캐릭터가 {owned_count}개예요."),
        ("You have a new character", "Characters in your collection: {owned_count}."),
    ),
    (
        "character.full",
        ("캐릭터를 더 받을 수 없어요", "보유할 수 있는 캐릭터 수를 모두 채웠어요."),
        ("No room for another character", "You have as many characters as one may have."),
    ),
    (
        "character.owned",
        ("이미 가진 캐릭터예요", "받을 캐릭터를 이미 가지고 있어요."),
        ("You have this character", "The character that was due is in your collection already."),
    ),
    (
        "character.failed",
        ("캐릭터를 받지 못했어요", "예정된 캐릭터를 드릴 수 없었어요."),
        ("A character could not be given", "The character that was due could not be given."),
    ),
    (
        "scan.failed",
        ("사진을 분석하지 못했어요", "다른 사진으로 다시 시도해 주세요."),
        ("Your photo could not be recognised", "Please try again with another photo."),
    ),
    (
        "redemption.issued",
        ("교환권이 도착했어요", "보관함에서 교환권을 확인해 주세요."),
        ("Your voucher is here", "You find it among your rewards."),
    ),
    (
        "redemption.returned",
        ("교환하지 못했어요", "사용한 포인트를 돌려 드렸어요."),
        ("Your reward could not be issued", "Your points are back."),
    ),
    (
        "redemption.failed",
        ("교환하지 못했어요", "포인트는 사용되지 않았어요."),
        ("Your reward could not be issued", "No points were taken."),
    ),
    (
        "purchase.settled",
        ("결제가 완료되었어요", "{gold} 골드가 지급되었어요."),
        ("Your payment is confirmed", "{gold} GOLD were added."),
    ),
    (
        "purchase.voided",
        ("결제가 취소되었어요", "지급된 골드가 있으면 회수되었어요."),
        ("Your payment was cancelled", "Whatever GOLD was given for it was taken back."),
    ),
    (
        "purchase.owed",
        ("결제가 취소되었어요", "이미 사용한 {owed} 골드는 회수하지 못했어요."),
        ("Your payment was cancelled", "{owed} GOLD were spent already and could not be taken back."),
    ),
];

/// What is said under a name that this process does not know: a newer one wrote it.
const UNKNOWN: (Words, Words) =
    (("새 알림", "앱에서 확인해 주세요."), ("You have a new notification", "Please see it in the app."));

/// A notification in a language.
#[must_use]
pub fn render(template: &str, params: &Params, language: Language) -> Text {
    let known = TEMPLATES.iter().find(|(name, ..)| *name == template);
    let (korean, english) = known.map_or(UNKNOWN, |(_, korean, english)| (*korean, *english));
    let (title, body) = if language == Language::Ko { korean } else { english };
    Text { title: title.to_owned(), body: filled(body, params) }
}

/// `{name}` by what it is; by nothing where it is not given.
fn filled(text: &str, params: &Params) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, opened)| Some((before, opened.split_once('}')?)))
    {
        out.push_str(before);
        out.push_str(&params.get(name).map(|value| grouped(value)).unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A number with commas between its thousands; anything else as it is.
fn grouped(value: &str) -> String {
    let (sign, digits) = value.strip_prefix('-').map_or(("", value), |digits| ("-", digits));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.to_owned();
    }
    let mut out = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(of: &[(&str, &str)]) -> Params {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_template_is_there_in_both_languages_once() {
        let mut seen = std::collections::BTreeSet::new();
        for (name, korean, english) in TEMPLATES {
            assert!(seen.insert(*name), "{name}");
            for text in [korean.0, korean.1] {
                assert!(text.chars().any(|letter| ('가'..='힣').contains(&letter)), "{name}: {text}");
            }
            assert!(english.0.is_ascii() && english.1.is_ascii() && !english.0.is_empty() && !english.1.is_empty());
            // Titles have nothing filled in; bodies the same in both languages.
            assert!(!korean.0.contains('{') && !english.0.contains('{'), "{name}");
            let holes = |text: &str| text.split('{').skip(1).filter_map(|part| part.split('}').next()).count();
            assert_eq!(holes(korean.1), holes(english.1), "{name}");
        }
    }

    #[test]
    fn what_is_filled_in_is_told_as_people_write_it() {
        let settled = |gold: &str| render("purchase.settled", &params(&[("gold", gold)]), Language::En).body;
        assert_eq!(settled("1234567"), "1,234,567 GOLD were added.");
        assert_eq!(
            (settled("999").as_str(), settled("-1000").as_str()),
            ("999 GOLD were added.", "-1,000 GOLD were added.")
        );
        assert_eq!(settled("{gold}"), "{gold} GOLD were added.", "what is filled in is not read again");
        let korean = render("character.acquired", &params(&[("owned_count", "3")]), Language::Ko);
        assert_eq!(korean.body, "이제 캐릭터가 3개예요.");
        assert_eq!(render("character.acquired", &Params::new(), Language::En).body, "Characters in your collection: .");
    }

    #[test]
    fn a_template_that_nobody_knows_is_told_without_its_words() {
        assert_eq!(render("mission.completed", &Params::new(), Language::En).title, "You have a new notification");
        assert_eq!((Language::of("ko"), Language::of("fr"), Language::of("")), (Some(Language::Ko), None, None));
    }
}
