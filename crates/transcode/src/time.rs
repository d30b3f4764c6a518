//! Text forms of Timestamp, Duration and FieldMask, as ProtoJSON defines them.

use std::fmt::Write;

/// Seconds and nanoseconds.
pub(crate) type Parts = (i64, i32);

/// 0001-01-01T00:00:00Z.
const FIRST_SECOND: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;
/// Ten thousand years, the range of Duration.
const LONGEST_SECS: i64 = 315_576_000_000;
const NANOS: i64 = 1_000_000_000;
const DAY_SECS: i64 = 86_400;
/// Days of 400 Gregorian years.
const ERA_DAYS: i64 = 146_097;

/// Parses RFC 3339; years 1 to 9999.
pub(crate) fn parse_timestamp(text: &str) -> Option<Parts> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let (clock, rest) = (rest.strip_prefix(['T', 't'])?.get(..8)?, rest.get(9..)?);
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let (nanos, zone) = match rest.strip_prefix('.') {
        Some(tail) => {
            let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
            (fraction(tail.get(..digits)?)?, tail.get(digits..)?)
        }
        None => (0, rest),
    };
    let offset_secs = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let [hours, minutes] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
            (hours < 24 && minutes < 60).then_some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))?
        }
    };
    let days = days_of([year, month, day].map(i64::from));
    // A date that does not exist comes back as another one.
    if date_of(days) != [year, month, day].map(i64::from) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let secs = days * DAY_SECS + i64::from(hour * 3600 + minute * 60 + second) - offset_secs;
    (FIRST_SECOND..=LAST_SECOND).contains(&secs).then_some((secs, nanos))
}

/// Writes RFC 3339 in UTC with 0, 3, 6 or 9 digits; none out of range.
pub(crate) fn write_timestamp(out: &mut impl Write, (secs, nanos): Parts) -> Option<()> {
    if !(FIRST_SECOND..=LAST_SECOND).contains(&secs) || !(0..NANOS).contains(&i64::from(nanos)) {
        return None;
    }
    let ([year, month, day], clock) = (date_of(secs.div_euclid(DAY_SECS)), secs.rem_euclid(DAY_SECS));
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}").ok()?;
    write_fraction(out, nanos)?;
    out.write_char('Z').ok()
}

/// Parses `3.5s`.
pub(crate) fn parse_duration(text: &str) -> Option<Parts> {
    let number = text.strip_suffix('s')?;
    let (negative, digits) = number.strip_prefix('-').map_or((false, number), |digits| (true, digits));
    let (whole, part) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let secs: i64 = whole.parse().ok()?;
    let nanos = part.map_or(Some(0), fraction)?;
    signed(negative, secs, nanos)
}

/// Parses the form of Go, `1h2m3.5s`, or `3.5s`.
pub(crate) fn parse_duration_or_go(text: &str) -> Option<Parts> {
    if let Some(parts) = parse_duration(text) {
        return Some(parts);
    }
    let (negative, mut rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some((0, 0));
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let run = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(run);
        let run = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(run);
        rest = tail;
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, scale)?)?;
    }
    let nanos = i32::try_from(total % i128::from(NANOS)).ok()?;
    signed(negative, i64::try_from(total / i128::from(NANOS)).ok()?, nanos)
}

/// Writes `3.500s`; none out of range.
pub(crate) fn write_duration(out: &mut impl Write, (secs, nanos): Parts) -> Option<()> {
    if secs.abs() > LONGEST_SECS
        || i64::from(nanos).abs() >= NANOS
        || (secs > 0 && nanos < 0)
        || (secs < 0 && nanos > 0)
    {
        return None;
    }
    if secs < 0 || nanos < 0 {
        out.write_char('-').ok()?;
    }
    write!(out, "{}", secs.unsigned_abs()).ok()?;
    write_fraction(out, nanos.abs())?;
    out.write_char('s').ok()
}

/// A FieldMask path that can be written as it was read: `userName` or `user_name`. `USER_NAME`, `user__name`, `_name` and `name_1` are
/// other paths once they went to lowerCamel and back (ProtoJSON), and no field of ours has such a name.
pub(crate) fn is_mask_path(json: &str) -> bool {
    let lower = |word: &str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let whole = json.split('.').all(|name| !name.starts_with('_') && name.split('_').skip(1).all(lower));
    whole && !(json.contains('_') && json.contains(|c: char| c.is_ascii_uppercase()))
}

/// Proto path of a FieldMask path: `userName` becomes `user_name`, `user_name` stays.
pub(crate) fn mask_path(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 4);
    for c in json.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// JSON form of a FieldMask path: `user_name` becomes `userName`.
pub(crate) fn mask_json(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// Days from 1970-01-01 to a date. jiff's timestamps end before 9999-12-31, the last day of ProtoJSON, so the calendar is
/// here: years begin in March, which puts the leap day last.
fn days_of([year, month, day]: [i64; 3]) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that many days from 1970-01-01.
fn date_of(days: i64) -> [i64; 3] {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    [era * 400 + year + i64::from(month <= 2), month, day]
}

/// A decimal number times a scale, exact down to one.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() > 18 || part.len() > 18 || (whole.is_empty() && part.is_empty()) || part.contains('.') {
        return None;
    }
    let value = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
    let divisor = 10_i128.pow(u32::try_from(part.len()).ok()?);
    Some(value(whole)? * scale + value(part)? * scale / divisor)
}

fn signed(negative: bool, secs: i64, nanos: i32) -> Option<Parts> {
    if secs > LONGEST_SECS || (secs == LONGEST_SECS && nanos > 0) {
        return None;
    }
    Some(if negative { (-secs, -nanos) } else { (secs, nanos) })
}

/// Exactly these many digits, separated.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i32; N]> {
    let mut out = [0; N];
    let mut parts = text.split(separator);
    for (slot, width) in out.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// One to nine digits after the point, as nanoseconds.
fn fraction(digits: &str) -> Option<i32> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i32 = digits.parse().ok()?;
    Some(value * 10_i32.pow(9 - u32::try_from(digits.len()).ok()?))
}

fn write_fraction(out: &mut impl Write, nanos: i32) -> Option<()> {
    match nanos {
        0 => Ok(()),
        n if n % 1_000_000 == 0 => write!(out, ".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => write!(out, ".{:06}", n / 1_000),
        n => write!(out, ".{n:09}"),
    }
    .ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timestamps_of_rfc_3339() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("2026-11-21T03:04:05.25Z", Some((1_795_230_245, 250_000_000))),
            ("2026-11-21T12:04:05+09:00", Some((1_795_230_245, 0))),
            ("1969-12-31T23:59:59.999999999Z", Some((-1, 999_999_999))),
            ("0001-01-01T00:00:00Z", Some((FIRST_SECOND, 0))),
            ("9999-12-31T23:59:59.999999999Z", Some((LAST_SECOND, 999_999_999))),
            ("0000-12-31T23:59:59Z", None),
            ("9999-12-31T23:59:59-00:01", None),
            ("2024-02-29T00:00:00Z", Some((1_709_164_800, 0))),
            ("2000-02-29T00:00:00Z", Some((951_782_400, 0))),
            ("1900-02-29T00:00:00Z", None),
            ("2026-02-30T00:00:00Z", None),
            ("2026-00-10T00:00:00Z", None),
            ("2026-13-10T00:00:00Z", None),
            ("2026-01-00T00:00:00Z", None),
            ("2026-01-32T00:00:00Z", None),
            ("2026-11-21T24:00:00Z", None),
            ("2026-11-21T03:04:60Z", None),
            ("2026-11-21 03:04:05Z", None),
            ("2026-11-21T03:04:05", None),
            ("2026-11-21T03:04:05.Z", None),
            ("2026-11-21T03:04:05.1234567890Z", None),
            ("2026-11-21T03:04:05+9:00", None),
            ("2026-11-21T03:04:05+24:00", None),
            ("2026-1-21T03:04:05Z", None),
            ("２026-11-21T03:04:05Z", None),
            ("", None),
        ] {
            assert_eq!(parse_timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_of_both_forms() {
        for (text, json, go) in [
            ("3.5s", Some((3, 500_000_000)), Some((3, 500_000_000))),
            ("-0.000000001s", Some((0, -1)), Some((0, -1))),
            ("0s", Some((0, 0)), Some((0, 0))),
            ("315576000000s", Some((LONGEST_SECS, 0)), Some((LONGEST_SECS, 0))),
            ("315576000001s", None, None),
            ("1h2m", None, Some((3720, 0))),
            ("1.5h", None, Some((5400, 0))),
            ("-1m0.25s", None, Some((-60, -250_000_000))),
            ("300ms", None, Some((0, 300_000_000))),
            ("5us7ns", None, Some((0, 5007))),
            ("0", None, Some((0, 0))),
            ("", None, None),
            ("s", None, None),
            ("1", None, None),
            ("1x", None, None),
            ("1.2.3s", None, None),
            (".s", None, None),
            ("1h-2m", None, None),
            ("99999999999999999999h", None, None),
        ] {
            assert_eq!(parse_duration(text), json, "{text}");
            assert_eq!(parse_duration_or_go(text), go, "{text}");
        }
    }

    proptest! {
        #[test]
        fn timestamps_return(secs in FIRST_SECOND..=LAST_SECOND, nanos in 0..1_000_000_000_i32) {
            let mut text = String::new();
            write_timestamp(&mut text, (secs, nanos)).unwrap();
            prop_assert_eq!(parse_timestamp(&text), Some((secs, nanos)));
        }

        #[test]
        fn durations_return(secs in -LONGEST_SECS + 1..LONGEST_SECS, nanos in 0..1_000_000_000_i32) {
            let nanos = if secs < 0 { -nanos } else { nanos };
            let mut text = String::new();
            write_duration(&mut text, (secs, nanos)).unwrap();
            prop_assert_eq!(parse_duration(&text), Some((secs, nanos)));
        }

        #[test]
        fn any_text_is_survived(text in ".*") {
            let _ = (parse_timestamp(&text), parse_duration(&text), parse_duration_or_go(&text), mask_path(&text));
        }
    }
}
