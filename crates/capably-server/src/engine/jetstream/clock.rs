//! Times of brokers, and whether the clock of this machine agrees with theirs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{super::EngineError, failure::setup};

/// The largest difference between the clocks of a node and a broker, in ms. Tokens are accepted with two minutes of
/// difference, so that two nodes must differ by less.
const TOLERANCE: i64 = 60_000;

/// The time of this machine, in ms since the epoch.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Refuses a clock that is far from the broker's. Times are in ms since the epoch.
pub(super) fn check(own: i64, broker: i64) -> Result<(), EngineError> {
    let ahead = own.saturating_sub(broker);
    if ahead.abs() <= TOLERANCE {
        return Ok(());
    }
    let (seconds, side) = (ahead.abs() / 1000, if ahead > 0 { "ahead of" } else { "behind" });
    Err(setup(format!(
        "the clock of this machine is {seconds} s {side} that of the broker; synchronise the clocks of all machines"
    )))
}

/// Reads a time such as `2026-01-02T03:04:05.678901234Z`, in ms since the epoch.
pub(super) fn parse(time: &str) -> Option<i64> {
    let (date, rest) = time.split_once('T')?;
    let clock = rest.strip_suffix('Z')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let is_real =
        (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_real || !(0..24).contains(&hour) || !(0..60).contains(&minute) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of its year.
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + millis.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_brokers_are_read() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2000-02-29T23:59:59.5Z"), Some(951_868_799_500));
        assert_eq!(parse("2026-11-29T01:42:10.123456789Z"), Some(1_795_916_530_123));
        for odd in
            ["", "2026", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:00:00"]
        {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_clock_an_hour_off_is_refused() {
        assert!(check(1_000_000, 1_050_000).is_ok());
        let error = check(3_600_000, 0).unwrap_err().to_string();
        assert!(error.contains("3600 s ahead of") && error.contains("synchronise"), "{error}");
        assert!(check(0, 3_600_000).unwrap_err().to_string().contains("behind"));
    }
}
