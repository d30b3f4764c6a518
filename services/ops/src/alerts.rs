//! How many dead letters of one queue somebody is to be woken for (chapter 06, item 4).

use coreloop_ops_api::v1::Queue;

/// So many are to be looked after in working hours.
pub const WARNING: i64 = 100;
/// So many wake somebody.
pub const CRITICAL: i64 = 1_000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// [`WARNING`] dead letters or more.
    Warning,
    /// [`CRITICAL`] dead letters or more.
    Critical,
}

impl Level {
    /// Both, the lower first.
    pub const ALL: [Self; 2] = [Self::Warning, Self::Critical];

    /// What the dead letters of a queue come to, archived ones too; none while they are few.
    #[must_use]
    pub fn of(queue: &Queue) -> Option<Self> {
        match queue.dead.saturating_add(queue.archived) {
            CRITICAL.. => Some(Self::Critical),
            WARNING.. => Some(Self::Warning),
            _ => None,
        }
    }

    /// As the metric's label says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Says in the log which queues have too many.
pub fn tell(queues: &[Queue]) {
    for queue in queues {
        let (dead, name) = (queue.dead + queue.archived, &queue.queue);
        match Level::of(queue) {
            Some(Level::Critical) => {
                tracing::error!(queue = name, dead, level = "critical", "too many dead letters");
            }
            Some(Level::Warning) => tracing::warn!(queue = name, dead, level = "warning", "too many dead letters"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dead: i64, archived: i64) -> Option<&'static str> {
        Level::of(&Queue { dead, archived, ..Queue::default() }).map(Level::name)
    }

    #[test]
    fn a_hundred_are_a_warning_and_a_thousand_critical_archived_ones_too() {
        assert_eq!((of(0, 0), of(99, 0), of(0, 99)), (None, None, None));
        assert_eq!((of(100, 0), of(1, 99), of(999, 0)), (Some("warning"), Some("warning"), Some("warning")));
        assert_eq!(
            (of(1_000, 0), of(0, 1_000), of(i64::MAX, 1)),
            (Some("critical"), Some("critical"), Some("critical"))
        );
    }
}
