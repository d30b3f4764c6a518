//! What of the story a socket says, message by message. A pure rule: messages of different services may come in any order.

use anyhow::bail;
use serde_json::Value;

use super::json::{number, text};

/// The step that the model ends; what comes after it takes no time of its own.
pub(crate) const CLASSIFIED: &str = "scan_update";

/// What was heard so far of the photo of one image.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    image: String,
    /// The task, once the photo is classified.
    pub(crate) task: Option<String>,
    /// The character that was granted.
    pub(crate) character: Option<String>,
    /// The figures have moved.
    moved: bool,
    /// The notification of the character.
    pub(crate) notification: Option<String>,
}

/// A step of the story: its name, and what was seen of it.
pub(crate) type Step = (&'static str, String);

impl Heard {
    /// Nothing yet.
    pub(crate) fn of(image: &str) -> Self {
        Self { image: image.to_owned(), ..Self::default() }
    }

    /// What is still to come; none: all of it was heard.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        match () {
            () if self.task.is_none() => Some("the classification (scan_update)"),
            () if self.character.is_none() => Some("the character (reward_granted)"),
            () if !self.moved => Some("the figures (stats_delta)"),
            () if self.notification.is_none() => Some("the notification"),
            () => None,
        }
    }

    /// Takes a message in; a step where it is one.
    ///
    /// # Errors
    /// It says that the story ends otherwise.
    pub(crate) fn take(&mut self, message: &Value) -> anyhow::Result<Option<Step>> {
        Ok(match text(message, "/type") {
            "scan_update" if text(message, "/data/image_id") == self.image => Some(self.scanned(message)?),
            "reward_granted" if text(message, "/data/reward_type") == "CHARACTER" => Some(self.granted(message)),
            "stats_delta" => {
                self.moved = true;
                Some(("stats_delta", figures(message)))
            }
            "streak_update" => {
                let days = number(message, "/data/streak_count").unwrap_or_default();
                Some(("streak_update", format!("{days:.0} in a row")))
            }
            "notification" => Some(self.told(message)?),
            _ => None,
        })
    }

    fn scanned(&mut self, message: &Value) -> anyhow::Result<Step> {
        let data = |name: &str| text(message, &format!("/data/{name}"));
        let task = data("task_id").to_owned();
        if data("status") == "FAILED" {
            bail!("the photo could not be classified: {} (task {task})", data("reason"));
        }
        if message.pointer("/data/reward_eligible") != Some(&Value::Bool(true)) {
            bail!(
                "the photo is classified ({}) and earns nothing: GET /api/v1/scan/tasks/{task} says why",
                data("category")
            );
        }
        let sure = number(message, "/data/confidence").unwrap_or_default();
        let seen = format!("{} ({}), sure to {sure:.2}; task {task}", data("category"), data("sub_category"));
        self.task = Some(task);
        Ok((CLASSIFIED, seen))
    }

    fn granted(&mut self, message: &Value) -> Step {
        let code = text(message, "/data/item").to_owned();
        let owned = number(message, "/data/balance_after").map(|owned| format!("; now {owned:.0}")).unwrap_or_default();
        let seen = format!("character {code}{owned}");
        self.character = Some(code);
        ("reward_granted", seen)
    }

    fn told(&mut self, message: &Value) -> anyhow::Result<Step> {
        let data = |name: &str| text(message, &format!("/data/{name}"));
        let (kind, seen) = (data("kind"), format!("{}: {} {}", data("kind"), data("title"), data("body")));
        // That a scan failed is said by the scan too, with its reason.
        if kind.ends_with("ACQUIRE_FAILED") {
            bail!("the story ends otherwise: {seen}");
        }
        if kind.ends_with("CHARACTER_ACQUIRED") {
            self.notification = Some(data("notification_id").to_owned());
        }
        Ok(("notification", seen))
    }
}

/// By how much figures moved.
fn figures(message: &Value) -> String {
    let delta = |name: &str| number(message, &format!("/data/deltas/{name}")).unwrap_or_default();
    format!(
        "recycled {:+.0}, trees {:+.3}, water {:+.1} L, CO2 {:+.0} g",
        delta("recycled"),
        delta("tree_milli") / 1000.0,
        delta("water_ml") / 1000.0,
        delta("co2_g")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn scan(change: Value) -> Value {
        let mut data = json!({"task_id": "t", "image_id": "i", "status": "COMPLETED", "category": "PET", "sub_category": "bottle",
                              "confidence": 0.93, "reward_eligible": true});
        data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"type": "scan_update", "seq": 4, "data": data})
    }

    fn all() -> [Value; 4] {
        let told = json!({"kind": "CHARACTER_ACQUIRED", "notification_id": "n", "title": "New", "body": "One."});
        let granted = json!({"reward_type": "CHARACTER", "amount": 1.0, "balance_after": 1.0, "item": "CHR005"});
        let moved = json!({"recycled": 1.0, "tree_milli": 20.0, "water_ml": 7_000.0, "co2_g": 230.0});
        [
            scan(json!({})),
            json!({"type": "reward_granted", "seq": 5, "data": granted}),
            json!({"type": "stats_delta", "seq": 6, "data": {"deltas": moved}}),
            json!({"type": "notification", "seq": 7, "data": told}),
        ]
    }

    #[test]
    fn all_of_it_is_heard_in_any_order() {
        for turn in 0..4 {
            let mut heard = Heard::of("i");
            let mut said = all();
            said.rotate_left(turn);
            for message in &said {
                assert!(heard.missing().is_some());
                assert!(heard.take(message).unwrap().is_some(), "{message}");
            }
            assert_eq!((heard.missing(), heard.character.as_deref()), (None, Some("CHR005")));
            assert_eq!((heard.task.as_deref(), heard.notification.as_deref()), (Some("t"), Some("n")));
        }
    }

    #[test]
    fn steps_say_what_was_seen() {
        let mut heard = Heard::of("i");
        let said: Vec<String> = all().iter().map(|message| heard.take(message).unwrap().unwrap().1).collect();
        assert_eq!(said[0], "PET (bottle), sure to 0.93; task t");
        assert_eq!(said[1], "character CHR005; now 1");
        assert_eq!(said[2], "recycled +1, trees +0.020, water +7.0 L, CO2 +230 g");
        assert_eq!(said[3], "CHARACTER_ACQUIRED: New One.");
    }

    #[test]
    fn what_is_not_of_the_story_is_no_step() {
        let mut heard = Heard::of("other");
        for message in [scan(json!({})), json!({"type": "profile_update", "data": {}}), json!({}), json!("x")] {
            assert!(heard.take(&message).unwrap().is_none(), "{message}");
        }
        let gold = json!({"type": "reward_granted", "data": {"reward_type": "GOLD", "amount": 5}});
        assert!(heard.take(&gold).unwrap().is_none());
        assert_eq!(heard.missing(), Some("the classification (scan_update)"));
    }

    #[test]
    fn another_end_is_told_with_its_reason() {
        let ends = [
            (scan(json!({"status": "FAILED", "reason": "MODEL_UNAVAILABLE"})), "MODEL_UNAVAILABLE"),
            (scan(json!({"reward_eligible": false})), "earns nothing"),
            (
                json!({"type": "notification", "data": {"kind": "CHARACTER_ACQUIRE_FAILED", "title": "No room"}}),
                "No room",
            ),
        ];
        for (message, why) in ends {
            let error = Heard::of("i").take(&message).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
