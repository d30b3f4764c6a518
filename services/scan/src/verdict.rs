//! What a photo shows, from a model's or a worker's words: believed as far as it makes sense.

use coreloop_scan_api::v1::Category;
use serde::{Deserialize, Serialize};

/// Longest word for a part of a category, in characters.
const LONGEST_SUB: usize = 40;
/// Longest text on how to throw something away, in characters.
const LONGEST_GUIDANCE: usize = 1_000;

/// The words of the chapter. `can` and `metal` are one category.
const WORDS: [(&str, Category); 16] = [
    ("general", Category::General),
    ("paper", Category::Paper),
    ("paperpack", Category::Paperpack),
    ("plastic", Category::Plastic),
    ("pet", Category::Pet),
    ("vinyl", Category::Vinyl),
    ("styrofoam", Category::Styrofoam),
    ("glass", Category::Glass),
    ("can", Category::Can),
    ("metal", Category::Can),
    ("can/metal", Category::Can),
    ("battery", Category::Battery),
    ("clothes", Category::Clothes),
    ("electronics", Category::Electronics),
    ("food", Category::Food),
    ("unknown", Category::Unknown),
];

/// What a photo shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// As the contract numbers it, 1 to 14.
    pub category: i16,
    /// More closely: of a-z, 0-9, `_` and `-`.
    pub sub_category: String,
    /// 0 to 1.
    pub confidence: f64,
    /// How it is to be thrown away.
    pub guidance: String,
    /// Whether it can be recycled.
    pub recyclable: bool,
}

/// What was said.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Saying {
    /// In a word of the chapter.
    pub category: String,
    /// More closely.
    #[serde(default)]
    pub sub_category: Option<String>,
    /// How sure.
    pub confidence: f64,
    /// How it is to be thrown away.
    #[serde(default)]
    pub guidance: Option<String>,
    /// Whether it can be recycled.
    pub recyclable: bool,
}

impl Verdict {
    /// What was said, if it makes sense.
    #[must_use]
    pub fn of(saying: Saying) -> Option<Self> {
        let word = saying.category.trim().to_ascii_lowercase();
        let (_, category) = WORDS.iter().find(|(known, _)| *known == word)?;
        // What is no number is not in it either.
        if !(0.0..=1.0).contains(&saying.confidence) {
            return None;
        }
        Some(Self {
            category: i16::try_from(i32::from(*category)).ok()?,
            sub_category: plain(&saying.sub_category.unwrap_or_default()),
            confidence: saying.confidence,
            guidance: told(&saying.guidance.unwrap_or_default()),
            recyclable: saying.recyclable,
        })
    }

    /// What a text says, if it is the JSON that was asked for and makes sense.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text.trim()).ok().and_then(Self::of)
    }

    /// It can be told what it is.
    #[must_use]
    pub fn is_known(&self) -> bool {
        i32::from(self.category) != i32::from(Category::Unknown)
    }
}

/// Goes into facts: nothing but a word, so that nobody's name is in it by a model's grace.
fn plain(text: &str) -> String {
    let letters = text.trim().chars().map(|letter| match letter {
        'A'..='Z' => letter.to_ascii_lowercase(),
        ' ' | '/' => '_',
        letter => letter,
    });
    letters.filter(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '_' | '-')).take(LONGEST_SUB).collect()
}

/// Is shown to the owner: what a database keeps, and no more than can be read.
fn told(text: &str) -> String {
    text.trim().chars().filter(|letter| !letter.is_control()).take(LONGEST_GUIDANCE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_chapter_are_all_categories() {
        let mut seen: Vec<i32> = WORDS.iter().map(|(_, category)| i32::from(*category)).collect();
        seen.dedup();
        assert_eq!(seen, (1..=14).collect::<Vec<_>>());
        assert!(WORDS.iter().all(|(_, category)| Category::try_from(i32::from(*category)) == Ok(*category)));
    }

    #[test]
    fn what_makes_sense_is_taken() {
        let said = r#" {"category": "Can/Metal", "sub_category": "Aluminium can", "confidence": 0.75, "recyclable": true,
                       "guidance": "Rinse\u0000 it.", "more": 1} "#;
        let verdict = Verdict::parse(said).unwrap();
        assert_eq!((verdict.category, verdict.sub_category.as_str()), (9, "aluminium_can"));
        assert_eq!((verdict.guidance.as_str(), verdict.confidence), ("Rinse it.", 0.75));
        let bare = Verdict::parse(r#"{"category": "unknown", "confidence": 1, "recyclable": false, "guidance": null}"#)
            .unwrap();
        assert!(!bare.is_known() && verdict.is_known());
        let long =
            format!(r#"{{"category":"pet","confidence":0,"recyclable":true,"guidance":"{}"}}"#, "가".repeat(5_000));
        assert_eq!(Verdict::parse(&long).unwrap().guidance.chars().count(), LONGEST_GUIDANCE);
    }

    #[test]
    fn what_makes_none_is_not() {
        for nonsense in [
            "I'm sorry, I can't tell what this photo shows.",
            "",
            "null",
            "[]",
            r#""pet""#,
            r#"{"category": "pet"}"#,
            r#"{"category": "gold", "confidence": 0.9, "recyclable": true}"#,
            r#"{"category": "", "confidence": 0.9, "recyclable": true}"#,
            r#"{"category": "pet", "confidence": 1.01, "recyclable": true}"#,
            r#"{"category": "pet", "confidence": -0.1, "recyclable": true}"#,
            r#"{"category": "pet", "confidence": "high", "recyclable": true}"#,
            r#"{"category": "pet", "confidence": 0.9, "recyclable": "yes"}"#,
            r#"{"category": "pet", "confidence": 0.9, "recyclable": true"#,
        ] {
            assert_eq!(Verdict::parse(nonsense), None, "{nonsense}");
        }
        assert_eq!(Verdict::of(Saying { category: "pet".to_owned(), confidence: f64::NAN, ..Saying::default() }), None);
    }
}
