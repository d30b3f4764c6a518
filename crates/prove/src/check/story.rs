//! Photos and what came of them: each has one result, what its owner earned is there once, is counted once and told once, and their
//! socket has heard of it once and in order.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{Findings, Kind};
use crate::{
    journal::{Act, Deed, Said},
    story::{EARNING, MOST_OWNED, PHOTOS, REFUSED, live::Heard},
};

/// What is counted of a user (`who`), and how much it is to be.
const COUNTS: &[(&str, &str, i64)] = &[
    ("images", "count(*) from image.images where user_id = who", PHOTOS),
    ("tasks", "count(*) from scan.tasks where user_id = who", PHOTOS),
    ("results", "count(*) from scan.tasks where user_id = who and state = 2", PHOTOS),
    (
        "results that are worth nothing",
        "count(*) from scan.tasks where user_id = who and reward_status = 1",
        PHOTOS - EARNING,
    ),
    ("rewards", "count(*) from scan.tasks where user_id = who and reward_status = 3", MOST_OWNED),
    (
        "compensations",
        "count(*) from scan.tasks where user_id = who and reward_status = 4 and reward_reason = 'max_characters_reached'",
        REFUSED,
    ),
    ("decisions", "count(*) from character.grants where user_id = who", EARNING),
    ("characters", "count(*) from character.ownership where user_id = who", MOST_OWNED),
    (
        "characters in the history",
        "count(*) from character.events where aggregate_id = who and event_type = 'character.acquired'",
        MOST_OWNED,
    ),
    ("scans that count", "count(*) from my.heard where user_id = who and source = 'scan'", EARNING),
    ("characters that count", "count(*) from my.heard where user_id = who and source = 'character'", MOST_OWNED),
    ("notifications of characters", "count(*) from notification.inbox where user_id = who and kind = 2", MOST_OWNED),
    ("notifications of refusals", "count(*) from notification.inbox where user_id = who and kind = 3", REFUSED),
    ("other notifications", "count(*) from notification.inbox where user_id = who and kind not in (2, 3)", 0),
    ("image.registered", "count(*) from image.outbox where aggregateid = who::text and type = 'registered'", PHOTOS),
    ("scan.completed", "count(*) from scan.outbox where aggregateid = who::text and type = 'completed'", PHOTOS),
    ("scan.failed", "count(*) from scan.outbox where aggregateid = who::text and type = 'failed'", 0),
    (
        "scan.reward_compensated",
        "count(*) from scan.outbox where aggregateid = who::text and type = 'reward_compensated'",
        REFUSED,
    ),
    (
        "character.acquired",
        "count(*) from character.outbox where aggregateid = who::text and type = 'acquired'",
        MOST_OWNED,
    ),
    (
        "character.acquire_failed",
        "count(*) from character.outbox where aggregateid = who::text and type = 'acquire_failed'",
        REFUSED,
    ),
    (
        "my.footprint_moved",
        "count(*) from my.outbox where aggregateid = who::text and type = 'footprint_moved'",
        EARNING,
    ),
    (
        "notification.created",
        "count(*) from notification.outbox where aggregateid = who::text and type = 'created'",
        EARNING,
    ),
];

/// Figures of a user beside the facts that they are made of: equal, or the books do not balance.
const FIGURES: &[(&str, &str, &str)] = &[
    (
        "scans",
        "coalesce((select scans from my.people where user_id = who), 0)",
        "(select count(*) from scan.outbox where aggregateid = who::text and type = 'completed'
             and payload ->> 'reward_eligible' = 'true')",
    ),
    (
        "recycled",
        "coalesce((select recycled from my.people where user_id = who), 0)",
        "(select count(*) from scan.outbox where aggregateid = who::text and type = 'completed'
             and payload ->> 'reward_eligible' = 'true' and payload ->> 'recyclable' = 'true')",
    ),
    (
        "scans of days",
        "(select coalesce(sum(scans), 0)::bigint from my.footprints where user_id = who)",
        "coalesce((select scans from my.people where user_id = who), 0)",
    ),
    (
        "water of days",
        "(select coalesce(sum(water_ml), 0)::bigint from my.footprints where user_id = who)",
        "7000 * coalesce((select recycled from my.people where user_id = who), 0)",
    ),
    (
        "scans of categories",
        "(select coalesce(sum(scans), 0)::bigint from my.categories where user_id = who)",
        "coalesce((select scans from my.people where user_id = who), 0)",
    ),
    (
        "characters",
        "coalesce((select owned from my.people where user_id = who), 0)::bigint",
        "(select count(*) from character.ownership where user_id = who)",
    ),
    (
        "days in a row",
        "(select count(*) from my.outbox where aggregateid = who::text and type = 'streak_moved')",
        "(select count(*) from my.footprints where user_id = who)",
    ),
];

/// What a socket says of a fact: the type of the message, the facts with their ids, and where the message has that id.
const SAID: &[(&str, &str, &str)] = &[
    (
        "scan_update",
        "payload ->> 'task_id' as id, aggregateid, created_at from scan.outbox where type = 'completed'",
        "task_id",
    ),
    (
        "reward_granted",
        "payload ->> 'code' as id, aggregateid, created_at from character.outbox where type = 'acquired'",
        "item",
    ),
    (
        "notification",
        "payload ->> 'notification_id' as id, aggregateid, created_at from notification.outbox where type = 'created'",
        "notification_id",
    ),
];

/// Services where something may wait, or have been given up.
pub(crate) const HOLDING: [&str; 6] = ["image", "scan", "character", "my", "notification", "realtime"];

/// Looks at what people did, what is there, and what they heard.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn look(
    database: &mut PgConnection,
    users: &[Uuid],
    journal: &[Deed],
    heard: &[Heard],
    findings: &mut Findings,
) -> Result<()> {
    let rows: Vec<String> = sqlx::query_scalar("select id::text from image.images").fetch_all(&mut *database).await?;
    acknowledged(&rows.into_iter().collect(), journal, findings);
    for (what, counted, due) in COUNTS {
        let sql = format!("select who, (select {counted}) from unnest($1::uuid[]) as people (who)");
        let all: Vec<(Uuid, i64)> =
            sqlx::query_as(AssertSqlSafe(sql)).bind(users.to_vec()).fetch_all(&mut *database).await?;
        for (who, count) in all.into_iter().filter(|(_, count)| count != due) {
            let kind = if count < *due { Kind::Lost } else { Kind::Doubled };
            findings.add(kind, format!("user {who}: {count} {what}, not {due}"));
        }
    }
    for (what, figure, facts) in FIGURES {
        let sql = format!("select who, {figure}, {facts} from unnest($1::uuid[]) as people (who)");
        let all: Vec<(Uuid, i64, i64)> =
            sqlx::query_as(AssertSqlSafe(sql)).bind(users.to_vec()).fetch_all(&mut *database).await?;
        for (who, figure, facts) in all.into_iter().filter(|(_, figure, facts)| figure != facts) {
            findings.add(Kind::Books, format!("user {who}: {figure} {what}, and the facts say {facts}"));
        }
    }
    for schema in HOLDING {
        let sql = format!("select topic || ' ' || state || ' ' || reason from {schema}.held_events");
        let held: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *database).await?;
        for one in held {
            findings.add(Kind::Open, format!("{schema} has set aside {one}"));
        }
    }
    for (kind, facts, id) in SAID {
        let sql = format!(
            "select aggregateid, id, (extract(epoch from created_at) * 1000000)::bigint from (select {facts}) told"
        );
        let told: Vec<(String, String, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *database).await?;
        said((*kind, *id), &told, heard, findings);
    }
    for one in heard {
        in_order(one, findings);
        findings.resumed += one.resumed;
        findings.anew += one.anew;
    }
    findings.people = users.len();
    Ok(())
}

/// Sockets went on after they had ended, and a log could be compared: else nothing is proven of them.
pub(crate) fn worked(heard: &[Heard], findings: &mut Findings) {
    if heard.iter().all(|one| one.resumed == 0) {
        findings.add(Kind::Idle, "no socket was resumed");
    }
    if heard.iter().all(|one| one.messages.is_empty()) {
        findings.add(Kind::Idle, "no socket heard anything");
    }
    if heard.iter().all(|one| one.log.is_none()) {
        findings.add(Kind::Idle, "no socket could be held against the log");
    }
}

/// What was acknowledged is there, as one image; what is there was sent by somebody.
fn acknowledged(images: &HashSet<String>, journal: &[Deed], findings: &mut Findings) {
    let mut named = HashSet::new();
    for (number, deed) in journal.iter().enumerate().filter(|(_, deed)| matches!(deed.act, Act::Photo { .. })) {
        let ids: HashSet<&str> = deed
            .replies
            .iter()
            .filter_map(|reply| match &reply.said {
                Said::Taken { id, .. } => Some(id.as_str()),
                _ => None,
            })
            .collect();
        if ids.len() > 1 {
            findings.of_deed(Kind::Doubled, number, "is there as more than one image");
        }
        if ids.iter().any(|id| !images.contains(*id)) {
            findings.of_deed(Kind::Lost, number, "was acknowledged and is not there");
        }
        if deed.replies.iter().any(|reply| matches!(reply.said, Said::Refused(_))) {
            findings.of_deed(Kind::Lost, number, "was refused, and is a photo like any other");
        } else if deed.open() {
            findings.of_deed(Kind::Open, number, "nobody can tell what became of it");
        }
        findings.stories += usize::from(!ids.is_empty());
        named.extend(ids);
    }
    for id in images.iter().filter(|id| !named.contains(id.as_str())) {
        findings.add(Kind::Doubled, format!("image {id} was registered by nobody"));
    }
}

/// A fact of a time in which its user's socket stood was said, and nothing was said twice.
fn said((kind, id): (&str, &str), told: &[(String, String, i64)], heard: &[Heard], findings: &mut Findings) {
    for one in heard {
        let Some((_, began)) = one.began else { continue };
        let mut times = HashMap::<&str, usize>::new();
        for message in one.messages.iter().filter(|message| message["type"] == kind) {
            *times.entry(message["data"][id].as_str().unwrap_or_default()).or_default() += 1;
        }
        let user = one.user.to_string();
        for (_, id, at) in told.iter().filter(|(owner, ..)| *owner == user) {
            let said = times.remove(id.as_str()).unwrap_or_default();
            if said > 1 {
                findings.add(Kind::Doubled, format!("user {user}: {kind} {id} was said {said} times"));
            }
            if said == 0 && *at > began.as_microsecond() {
                findings.add(Kind::Untold, format!("user {user}: {kind} {id} was not said"));
            }
        }
        for id in times.keys() {
            findings.add(Kind::Doubled, format!("user {user}: {kind} {id} was said and is not there"));
        }
    }
}

/// Places only grow, and a socket has heard what the log has.
fn in_order(heard: &Heard, findings: &mut Findings) {
    let user = heard.user;
    for message in &heard.disorder {
        findings.add(Kind::Order, format!("user {user}: {message}"));
    }
    if heard.began.is_none() {
        findings.add(Kind::Open, format!("user {user}: no socket was ever opened"));
    }
    let Some(log) = &heard.log else { return };
    let place = |message: &Value| message["seq"].as_i64().unwrap_or_default();
    // What came after the log was asked is not compared.
    let newest = log.last().copied().unwrap_or_default();
    let places: Vec<i64> = heard.messages.iter().map(place).filter(|place| *place <= newest).collect();
    if *log != places {
        findings.add(Kind::Untold, format!("user {user}: the log has {log:?}, and the socket heard {places:?}"));
    }
    findings.compared += 1;
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn heard(messages: &[(i64, &str)]) -> Heard {
        let of = |(seq, id): &(i64, &str)| json!({"type": "notification", "seq": seq, "data": {"notification_id": id}});
        let began = Some((1, Timestamp::from_microsecond(100).unwrap()));
        Heard { began, messages: messages.iter().map(of).collect(), ..Heard::default() }
    }

    fn found(one: &Heard, told: &[(&str, i64)]) -> Vec<Kind> {
        let mut findings = Findings::default();
        let row = |(id, at): &(&str, i64)| (one.user.to_string(), (*id).to_owned(), *at);
        let told: Vec<_> = told.iter().map(row).collect();
        said(("notification", "notification_id"), &told, std::slice::from_ref(one), &mut findings);
        in_order(one, &mut findings);
        findings.violations.iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn what_is_said_twice_or_not_at_all_is_found() {
        assert_eq!(found(&heard(&[(2, "a"), (3, "b")]), &[("a", 50), ("b", 150)]), []);
        assert_eq!(found(&heard(&[(3, "b")]), &[("a", 50), ("b", 150)]), [], "the state had it");
        assert_eq!(found(&heard(&[(2, "a")]), &[("a", 50), ("b", 150)]), [Kind::Untold]);
        assert_eq!(found(&heard(&[(2, "a"), (3, "a")]), &[("a", 50)]), [Kind::Doubled]);
        assert_eq!(found(&heard(&[(2, "c")]), &[]), [Kind::Doubled]);
        let gap = Heard { log: Some(vec![2, 3]), ..heard(&[(3, "a")]) };
        assert_eq!(found(&gap, &[("a", 150)]), [Kind::Untold]);
        let later = Heard { log: Some(vec![2]), ..heard(&[(2, "a"), (3, "b")]) };
        assert_eq!(found(&later, &[("a", 150), ("b", 150)]), [], "it was said after the log was asked");
        let late = Heard { disorder: vec!["at 2 after 3".to_owned()], ..heard(&[]) };
        assert_eq!(found(&late, &[]), [Kind::Order]);
    }

    #[test]
    fn a_photo_is_one_image_that_is_there() {
        let deed = |ids: &[&str]| Deed {
            caller: "eco",
            key: "k".to_owned(),
            act: Act::Photo { user: "u".to_owned(), name: "bottle.jpg" },
            forged: false,
            replies: ids
                .iter()
                .map(|id| crate::journal::Reply {
                    asked: std::time::Duration::ZERO,
                    heard: std::time::Duration::ZERO,
                    said: Said::Taken { id: (*id).to_owned(), state: 0 },
                })
                .collect(),
        };
        let looked_at = |there: &[&str], deeds: &[Deed]| {
            let mut findings = Findings::default();
            let there = there.iter().map(|id| (*id).to_owned()).collect();
            acknowledged(&there, deeds, &mut findings);
            (findings.stories, findings.violations.iter().map(|violation| violation.kind).collect::<Vec<_>>())
        };
        assert_eq!(looked_at(&["a"], &[deed(&["a", "a"])]), (1, vec![]));
        assert_eq!(looked_at(&["a", "b"], &[deed(&["a", "b"])]), (1, vec![Kind::Doubled]));
        assert_eq!(looked_at(&[], &[deed(&["a"])]), (1, vec![Kind::Lost]));
        assert_eq!(looked_at(&["a"], &[]), (0, vec![Kind::Doubled]));
        assert_eq!(looked_at(&[], &[deed(&[])]), (0, vec![Kind::Open]));
    }
}
