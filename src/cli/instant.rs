//! Instants as people write them: `03:12`, `5m` (ago), `2026-11-21 03:12`, RFC 3339, seconds since 1970.

use chrono::{DateTime, Days, Local, NaiveDateTime, NaiveTime, TimeZone};
use fieldpost_model::{Period, TimeMs};

/// What is told when an instant cannot be read.
const EXPECTED: &str = "write 03:12, 5m (ago), 2026-11-21 03:12, now, or seconds since 1970";
/// Numbers from here on are seconds since 1970; shorter ones are more likely a slip.
const SECONDS_MIN: i64 = 100_000_000;

/// Reads an instant; a time of day is the last one before `now`.
pub fn parse(text: &str, now: DateTime<Local>) -> Result<TimeMs, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now.timestamp_millis());
    }
    if let Ok(period) = text.trim_start_matches('-').parse::<Period>() {
        return Ok(now.timestamp_millis() - period.as_ms());
    }
    if let Ok(seconds) = text.parse::<i64>() {
        let is_likely = (SECONDS_MIN..=i64::MAX / 1_000).contains(&seconds);
        return is_likely.then_some(seconds * 1_000).ok_or_else(|| EXPECTED.to_owned());
    }
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.timestamp_millis());
    }
    time_of_day(text, now).or_else(|| date_and_time(text)).ok_or_else(|| EXPECTED.to_owned())
}

/// The same, before now; for clap.
pub fn parse_now(text: &str) -> Result<TimeMs, String> {
    parse(text, Local::now())
}

/// An instant for people, in local time: `2026-11-21 03:12:00`.
pub fn show(time_ms: TimeMs) -> String {
    let instant = DateTime::from_timestamp_millis(time_ms).unwrap_or_default().with_timezone(&Local);
    instant.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn time_of_day(text: &str, now: DateTime<Local>) -> Option<TimeMs> {
    let formats = ["%H:%M", "%H:%M:%S"];
    let time = formats.iter().find_map(|format| NaiveTime::parse_from_str(text, format).ok())?;
    let today = now.date_naive();
    let of = |day: chrono::NaiveDate| Local.from_local_datetime(&day.and_time(time)).earliest();
    let instant = of(today).filter(|instant| *instant <= now);
    Some(instant.or_else(|| of(today.checked_sub_days(Days::new(1))?))?.timestamp_millis())
}

fn date_and_time(text: &str) -> Option<TimeMs> {
    let formats = ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
    let instant = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    Some(Local.from_local_datetime(&instant).earliest()?.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Local> {
        Local.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap()
    }

    fn at(day: u32, hour: u32, minute: u32) -> Result<TimeMs, String> {
        Ok(Local.with_ymd_and_hms(2026, 11, day, hour, minute, 0).unwrap().timestamp_millis())
    }

    #[test]
    fn instants_are_read_as_people_write_them() {
        assert_eq!(parse("03:12", now()), at(21, 3, 12));
        assert_eq!(parse("23:12", now()), at(20, 23, 12));
        assert_eq!(parse("2026-11-02 03:12", now()), at(2, 3, 12));
        assert_eq!(parse("30m", now()), at(21, 11, 30));
        assert_eq!(parse("now", now()), at(21, 12, 0));
        assert_eq!(parse("2026-11-21T03:12:00Z", now()), Ok(1_795_230_720_000));
        assert_eq!(parse("1795230720", now()), Ok(1_795_230_720_000));
        for text in ["", "yesterday", "25:00", "12"] {
            assert!(parse(text, now()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = parse(&text, now());
        }
    }
}
