//! Times of the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time in ms since the epoch.
pub(crate) fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// The time of the day in UTC, such as `18:05:00.250`, of a time in ms since the epoch.
pub(crate) fn time_of_day(millis: i64) -> String {
    let (seconds, millis) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    let (minutes, second) = (seconds.div_euclid(60), seconds.rem_euclid(60));
    let (hours, minute) = (minutes.div_euclid(60), minutes.rem_euclid(60));
    format!("{:02}:{minute:02}:{second:02}.{millis:03}", hours.rem_euclid(24))
}

/// The date in UTC, such as `2026-11-29`, of a time in ms since the epoch.
pub(crate) fn date(millis: i64) -> String {
    // Days are counted from 1 March of the year 0, so that the leap day ends a year.
    let days = millis.div_euclid(86_400_000).saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc() {
        for (millis, day, time) in [
            (0, "1970-01-01", "00:00:00.000"),
            (951_782_400_001, "2000-02-29", "00:00:00.001"),
            (1_795_975_500_250, "2026-11-29", "18:05:00.250"),
            (-1, "1969-12-31", "23:59:59.999"),
            (4_107_542_399_999, "2100-02-28", "23:59:59.999"),
        ] {
            assert_eq!((date(millis).as_str(), time_of_day(millis).as_str()), (day, time));
        }
    }
}
