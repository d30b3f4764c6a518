//! Somebody is told something, once: inbox, history, fact and pushes in the transaction of the event that it tells of.

use coreloop_eventing::{Facts, Queue};
use coreloop_facts::v1::NotificationCreated;
use coreloop_notification_api::v1::NotificationKind;
use coreloop_planted::{self as planted, Bug};
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    App, Error,
    history::{Happened, Note},
    origin::Origin,
    pushing::Push,
    store::{
        devices,
        inbox::{self, New},
        people::{self, Person},
        pushes,
    },
    text::{Params, render},
    times::proto_time,
};

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Whom.
    pub user: Uuid,
    /// What it is about.
    pub kind: NotificationKind,
    /// Which text.
    pub template: &'static str,
    /// What is filled in.
    pub params: Params,
    /// It is worth a push, where the user wants one.
    pub pushed: bool,
}

/// An event, as far as it matters to whom it is told.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Its id.
    pub id: Uuid,
    /// When it happened.
    pub at: Timestamp,
}

/// As the database numbers a kind.
#[must_use]
pub fn number(kind: NotificationKind) -> i16 {
    i16::try_from(kind as i32).unwrap_or_default()
}

/// As apps name a kind.
#[must_use]
pub fn name(kind: i16) -> &'static str {
    let kind = NotificationKind::try_from(i32::from(kind)).unwrap_or_default();
    kind.as_str_name().trim_start_matches("NOTIFICATION_KIND_")
}

/// Tells it, in the transaction of `connection`; none when it was told before, or the user does not want to know, or is gone.
///
/// # Errors
/// When the database fails.
pub async fn tell(
    app: &App,
    connection: &mut PgConnection,
    source: Source,
    telling: &Telling,
) -> Result<Option<Uuid>, Error> {
    let person = people::lock(connection, telling.user).await?;
    let kind = number(telling.kind);
    if person.closed || person.inbox_off.contains(&kind) {
        return Ok(None);
    }
    let (id, now) = (app.ids.uuid(), app.clock.now());
    let (template, params) = (telling.template, &telling.params);
    let event = if planted::on(Bug::ToldTwice) { id } else { source.id };
    let new = New { id, user: telling.user, kind, template, params, source: event, now };
    if !inbox::insert(connection, &new).await? {
        return Ok(None);
    }
    let fact = fact(app, &person, &new);
    let happened = [Happened::created(&fact)];
    app.history.append_at::<Note>(connection, (id, 0), &happened, &*app.ids, now).await?;
    let mut facts = Facts::new();
    facts.add(&*app.ids, telling.user.to_string(), &fact)?;
    if telling.pushed && is_pushed(app, &person, kind, source, now) {
        push(app, connection, &new, &person, &mut facts).await?;
    }
    app.outbox.write(connection, &facts, now).await?;
    // The commit is not ours: one that fails and is done again is counted twice, none is counted too few times.
    app.metrics.told(name(kind));
    Ok(Some(id))
}

/// What is old news is not pushed: it was replayed, or waited long.
fn is_pushed(app: &App, person: &Person, kind: i16, source: Source, now: Timestamp) -> bool {
    let age = now.duration_since(source.at);
    app.options.pushes()
        && !person.push_off.contains(&kind)
        && age < SignedDuration::from_secs(app.options.push_ttl_secs.into())
}

/// To every device: at once, or when quiet hours are over; or when there is room, for a queue that is full would hold up every fact
/// that is told beside it.
async fn push(
    app: &App,
    connection: &mut PgConnection,
    told: &New<'_>,
    person: &Person,
    facts: &mut Facts,
) -> Result<(), Error> {
    let (origin, now) = (Origin::current(), told.now);
    let mut due = person.quiet.as_ref().and_then(|quiet| quiet.over(now));
    let ahead = app.options.ahead.into();
    if due.is_none() && pushes::on_their_way(&mut *connection, ahead).await? >= ahead {
        due = Some(now);
    }
    for device in devices::of_user(&mut *connection, told.user).await? {
        let (id, key) = (app.ids.uuid(), app.ids.uuid());
        let (notification, device, user) = (told.id, device.id, told.user);
        let new = pushes::New { id, notification, device, user, key, due, origin: &origin, now };
        pushes::insert(connection, &new).await?;
        if due.is_none() {
            facts.command(&*app.ids, Queue::NOTIFICATION_PUSH, device.to_string(), key, &Push { push_id: id })?;
        }
    }
    Ok(())
}

fn fact(app: &App, person: &Person, told: &New<'_>) -> NotificationCreated {
    let text = render(told.template, told.params, person.language.unwrap_or(app.options.language));
    NotificationCreated {
        notification_id: told.id.to_string(),
        user_id: told.user.to_string(),
        kind: i32::from(told.kind),
        title: text.title,
        body: text.body,
        data: told.params.clone().into_iter().collect(),
        source_event_id: told.source.to_string(),
        occurred_at: Some(proto_time(told.now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number_that_the_database_takes_and_a_name() {
        for kind in (1..).map_while(|kind| NotificationKind::try_from(kind).ok()) {
            let number = number(kind);
            assert!((1..=1_000).contains(&number), "{kind:?}");
            assert!(!name(number).is_empty() && !name(number).contains("KIND"), "{kind:?}");
        }
        assert_eq!(name(2), "CHARACTER_ACQUIRED");
    }
}
