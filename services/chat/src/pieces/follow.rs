//! What a reader makes of the entries of a stream. Pure.

use super::Entry;

/// How far somebody has heard an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Follower {
    /// The last entry that was read.
    id: String,
    /// The run that is followed; empty: none yet.
    run: String,
    /// Characters of it that were told.
    told: usize,
    /// Something of it is missing: nothing more of it is told.
    holed: bool,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// What was told is to be forgotten: the answer begins anew.
    Restarted,
    /// More of it.
    Piece {
        /// What it says.
        text: String,
        /// To go on behind it.
        position: String,
    },
}

impl Follower {
    /// Goes on behind a position; empty, or none: from the beginning.
    #[must_use]
    pub fn behind(position: &str) -> Self {
        let parts: Vec<&str> = position.split('.').collect();
        let [id, run, told] = *parts.as_slice() else { return Self::default() };
        let Ok(told) = told.parse() else { return Self::default() };
        Self { id: id.to_owned(), run: run.to_owned(), told, holed: false }
    }

    /// The entry behind which there may be more.
    #[must_use]
    pub fn last(&self) -> &str {
        &self.id
    }

    /// Takes the next entries; what is new together is told together.
    pub fn take(&mut self, entries: &[Entry]) -> Vec<Step> {
        let (mut text, mut restarted) = (String::new(), false);
        for entry in entries {
            self.id.clone_from(&entry.id);
            if self.is_new(entry) {
                restarted |= self.told > text.chars().count();
                text.clear();
                (self.run, self.told, self.holed) = (entry.run.clone(), 0, false);
            }
            if entry.run != self.run || self.holed || entry.text.is_empty() {
                continue;
            }
            if entry.at != self.told {
                self.holed = true;
                continue;
            }
            self.told += entry.text.chars().count();
            text.push_str(&entry.text);
        }
        let piece = (!text.is_empty()).then(|| Step::Piece { text, position: self.position() });
        restarted.then_some(Step::Restarted).into_iter().chain(piece).collect()
    }

    /// A run begins, or its beginning was not told: of two the later has the greater id.
    fn is_new(&self, entry: &Entry) -> bool {
        entry.run != self.run && (entry.text.is_empty() || entry.run > self.run)
    }

    fn position(&self) -> String {
        format!("{}.{}.{}", self.id, self.run, self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, run: &str, at: usize, text: &str) -> Entry {
        Entry { id: format!("{id}-0"), run: run.to_owned(), at, text: text.to_owned() }
    }

    fn piece(text: &str, position: &str) -> Step {
        Step::Piece { text: text.to_owned(), position: position.to_owned() }
    }

    #[test]
    fn an_answer_is_the_same_wherever_its_reader_broke_off() {
        let all = [entry(1, "a", 0, ""), entry(2, "a", 0, "Grüß "), entry(3, "a", 5, "dich"), entry(4, "a", 9, ".")];
        assert_eq!(Follower::default().take(&all), [piece("Grüß dich.", "4-0.a.10")]);
        for cut in 0..=all.len() {
            let (mut text, mut position) = (String::new(), String::new());
            for part in [&all[..cut], &all[cut..]] {
                // Another process, which knows the position alone.
                let mut follower = Follower::behind(&position);
                for step in follower.take(part) {
                    let Step::Piece { text: more, position: at } = step else { panic!("{step:?}") };
                    text.push_str(&more);
                    position = at;
                }
            }
            assert_eq!(text, "Grüß dich.", "broken off at {cut}");
        }
    }

    #[test]
    fn an_answer_that_begins_anew_is_said_so_to_whoever_heard_some_of_it() {
        let mut follower = Follower::default();
        assert_eq!(follower.take(&[entry(1, "a", 0, ""), entry(2, "a", 0, "one")]), [piece("one", "2-0.a.3")]);
        let anew = [entry(3, "a", 3, " two"), entry(4, "b", 0, ""), entry(5, "b", 0, "1")];
        assert_eq!(follower.take(&anew), [Step::Restarted, piece("1", "5-0.b.1")]);
        // Whoever wrote the first run goes on, and is not heard.
        assert_eq!(follower.take(&[entry(6, "a", 7, " three"), entry(7, "b", 1, "2")]), [piece("2", "7-0.b.2")]);
        // Who comes now hears the second alone.
        let whole = [entry(2, "a", 0, "one"), entry(4, "b", 0, ""), entry(5, "b", 0, "1"), entry(6, "a", 3, "!")];
        assert_eq!(Follower::default().take(&whole), [piece("1", "6-0.b.1")]);
        // Nothing was heard: nothing is to be forgotten.
        let silent = [entry(1, "a", 0, ""), entry(2, "b", 0, "")];
        assert_eq!(Follower::default().take(&silent), []);
        assert_eq!(Follower::behind("2-0.a.3").take(&[entry(4, "b", 0, "")]), [Step::Restarted]);
    }

    #[test]
    fn where_something_is_missing_the_rest_is_not_told() {
        let mut follower = Follower::default();
        let holed = [entry(1, "a", 0, ""), entry(2, "a", 0, "one"), entry(4, "a", 9, "four")];
        assert_eq!(follower.take(&holed), [piece("one", "4-0.a.3")]);
        assert_eq!(follower.take(&[entry(5, "a", 13, "five")]), []);
        assert_eq!(follower.take(&[entry(6, "b", 0, "1")]), [Step::Restarted, piece("1", "6-0.b.1")]);
        assert_eq!(Follower::default().take(&[entry(3, "a", 5, "late")]), []);
    }

    #[test]
    fn what_is_no_position_is_the_beginning() {
        for none in ["", "1-0", "1-0.a", "1-0.a.x", "1-0.a.1.2"] {
            assert_eq!(Follower::behind(none), Follower::default(), "{none}");
        }
    }
}
