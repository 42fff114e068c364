//! Parts of a date, in UTC, of seconds since 1970.

/// Finds such a function by its name.
pub(super) fn function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => |seconds| f64::from(of_day(seconds) / 60 % 60),
        "hour" => |seconds| f64::from(of_day(seconds) / 3600),
        "day_of_month" => |seconds| f64::from(date(seconds).2),
        "day_of_week" => |seconds| (days(seconds) + 4).rem_euclid(7) as f64,
        "day_of_year" => |seconds| {
            let (year, ..) = date(seconds);
            (days(seconds) - days_before(year, 1) + 1) as f64
        },
        "days_in_month" => |seconds| {
            let (year, month, _) = date(seconds);
            let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            (days_before(next.0, next.1) - days_before(year, month)) as f64
        },
        "month" => |seconds| f64::from(date(seconds).1),
        "year" => |seconds| date(seconds).0 as f64,
        _ => return None,
    })
}

/// Whole days since 1970-01-01.
fn days(seconds: f64) -> i64 {
    (seconds as i64).div_euclid(86_400)
}

/// Seconds since midnight.
fn of_day(seconds: f64) -> u32 {
    (seconds as i64).rem_euclid(86_400) as u32
}

/// Days from 1970-01-01 to the first of a month. Years begin in March here, so that a leap day is
/// the last one of its year (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_before(year: i64, month: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * i64::from((month + 9) % 12) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day.
fn date(seconds: f64) -> (i64, u32, u32) {
    let days = days(seconds) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let part = |name: &str, seconds: f64| function(name).map(|function| function(seconds));
        // 2024-02-29T12:34:56Z, a Thursday.
        let leap = 1_709_210_096.0;
        let expected = [
            ("year", 2024.0),
            ("month", 2.0),
            ("day_of_month", 29.0),
            ("day_of_week", 4.0),
            ("day_of_year", 60.0),
            ("days_in_month", 29.0),
            ("hour", 12.0),
            ("minute", 34.0),
        ];
        for (name, value) in expected {
            assert_eq!(part(name, leap), Some(value), "{name}");
        }
        assert_eq!(part("year", -1.0), Some(1969.0));
        assert_eq!(part("day_of_week", 0.0), Some(4.0));
    }
}
