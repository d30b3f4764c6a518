//! The queues of chapter 06.

/// A command queue: what is asked for, how long it is worth doing, and how much of it may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Queue {
    name: &'static str,
    ttl_secs: u32,
    most: u32,
}

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;
const DAY: u32 = 24 * HOUR;

/// Somebody waits for it; later nobody does.
const fn prompt(name: &'static str, ttl_secs: u32) -> Queue {
    Queue { name, ttl_secs, most: 10_000 }
}

/// It is owed, and is done late rather than never.
const fn owed(name: &'static str, ttl_secs: u32) -> Queue {
    Queue { name, ttl_secs, most: 100_000 }
}

impl Queue {
    /// Classify the image of a scan.
    pub const SCAN_CLASSIFY: Self = prompt("scan.classify", 10 * MINUTE);
    /// Reward a scan. The chapter names it and nobody uses it: who rewards hears the fact `scan.completed`, which is written with the
    /// result and told until it is heard.
    pub const SCAN_REWARD: Self = owed("scan.reward", DAY);
    /// Run a chat's pipeline.
    pub const CHAT_PIPELINE: Self = prompt("chat.pipeline", 5 * MINUTE);
    /// Store a sign-in audit. auth's own worker reads it, many at a time.
    pub const AUTH_AUDIT: Self = owed("auth.audit", 7 * DAY);
    /// Ask a third party about a place. The chapter names it and nobody uses it: who asks for shops waits for the answer, and what is
    /// asked for at once is asked once.
    pub const LOCATION_EXTERNAL: Self = prompt("location.external", 5 * MINUTE);
    /// Process an uploaded image.
    pub const IMAGE_PROCESS: Self = owed("image.process", HOUR);
    /// Push a notification to devices.
    pub const NOTIFICATION_PUSH: Self = owed("notification.push", HOUR);
    /// Fetch the closing prices of a day.
    pub const EOD_FETCH: Self = prompt("eod.fetch", DAY);
    /// Settle the predictions of a day.
    pub const SETTLEMENT_COMPUTE: Self = prompt("settlement.compute", DAY);
    /// Award the points of a settlement.
    pub const POINTS_AWARD: Self = owed("points.award", 7 * DAY);
    /// Settle a purchase with the payment provider. The chapter names it and nobody uses it: the shop finds what is open in its own
    /// table, so that no command can be lost.
    pub const SHOP_SETTLE: Self = owed("shop.settle", 7 * DAY);
    /// Have a vendor issue a reward.
    pub const REWARDS_ISSUE: Self = owed("rewards.issue", DAY);

    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SCAN_CLASSIFY,
        Self::SCAN_REWARD,
        Self::CHAT_PIPELINE,
        Self::AUTH_AUDIT,
        Self::LOCATION_EXTERNAL,
        Self::IMAGE_PROCESS,
        Self::NOTIFICATION_PUSH,
        Self::EOD_FETCH,
        Self::SETTLEMENT_COMPUTE,
        Self::POINTS_AWARD,
        Self::SHOP_SETTLE,
        Self::REWARDS_ISSUE,
    ];

    /// The queue of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.name == name)
    }

    /// Name, as `scan.classify`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// A command that nobody began within this time is a dead letter; in seconds.
    #[must_use]
    pub fn ttl_secs(self) -> u32 {
        self.ttl_secs
    }

    /// Commands that may wait or be under way; more are refused.
    #[must_use]
    pub fn most(self) -> u32 {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_are_those_of_the_chapter() {
        let names: Vec<_> = Queue::ALL.iter().map(|queue| queue.name()).collect();
        let chapter = "scan.classify scan.reward chat.pipeline auth.audit location.external image.process \
                       notification.push eod.fetch settlement.compute points.award shop.settle rewards.issue";
        assert_eq!(names, chapter.split(' ').collect::<Vec<_>>());
        assert!(Queue::ALL.iter().all(|queue| queue.ttl_secs() >= MINUTE && queue.most() > 0));
        assert!(Queue::ALL.into_iter().all(|queue| Queue::named(queue.name()) == Some(queue)));
        assert_eq!(Queue::named("events"), None);
    }
}
