//! What clients ask for, and how often.

/// How often a client does what, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    /// Clients that ask at the same time.
    pub(crate) clients: usize,
    /// People whose money it is: the fewer, the more they are in each other's way.
    pub(crate) people: usize,
    /// What, with how many times in all.
    pub(crate) kinds: Vec<(Kind, u32)>,
}

impl Mix {
    /// Something of it is asked of the shop or rewards.
    pub(crate) fn market(&self) -> bool {
        use Kind as K;
        let of_market = |kind| {
            matches!(kind, K::Buy | K::BuyLimited | K::BuyLast | K::Convert | K::ChargeBack | K::Redeem | K::Twin)
        };
        self.kinds.iter().any(|(kind, _)| of_market(*kind))
    }
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Grant,
    /// A grant of what is over in seconds.
    ShortGrant,
    Spend,
    Transfer,
    /// A hold that lasts.
    Hold,
    /// A hold of one second.
    ShortHold,
    Capture,
    Release,
    /// What was captured or released is released once more, under another key.
    ReleaseAgain,
    Reverse,
    Batch,
    /// An item.
    Buy,
    /// A limited package.
    BuyLimited,
    /// A package of which there is one, when others ask for it.
    BuyLast,
    /// GOLD for external points.
    Convert,
    /// What was paid for a conversion that is through is taken back.
    ChargeBack,
    /// A reward for points.
    Redeem,
    /// What was done is asked again, of another replica.
    Repeat,
    /// What the wallet refused is asked again, when there may be enough.
    Insist,
    /// The same is asked of both replicas at once.
    Twin,
    /// A key that was used is used for something else.
    Forge,
}

/// Everything, as services do it.
#[must_use]
pub(crate) fn everything() -> Mix {
    use Kind as K;
    let kinds = [
        (K::Grant, 20),
        (K::ShortGrant, 3),
        (K::Spend, 24),
        (K::Transfer, 12),
        (K::Hold, 8),
        (K::ShortHold, 3),
        (K::Capture, 6),
        (K::Release, 4),
        (K::ReleaseAgain, 2),
        (K::Reverse, 4),
        (K::Batch, 5),
        (K::Buy, 5),
        (K::BuyLimited, 6),
        (K::BuyLast, 4),
        (K::Convert, 6),
        (K::ChargeBack, 3),
        (K::Redeem, 8),
        (K::Repeat, 4),
        (K::Insist, 3),
        (K::Twin, 4),
        (K::Forge, 2),
    ];
    Mix { clients: 12, people: 16, kinds: kinds.to_vec() }
}
