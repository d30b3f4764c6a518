//! The planted bugs: for each the work and the blows that would show it. One that is not found makes the whole proof worthless.

use std::time::Duration;

use coreloop_planted::Bug;

use crate::{
    carried::Over,
    chaos::Blow,
    check::Kind as Found,
    mix::{Kind, Mix},
    run::{End, Plan},
    story,
};

/// A mesh that does not come to rest for so long never will.
const PATIENCE: Duration = Duration::from_secs(40);

/// Runs that a bug is given to show itself: where a blow falls is the machine's, and one that has other work may miss once.
pub(crate) const ATTEMPTS: u32 = 3;

/// The run that is to find a bug; each attempt does as much more as the first.
pub(crate) fn plan(bug: Bug, seed: u64, attempt: u32) -> Plan {
    let (mix, blows) = (mix(bug), blows(bug).repeat(attempt as usize));
    let end = if bug == Bug::NoInbox { End::TellAgain } else { End::Calm };
    let name = format!("{bug}-{attempt}");
    Plan { name, over: over(bug), seed, mix, blows, bug: Some(bug), end, patience: PATIENCE }
}

/// The run that is to find a bug of the eco app; each attempt does as much more as the first. None for the others.
pub(crate) fn of_eco(bug: Bug, seed: u64, attempt: u32) -> Option<story::Plan> {
    let (tell_again, as_others) = match bug {
        Bug::CountTwice => (false, true),
        Bug::ToldTwice | Bug::LostGap => (true, false),
        _ => return None,
    };
    let (name, people, over, blows, bug) = (format!("{bug}-{attempt}"), 3 * attempt, over(bug), Vec::new(), Some(bug));
    Some(story::Plan { name, over, seed, people, blows, bug, tell_again, as_others, patience: PATIENCE })
}

/// What carries events and commands where a bug lives.
pub(crate) fn over(bug: Bug) -> Over {
    if bug == Bug::EarlyOffset { Over::Brokers } else { Over::Redis }
}

/// What a bug must be found by: anything else may come of a slow machine.
pub(crate) fn signs(bug: Bug) -> &'static [Found] {
    match bug {
        Bug::NoRowLock => &[Found::Order],
        Bug::KeyForgotten | Bug::EarlyEvent | Bug::NoInbox | Bug::UnscopedKey | Bug::RefusalForgotten => {
            &[Found::Doubled]
        }
        Bug::SharedKey => &[Found::Lost, Found::Doubled],
        Bug::EarlyReply => &[Found::Lost],
        Bug::LostRow | Bug::IdOrder | Bug::EarlyAck | Bug::EarlyOffset => &[Found::Untold],
        Bug::NoEntry | Bug::LateCapture | Bug::CheckThenAct | Bug::PieceTwice => &[Found::Books],
        Bug::DoubleRelease => &[Found::Doubled, Found::Books],
        Bug::CountTwice => &[Found::Books],
        Bug::ToldTwice | Bug::LostGap => &[Found::Doubled],
    }
}

fn mix(bug: Bug) -> Mix {
    use Kind as K;
    let of = |clients, people, kinds: &[(K, u32)]| Mix { clients, people, kinds: kinds.to_vec() };
    match bug {
        Bug::LateCapture => of(12, 12, &[(K::Grant, 4), (K::ShortHold, 4), (K::Capture, 3)]),
        Bug::DoubleRelease => of(8, 8, &[(K::Grant, 4), (K::Hold, 4), (K::Release, 3), (K::ReleaseAgain, 2)]),
        // Few people: another takes the place of what was told and never came.
        Bug::EarlyEvent => of(24, 4, &[(K::Grant, 3), (K::Spend, 2)]),
        // Few people, so that their events are close to each other; not so few that each batch has all that is theirs.
        Bug::NoRowLock => of(16, 6, &[(K::Grant, 3), (K::Spend, 2)]),
        Bug::CheckThenAct => of(24, 24, &[(K::Grant, 3), (K::BuyLast, 6)]),
        Bug::UnscopedKey => of(8, 8, &[(K::Grant, 3), (K::Buy, 3), (K::BuyLimited, 3)]),
        Bug::PieceTwice => of(8, 8, &[(K::Grant, 3), (K::Redeem, 5)]),
        Bug::RefusalForgotten => of(8, 8, &[(K::Grant, 3), (K::Spend, 5), (K::Insist, 4)]),
        Bug::KeyForgotten | Bug::SharedKey | Bug::NoEntry => {
            of(12, 16, &[(K::Grant, 3), (K::Spend, 2), (K::Repeat, 2)])
        }
        Bug::NoInbox | Bug::EarlyReply | Bug::IdOrder | Bug::LostRow | Bug::EarlyAck | Bug::EarlyOffset => {
            of(16, 12, &[(K::Grant, 3), (K::Spend, 2)])
        }
        // They have a story instead.
        Bug::CountTwice | Bug::ToldTwice | Bug::LostGap => of(0, 0, &[]),
    }
}

fn blows(bug: Bug) -> Vec<Blow> {
    const SOON: Duration = Duration::from_millis(50);
    /// A blow that does nothing but let some work be done.
    const WORK: Blow = Blow::Cut("wallet-0>auth", Duration::from_millis(300));
    let again = |blow: Blow, times: usize| vec![blow; times];
    let slow = |ways: &[&'static str], by_ms: u64| -> Vec<Blow> {
        ways.iter().map(|way| Blow::Slow(way, Duration::from_millis(by_ms))).collect()
    };
    match bug {
        // What commits late commits in one, and the relay is in the other: it is to look before that.
        Bug::NoRowLock | Bug::IdOrder => {
            let other = vec![Blow::Kill("wallet-0", SOON)];
            [other, slow(&["wallet-0>postgres"], 20), again(WORK, 8)].concat()
        }
        // Any commit that waits for the disk takes the others along; who waits for none has seconds before they are written.
        Bug::EarlyReply => {
            let quiet = slow(&["witness-0>postgres", "witness-1>postgres"], 2_000);
            [quiet, again(Blow::CrashPostgres(SOON), 3)].concat()
        }
        // What is cut off is rolled back, and tried again.
        Bug::LostRow | Bug::EarlyEvent => {
            let cut = |way| Blow::Cut(way, Duration::from_millis(5));
            [cut("wallet-0>postgres"), cut("wallet-1>postgres")].repeat(if bug == Bug::LostRow { 7 } else { 12 })
        }
        Bug::EarlyAck | Bug::EarlyOffset => {
            [slow(&["witness-0>postgres", "witness-1>postgres"], 40), again(Blow::KillHearing(SOON), 4)].concat()
        }
        Bug::NoInbox => vec![WORK],
        Bug::CheckThenAct => [slow(&["market-0>postgres", "market-1>postgres"], 40), again(WORK, 5)].concat(),
        Bug::UnscopedKey | Bug::PieceTwice | Bug::RefusalForgotten => again(WORK, 3),
        Bug::KeyForgotten => vec![WORK, Blow::Cut("client>wallet-0", SOON)],
        Bug::LateCapture => again(WORK, 6),
        Bug::SharedKey | Bug::NoEntry | Bug::DoubleRelease => again(WORK, 2),
        Bug::CountTwice | Bug::ToldTwice | Bug::LostGap => Vec::new(),
    }
}
