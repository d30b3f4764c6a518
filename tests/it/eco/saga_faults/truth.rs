//! What photos came to, read from the tables: each count is what is owed, neither less nor more.

use std::fmt::Write as _;

use coreloop_testkit::{TestMesh, wait::PATIENCE, wait_until};

/// What somebody is owed for their photos: characters, and refusals of what would be one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    pub characters: i64,
    pub refusals: i64,
}

impl Owed {
    /// For one photo.
    pub const CHARACTER: Self = Self { characters: 1, refusals: 0 };
    /// For one, and for one that comes when nothing may be granted any more.
    pub const CHARACTER_AND_REFUSAL: Self = Self { characters: 1, refusals: 1 };

    /// All photos of theirs.
    fn photos(self) -> i64 {
        self.characters + self.refusals
    }
}

/// Everybody with what they are owed, as rows of `owed (who, characters, refusals)`.
fn rows(all: &[(String, Owed)]) -> String {
    let mut rows = String::new();
    for (who, Owed { characters, refusals }) in all {
        let comma = if rows.is_empty() { "" } else { ", " };
        write!(rows, "{comma}('{who}'::uuid, {characters}::bigint, {refusals}::bigint)").unwrap();
    }
    format!("(values {rows}) owed (who, characters, refusals)")
}

/// Counts of whom the last step has not been taken: what was earned is noted or compensated, counted, and told.
pub fn open(all: &[(String, Owed)]) -> String {
    format!(
        "select count(*) from {rows}
          where (select count(*) from scan.tasks where user_id = who and reward_status in (3, 4)) < characters + refusals
             or (select count(*) from my.heard where user_id = who) < 2 * characters + refusals
             or (select count(*) from notification.inbox where user_id = who) < characters + refusals",
        rows = rows(all)
    )
}

/// How many of something a user is owed.
type Wanted = fn(Owed) -> i64;

/// What is counted of a user (`who`), and what it is to be.
const COUNTS: &[(&str, &str, Wanted)] = &[
    ("images", "image.images where user_id = who", Owed::photos),
    ("tasks", "scan.tasks where user_id = who", Owed::photos),
    ("rewards", "scan.tasks where user_id = who and reward_status = 3", |owed| owed.characters),
    (
        "compensations",
        "scan.tasks where user_id = who and reward_status = 4 and reward_reason = 'max_characters_reached'",
        |owed| owed.refusals,
    ),
    ("decisions", "character.grants where user_id = who", Owed::photos),
    ("characters", "character.ownership where user_id = who", |owed| owed.characters),
    (
        "grants in the history",
        "character.events where aggregate_id = who and event_type = 'character.acquired'",
        |owed| owed.characters,
    ),
    ("scans that count", "my.heard where user_id = who and source = 'scan'", Owed::photos),
    ("characters that count", "my.heard where user_id = who and source = 'character'", |owed| owed.characters),
    ("notifications of characters", "notification.inbox where user_id = who and kind = 2", |owed| owed.characters),
    ("notifications of refusals", "notification.inbox where user_id = who and kind = 3", |owed| owed.refusals),
];

/// Facts that were told of a user, by service and type, and how many they are to be.
const FACTS: &[(&str, &str, Wanted)] = &[
    ("image", "registered", Owed::photos),
    ("scan", "completed", Owed::photos),
    ("scan", "failed", |_| 0),
    ("scan", "reward_compensated", |owed| owed.refusals),
    ("character", "acquired", |owed| owed.characters),
    ("character", "acquire_failed", |owed| owed.refusals),
    ("my", "footprint_moved", Owed::photos),
    ("my", "streak_moved", |_| 1),
    ("notification", "created", Owed::photos),
];

/// Services that hear something, with what waits there or was given up.
const HOLDING: [&str; 5] = ["image", "scan", "character", "my", "notification"];

/// Everybody has what they are owed, and was told each of it, once; nothing waits and nothing was given up.
pub async fn once(mesh: &TestMesh, all: &[(String, Owed)]) {
    let held = HOLDING.map(|schema| format!("(select count(*) from {schema}.held_events)")).join(" + ");
    wait_until("nothing is held", PATIENCE * 2, async || mesh.db.count(&format!("select {held}")).await == 0).await;
    for (who, owed) in all {
        for (what, of, wanted) in COUNTS {
            let of = of.replace("who", &format!("'{who}'"));
            assert_eq!(mesh.db.count(&format!("select count(*) from {of}")).await, wanted(*owed), "{what} of {who}");
        }
        for (schema, fact, wanted) in FACTS {
            let of = format!("aggregatetype = '{schema}' and type = '{fact}' and aggregateid = '{who}'");
            let told = mesh.db.count(&format!("select count(*) from {schema}.outbox where {of}")).await;
            assert_eq!(told, wanted(*owed), "{schema}.{fact} of {who}");
        }
        let figures = format!(
            "select count(*) from my.people p join my.footprints f using (user_id) join my.streaks s using (user_id)
              where p.user_id = '{who}' and p.owned = {characters} and p.scans = {photos} and p.recycled = {photos}
                and p.tree_milli = 20 * {photos} and p.water_ml = 7000 * {photos} and p.co2_g = 230 * {photos}
                and f.scans = {photos} and s.run = 1 and s.longest = 1",
            characters = owed.characters,
            photos = owed.photos(),
        );
        assert_eq!(mesh.db.count(&figures).await, 1, "figures of {who}");
    }
}
