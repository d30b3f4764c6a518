//! A scan that earns something counts: once, on the day on which its photo came.

use coreloop_facts::v1::{MyFootprintMoved, MyStreakMoved};
use coreloop_planted::{self as planted, Bug};
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    changing::Change,
    metrics::ScanLabels,
    person::{Footprint, Happened, Scanned},
    store::{footprints, heard, people, streaks},
    streak::Streak,
    times::{day_of, day_text, proto_time},
};

/// A scan that earns something.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Whose.
    pub user: Uuid,
    /// Its task: a task is one scan.
    pub task_id: String,
    /// Category, in small letters.
    pub category: String,
    /// Day (UTC) on which the photo came.
    pub day: i32,
    /// It was of something that can be recycled.
    pub recyclable: bool,
    /// When.
    pub at: Timestamp,
}

/// Counts a scan, in the transaction of `connection`; `false` when it was counted before, or its user is gone.
///
/// # Errors
/// When the database fails.
pub async fn count(app: &App, connection: &mut PgConnection, scan: &Scan, now: Timestamp) -> Result<bool, Error> {
    let standing = people::lock(&mut *connection, scan.user).await?;
    if standing.closed {
        return Ok(false);
    }
    let claimed = heard::claim(&mut *connection, "scan", &scan.task_id, scan.user).await?;
    if !claimed && !planted::on(Bug::CountTwice) {
        return Ok(false);
    }
    let worth = app.options.worth(scan.recyclable);
    let before = streaks::find(&mut *connection, scan.user).await?;
    let is_new = footprints::add(&mut *connection, scan.user, scan.day, &worth).await?;
    let after = if is_new { rows(&mut *connection, scan.user).await? } else { before };
    let variety = footprints::add_category(&mut *connection, scan.user, &scan.category).await?;

    let mut change = Change::of(scan.user, standing);
    change.standing.total = standing.total.plus(&worth);
    let recycled = if scan.recyclable { "true" } else { "false" };
    // The commit is not ours: one that fails and is done again is counted twice, none is counted too few times.
    app.metrics.scans.get_or_create(&ScanLabels { recycled }).inc();
    if worth.recycled > 0 {
        change.facts.add(&*app.ids, scan.user.to_string(), &moved(scan, &worth))?;
    }
    if let Some(fact) = longer(scan, (&before, &after), now) {
        change.facts.add(&*app.ids, scan.user.to_string(), &fact)?;
    }
    change.happened.push(Happened::Scanned(Scanned {
        task_id: scan.task_id.clone(),
        category: scan.category.clone(),
        day: scan.day,
        worth,
        at: scan.at.as_microsecond(),
    }));
    change.earn(app, &mut *connection, (variety, after.longest), now).await?;
    change.write(app, connection, now).await?;
    Ok(true)
}

/// The rows of days with the one that is new.
async fn rows(connection: &mut PgConnection, user: Uuid) -> Result<Streak, Error> {
    let streak = footprints::streak(&mut *connection, user).await?;
    streaks::put(connection, user, &streak).await?;
    Ok(streak)
}

fn moved(scan: &Scan, worth: &Footprint) -> MyFootprintMoved {
    MyFootprintMoved {
        user_id: scan.user.to_string(),
        recycled: worth.recycled,
        tree_milli: worth.tree_milli,
        water_ml: worth.water_ml,
        co2_g: worth.co2_g,
        task_id: scan.task_id.clone(),
        day: day_text(scan.day),
        occurred_at: Some(proto_time(scan.at)),
    }
}

/// Rows that are longer than they were: a day that is added makes none shorter.
fn longer(scan: &Scan, (before, after): (&Streak, &Streak), now: Timestamp) -> Option<MyStreakMoved> {
    let today = day_of(now);
    let lasts = |streak: &Streak| (streak.current(today), streak.longest);
    (lasts(before) != lasts(after)).then(|| MyStreakMoved {
        user_id: scan.user.to_string(),
        current: after.current(today),
        longest: after.longest,
        day: day_text(scan.day),
        occurred_at: Some(proto_time(now)),
    })
}
