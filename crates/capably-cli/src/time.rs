//! Times and durations on the command line, and times for people.

use std::time::{Duration, SystemTime};

use capably::Millis;

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

/// The units of a duration, and their lengths in ms.
const UNITS: [(&str, Millis); 6] =
    [("ms", 1), ("s", SECOND), ("m", MINUTE), ("h", HOUR), ("d", DAY), ("w", 7 * DAY)];

/// A form that every error about a time shows.
const FORMS: &str =
    "use a time such as 2026-01-31T09:30:00Z, a number of ms since 1970, now, or 2h ago";

/// The time of this machine's clock, in ms since the epoch.
pub(crate) fn now() -> Millis {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(elapsed.as_millis()).unwrap_or(Millis::MAX)
}

/// Reads a time: RFC 3339, ms since the epoch, `now`, or a duration before now, such as `2h ago`. A time without an offset is
/// UTC. For clap: an error is a text for the user.
pub(crate) fn time(text: &str) -> Result<Millis, String> {
    time_at(text, now())
}

fn time_at(text: &str, now: Millis) -> Result<Millis, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Ok(now);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| FORMS.to_owned());
    }
    if let Some(time) = rfc3339(text) {
        return Ok(time);
    }
    let ago = text.strip_suffix("ago").map_or(text, str::trim_end);
    millis(ago).and_then(|ago| now.checked_sub(ago)).ok_or_else(|| FORMS.to_owned())
}

/// Reads a duration, such as `90s`, `1h30m` or `500ms`. For clap: an error is a text for the user.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let millis = millis(text.trim()).and_then(|millis| u64::try_from(millis).ok());
    let wrong =
        || "use a duration such as 90s, 1h30m or 2d; the units are ms, s, m, h, d and w".to_owned();
    millis.map(Duration::from_millis).ok_or_else(wrong)
}

/// The ms of a duration: whole numbers, each with a unit.
fn millis(mut text: &str) -> Option<Millis> {
    let mut sum: Millis = 0;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at(digits);
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(letters);
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let part = number.parse::<Millis>().ok()?.checked_mul(*length)?;
        sum = sum.checked_add(part)?;
        text = rest.trim_start();
    }
    Some(sum)
}

/// Reads `yyyy-mm-dd`, with or without a time of day and an offset. The years are from 1970 to 9999.
fn rfc3339(text: &str) -> Option<Millis> {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4, 1970, 9999)?;
    let month = number(parts.next()?, 2, 1, 12)?;
    let day = number(parts.next()?, 2, 1, days_in(year, month))?;
    if parts.next().is_some() {
        return None;
    }
    let start = days_before(year, month) + day - 1;
    Some(start * DAY + time.map_or(Some(0), time_of_day)?)
}

/// Reads `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fff`, with an offset or without. A leap second counts as the second after it.
fn time_of_day(text: &str) -> Option<Millis> {
    let (text, offset) = match text.find(['Z', 'z', '+', '-']) {
        None => (text, 0),
        Some(at) => match &text[at..] {
            "Z" | "z" => (&text[..at], 0),
            offset => {
                let sign = if offset.starts_with('-') { -1 } else { 1 };
                let (hours, minutes) = offset[1..].split_once(':')?;
                let hours = number(hours, 2, 0, 23)? * HOUR;
                (&text[..at], sign * (hours + number(minutes, 2, 0, 59)? * MINUTE))
            }
        },
    };
    let mut parts = text.split(':');
    let mut time = number(parts.next()?, 2, 0, 23)? * HOUR;
    time += number(parts.next()?, 2, 0, 59)? * MINUTE;
    if let Some(seconds) = parts.next() {
        let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
        time += number(seconds, 2, 0, 60)? * SECOND;
        if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        time += format!("{fraction:0<3.3}").parse::<Millis>().ok()?;
    }
    parts.next().is_none().then_some(time - offset)
}

fn number(text: &str, digits: usize, least: i64, most: i64) -> Option<i64> {
    let whole = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| whole && (least..=most).contains(number))
}

fn days_in(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_before(next_year, next) - days_before(year, month)
}

/// The days from 1970-01-01 to the first of a month. Months are counted from March, so that the leap day comes last.
fn days_before(year: i64, month: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 - 719_468
}

/// The time in UTC, as in `2026-01-31T09:30:00.250Z`. A time outside the years 1970 to 9999 is shown as its number.
pub(crate) fn show(time: Millis) -> String {
    if !(0..days_before(10_000, 1) * DAY).contains(&time) {
        return time.to_string();
    }
    let days = time / DAY;
    // The estimate is at most one too large: no year has more than 366 days.
    let mut year = 1970 + days / 365;
    while days_before(year, 1) > days {
        year -= 1;
    }
    let mut month = 12;
    while days_before(year, month) > days {
        month -= 1;
    }
    let day = days - days_before(year, month) + 1;
    let (hour, minute) = (time % DAY / HOUR, time % HOUR / MINUTE);
    let (second, milli) = (time % MINUTE / SECOND, time % SECOND);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// A duration from a number of seconds, such as `30` or `0.5`. For clap: an error is a text for the user.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_read() {
        let now = 1_769_851_800_250;
        for (text, time) in [
            ("2026-01-31T09:30:00.250Z", now),
            ("2026-01-31T09:30:00.2509Z", now),
            ("2026-01-31t09:30:00z", now - 250),
            ("2026-01-31 09:30", now - 250),
            ("2026-01-31T10:30:00+01:00", now - 250),
            ("2026-01-31T04:00:00-05:30", now - 250),
            ("2026-01-31", 1_769_817_600_000),
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("1769851800250", now),
            ("0", 0),
            ("now", now),
            ("2h ago", now - 2 * HOUR),
            ("2h", now - 2 * HOUR),
            ("1d 12h ago", now - 36 * HOUR),
            ("1h30m5s7ms ago", now - 90 * MINUTE - 5_007),
            ("1w ago", now - 7 * DAY),
        ] {
            assert_eq!(time_at(text, now), Ok(time), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "ago",
            "soon",
            "2 hours ago",
            "h ago",
            "2x ago",
            "-5",
            "99999999999999999999",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-1",
            "2026-01-31T24:00",
            "2026-01-31T09",
            "2026-01-31T09:30:00.Z",
            "2026-01-31T09:30:00.x",
            "2026-01-31T09:30+1",
            "1969-12-31",
            "2026-01-31T",
            "99999999999999999w ago",
            "2026-01-31T09:30:00Zé",
            "é",
        ] {
            assert_eq!(time_at(text, 0), Err(FORMS.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_time_is_shown_as_it_is_read() {
        for text in [
            "1970-01-01T00:00:00.000Z",
            "1972-02-29T23:59:59.999Z",
            "2000-12-31T23:59:59.999Z",
            "2026-01-31T09:30:00.250Z",
            "2100-03-01T00:00:00.000Z",
            "9999-12-31T23:59:59.999Z",
        ] {
            assert_eq!(show(time_at(text, 0).unwrap()), text);
        }
        assert_eq!(show(-1), "-1");
        assert_eq!(show(Millis::MAX), Millis::MAX.to_string());
    }

    #[test]
    fn durations_are_sums_of_units() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "5", "-1s", "1.5h", "1 hour"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
