//! Names: which topic a message type travels on.

use coreloop_core::Fact;

use crate::{Error, Queue};

/// A topic, `events.<domain>.<event>`: one a message type, so a consumer reads only what it asked for. Order is kept per
/// key within a topic; [`crate::Event::sequence`] tells the order over topics of one domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(String);

impl Topic {
    /// The topic of a fact.
    ///
    /// # Errors
    /// [`Error::Name`] for a type outside `coreloop.<domain>.v<n>`.
    pub fn of<F: Fact>() -> Result<Self, Error> {
        let Kind { domain, event, .. } = Kind::of(F::TYPE)?;
        Ok(Self::named(&domain, &event))
    }

    /// The topic of an outbox row's aggregate type and type.
    #[must_use]
    pub fn named(domain: &str, event: &str) -> Self {
        Self(format!("events.{domain}.{event}"))
    }

    /// Where the commands of a queue travel.
    #[must_use]
    pub fn of_queue(queue: Queue) -> Self {
        Self(format!("cmd:{}", queue.name()))
    }

    /// The message type of the facts of `version` that travel there, if the committed descriptors have one.
    #[must_use]
    pub fn message(&self, version: u32) -> Option<String> {
        let event = self.0.strip_prefix("events.")?.split_once('.')?.1;
        let (domain, event) = (camel(self.domain()), camel(event));
        let shared = format!("coreloop.event.v{version}.{domain}{event}");
        let own = format!("coreloop.{}.v{version}.{event}", self.domain());
        let pool = coreloop_transcode::descriptor::pool();
        [shared, own].into_iter().find(|name| {
            let kind = Kind::of(name).ok();
            kind.is_some_and(|kind| Self::named(&kind.domain, &kind.event) == *self)
                && pool.get_message_by_name(name).is_some()
        })
    }

    /// The queue whose commands travel there, if any do; by its name.
    pub(crate) fn queue(&self) -> Option<&str> {
        self.0.strip_prefix("cmd:")
    }

    /// As it was written down.
    pub(crate) fn kept(name: String) -> Self {
        Self(name)
    }

    /// The domain whose events travel there.
    pub(crate) fn domain(&self) -> &str {
        self.0.split('.').nth(1).unwrap_or_default()
    }

    /// As the broker knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the full name of a fact says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    /// `aggregatetype` of its outbox row.
    pub(crate) domain: String,
    /// `type` of its outbox row.
    pub(crate) event: String,
    /// Version of its package.
    pub(crate) version: u32,
}

impl Kind {
    /// `coreloop.auth.v1.UserRegistered` is `auth`, `user_registered`; in the shared package `coreloop.event.v1` the
    /// first word is the domain: `ScanCompleted` is `scan`, `completed`.
    pub(crate) fn of(full_name: &str) -> Result<Self, Error> {
        let bad = || Error::Name(full_name.to_owned());
        let mut parts = full_name.split('.');
        let (Some("coreloop"), Some(package), Some(version), Some(message), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let version = version.strip_prefix('v').and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
        let words = snake(message);
        let (domain, event) = match package {
            "event" => words.split_once('_').map(|(domain, event)| (domain.to_owned(), event.to_owned())),
            own => Some((own.to_owned(), words)),
        }
        .filter(|(domain, _)| domain != crate::outbox::COMMAND)
        .ok_or_else(bad)?;
        Ok(Self { domain, event, version })
    }
}

fn camel(name: &str) -> String {
    let capital = |word: &str| {
        word.chars().take(1).map(|first| first.to_ascii_uppercase()).chain(word.chars().skip(1)).collect::<String>()
    };
    name.split('_').map(capital).collect()
}

fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Whether `name` may be written into SQL, which takes no parameters for names.
pub(crate) fn plain(name: &str) -> Result<&str, Error> {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 40
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { Ok(name) } else { Err(Error::Name(name.to_owned())) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn types_name_their_topics() {
        let named = |name: &str| Kind::of(name).map(|kind| Topic::named(&kind.domain, &kind.event).0).ok();
        assert_eq!(named("coreloop.auth.v1.UserRegistered").as_deref(), Some("events.auth.user_registered"));
        assert_eq!(named("coreloop.event.v1.ScanCompleted").as_deref(), Some("events.scan.completed"));
        assert_eq!(Kind::of("coreloop.auth.v2.UserRegistered").unwrap().version, 2);
        for wrong in [
            "",
            "coreloop.cmd.v1.Do",
            "coreloop.event.v1.Completed",
            "a.b.v1.C",
            "coreloop.auth.UserRegistered",
            "coreloop.auth.x.Y",
        ] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn topics_name_their_types() {
        let message = |topic: &str, version| Topic(topic.into()).message(version);
        let registered = Some("coreloop.event.v1.AuthUserRegistered".to_owned());
        assert_eq!(message("events.auth.user_registered", 1), registered);
        for nothing in ["events.auth.user_forgotten", "events.auth", "cmd:rewards.issue", ""] {
            assert_eq!(message(nothing, 1), None, "{nothing}");
        }
        assert_eq!(message("events.auth.user_registered", 9), None);
    }

    #[test]
    fn only_plain_names_reach_sql() {
        assert!(plain("auth").is_ok());
        for name in ["", "a.b", "a;", "A", "1a", &"a".repeat(41)] {
            assert!(plain(name).is_err(), "{name}");
        }
    }
}
