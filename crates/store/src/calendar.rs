//! Hours and days as the names of files know them, in universal time.

use fieldpost_model::TimeMs;

/// Milliseconds in an hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Hours in a day.
pub(crate) const DAY_HOURS: i64 = 24;
/// Milliseconds in a day.
pub(crate) const DAY_MS: i64 = DAY_HOURS * HOUR_MS;
/// The last instant that a file's name can show: the end of the year 9999.
pub(crate) const TIME_MS_MAX: TimeMs = 253_402_300_800_000;

/// Year, month and day of so many days since 1970 (Hinnant's `civil_from_days`).
pub(crate) fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// Days since 1970 of a year, month and day (Hinnant's `days_from_civil`).
pub(crate) fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let of_era = year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4 - year.rem_euclid(400) / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// `20260131` for a day since 1970.
pub(crate) fn day_name(day: i64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}{month:02}{day:02}")
}

/// The day since 1970 behind `20260131`.
pub(crate) fn parse_day(text: &str) -> Option<i64> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| text[range].parse::<i64>().ok();
    let day = day_of(part(0..4)?, part(4..6)?, part(6..8)?);
    (day_name(day) == text).then_some(day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days() {
        assert_eq!(day_name(0), "19700101");
        assert_eq!(day_name(19_782), "20240229");
        assert_eq!(parse_day("20261121").map(|day| day * DAY_MS), Some(1_795_219_200_000));
        assert_eq!(parse_day("20230229"), None);
    }

    proptest! {
        #[test]
        fn names_come_back(day in 0_i64..TIME_MS_MAX / DAY_MS) {
            prop_assert_eq!(parse_day(&day_name(day)), Some(day));
        }

        #[test]
        fn arbitrary_names_are_refused_or_read(text in "\\PC{0,12}") {
            let _ = parse_day(&text);
        }
    }
}
