//! How somebody wants to be told: read from the contract, changed by a mask, held to rules. Pure.

use coreloop_notification_api::v1::{NotificationKind, Preferences, QuietHours};
use jiff::tz::TimeZone;

use crate::{
    Error,
    quiet::{Quiet, minute_of, text_of},
    store::people::Person,
    text::Language,
};

/// Fields that a mask may name.
const FIELDS: [&str; 7] = [
    "inbox_off",
    "push_off",
    "language",
    "quiet_hours",
    "quiet_hours.start",
    "quiet_hours.end",
    "quiet_hours.time_zone",
];

/// As the contract says it.
#[must_use]
pub fn proto(person: &Person) -> Preferences {
    let kinds = |numbers: &[i16]| numbers.iter().map(|kind| i32::from(*kind)).collect();
    let language = match person.language {
        None => "",
        Some(Language::Ko) => "ko",
        Some(Language::En) => "en",
    };
    Preferences {
        inbox_off: kinds(&person.inbox_off),
        push_off: kinds(&person.push_off),
        language: language.to_owned(),
        quiet_hours: person.quiet.as_ref().map(hours),
    }
}

fn hours(quiet: &Quiet) -> QuietHours {
    QuietHours { start: text_of(quiet.start), end: text_of(quiet.end), time_zone: quiet.zone.clone() }
}

/// A person with the fields of `asked` that `mask` names; an empty mask means those that are set. Quiet hours without a time zone are
/// those of `zone`.
///
/// # Errors
/// Fields that there are not; quiet hours that are none.
pub fn changed(person: &Person, asked: &Preferences, mask: &[String], zone: &str) -> Result<Person, Error> {
    let set = set_fields(asked);
    let mask: Vec<&str> = if mask.is_empty() { set } else { mask.iter().map(String::as_str).collect() };
    if mask.iter().any(|field| !FIELDS.contains(field)) {
        return Err(Error::invalid("update_mask", "names a field that there is not"));
    }
    let mut person = person.clone();
    if mask.contains(&"inbox_off") {
        person.inbox_off = kinds(&asked.inbox_off);
    }
    if mask.contains(&"push_off") {
        person.push_off = kinds(&asked.push_off);
    }
    if mask.contains(&"language") {
        person.language = Language::of(&asked.language);
    }
    if mask.iter().any(|field| field.starts_with("quiet_hours")) {
        person.quiet = quiet(person.quiet.as_ref(), asked.quiet_hours.as_ref(), &mask, zone)?;
    }
    Ok(person)
}

fn set_fields(asked: &Preferences) -> Vec<&'static str> {
    let set = [
        ("inbox_off", !asked.inbox_off.is_empty()),
        ("push_off", !asked.push_off.is_empty()),
        ("language", !asked.language.is_empty()),
        ("quiet_hours", asked.quiet_hours.is_some()),
    ];
    set.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field).collect()
}

/// In their order, each once.
fn kinds(asked: &[i32]) -> Vec<i16> {
    let known = asked.iter().filter(|kind| NotificationKind::try_from(**kind).is_ok_and(|kind| kind as i32 > 0));
    let mut kinds: Vec<i16> = known.filter_map(|kind| i16::try_from(*kind).ok()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn quiet(
    before: Option<&Quiet>,
    asked: Option<&QuietHours>,
    mask: &[&str],
    zone: &str,
) -> Result<Option<Quiet>, Error> {
    let whole = mask.contains(&"quiet_hours");
    let Some(asked) = asked else {
        // Named and not given: they are taken back.
        return if whole { Ok(None) } else { Err(Error::invalid("preferences.quiet_hours", "must be given")) };
    };
    let mut hours = before.map(hours).unwrap_or_default();
    let take = |field: &str, from: &String, to: &mut String| {
        if whole || mask.contains(&field) {
            to.clone_from(from);
        }
    };
    take("quiet_hours.start", &asked.start, &mut hours.start);
    take("quiet_hours.end", &asked.end, &mut hours.end);
    take("quiet_hours.time_zone", &asked.time_zone, &mut hours.time_zone);
    if hours.time_zone.is_empty() {
        zone.clone_into(&mut hours.time_zone);
    }
    let minute = |field: &str, text: &str| {
        minute_of(text)
            .ok_or_else(|| Error::invalid(&format!("preferences.quiet_hours.{field}"), "must be a time of day"))
    };
    let (start, end) = (minute("start", &hours.start)?, minute("end", &hours.end)?);
    if start == end {
        return Err(Error::invalid("preferences.quiet_hours.end", "must be another time than start"));
    }
    if TimeZone::get(&hours.time_zone).is_err() {
        return Err(Error::invalid("preferences.quiet_hours.time_zone", "must be a time zone, as Asia/Seoul"));
    }
    Ok(Some(Quiet { start, end, zone: hours.time_zone }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn hours(start: &str, end: &str, time_zone: &str) -> Preferences {
        let (start, end, time_zone) = (start.to_owned(), end.to_owned(), time_zone.to_owned());
        Preferences { quiet_hours: Some(QuietHours { start, end, time_zone }), ..Preferences::default() }
    }

    fn change(person: &Person, asked: &Preferences, mask: &[&str]) -> Result<Person, Error> {
        let mask: Vec<String> = mask.iter().map(|field| (*field).to_owned()).collect();
        changed(person, asked, &mask, "Asia/Seoul")
    }

    fn refused(asked: &Preferences, mask: &[&str]) -> String {
        match change(&Person::default(), asked, mask).unwrap_err() {
            Error::Invalid(violations) => violations.first().unwrap().field.clone(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_what_the_mask_names_is_changed() {
        let person = Person { inbox_off: vec![4], ..Person::default() };
        let asked = Preferences { inbox_off: vec![2, 2, 1, 999], language: "en".to_owned(), ..Preferences::default() };
        let by_mask = change(&person, &asked, &["language"]).unwrap();
        assert_eq!(by_mask, Person { language: Some(Language::En), ..person.clone() });
        let by_what_is_set = change(&person, &asked, &[]).unwrap();
        assert_eq!((by_what_is_set.inbox_off, by_what_is_set.push_off), (vec![1, 2], vec![1]));
        assert_eq!(change(&person, &Preferences::default(), &[]).unwrap(), person, "nothing is set");
        let emptied = change(&person, &Preferences::default(), &["inbox_off", "push_off"]).unwrap();
        assert_eq!((emptied.inbox_off, emptied.push_off), (vec![], vec![]));
        assert_eq!(refused(&asked, &["user_id"]), "update_mask");
    }

    #[test]
    fn quiet_hours_are_set_whole_or_by_their_parts_and_taken_back() {
        let nobody = Person::default();
        let night = change(&nobody, &hours("22:00", "07:30", ""), &["quiet_hours"]).unwrap();
        assert_eq!(night.quiet, Some(Quiet { start: 1_320, end: 450, zone: "Asia/Seoul".to_owned() }));
        let later = change(&night, &hours("", "08:00", ""), &["quiet_hours.end"]).unwrap();
        assert_eq!(later.quiet.as_ref().map(|quiet| (quiet.start, quiet.end)), Some((1_320, 480)));
        assert_eq!(proto(&later).quiet_hours, hours("22:00", "08:00", "Asia/Seoul").quiet_hours);
        assert_eq!(change(&later, &Preferences::default(), &["quiet_hours"]).unwrap().quiet, None);
    }

    #[test]
    fn quiet_hours_that_are_none_are_refused_by_name() {
        let field = |name: &str| format!("preferences.quiet_hours.{name}");
        assert_eq!(refused(&hours("", "08:00", ""), &["quiet_hours.end"]), field("start"));
        assert_eq!(refused(&hours("22:00", "", ""), &["quiet_hours"]), field("end"));
        assert_eq!(refused(&hours("22:00", "22:00", ""), &["quiet_hours"]), field("end"));
        assert_eq!(refused(&hours("22:00", "08:00", "Mars/Olympus"), &["quiet_hours"]), field("time_zone"));
        assert_eq!(refused(&Preferences::default(), &["quiet_hours.end"]), "preferences.quiet_hours");
    }
}
