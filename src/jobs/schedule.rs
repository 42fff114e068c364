//! When a task is due: slots of periods, of cron lines in any time zone, of single instants. Pure:
//! the time is an argument.
//!
//! A line with a fixed hour and minute (`30 2 * * *`) has one slot a day whatever the clocks do: in
//! the hour that is left out it is due right after it, in the hour that comes twice the first time.
//! A line with a star in its minute or hour (`*/5 * * * *`, `0 * * * *`) goes by the clock on the
//! wall: it is due whenever that shows such a time.

use std::str::FromStr;

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::CronParser;
use fieldpost_model::job::{CatchUp, Job};
use fieldpost_model::{Period, TimeMs};

/// A slot that is dealt with so soon after it came is in time.
pub const IN_TIME_MS: i64 = 5_000;
/// A clock that was set back by more than this begins its slots anew.
pub const SET_BACK_MS: i64 = 60_000;
/// Slots that are counted one by one when they were missed; more are only said to be many.
const N_COUNTED_MAX: usize = 10_000;
/// Offsets of zones change by less than this at a time.
const SHIFT_MAX: Duration = Duration::hours(3);
/// They change once in such a span at most.
const LOOK_AHEAD: Duration = Duration::hours(12);

/// When a task is due.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// At every multiple of a period since 1970.
    Every(i64),
    /// By a cron line.
    Cron(Box<CronLine>),
    /// Once.
    At(TimeMs),
}

/// A cron line in its zone.
#[derive(Debug, Clone)]
pub struct CronLine {
    cron: Cron,
    zone: Tz,
    goes_by_the_wall: bool,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// Slots to be run, the oldest first, and whether each is made up for.
    pub runs: Vec<(TimeMs, bool)>,
    /// Slots that were missed and are not made up for: how many, the first and the last.
    pub missed: Option<(usize, TimeMs, TimeMs)>,
    /// The newest slot that is dealt with now.
    pub slot_ms: Option<TimeMs>,
}

impl Schedule {
    /// The schedule of a job; none if it has none.
    pub fn of(job: &Job) -> Result<Option<Self>, (&'static str, String)> {
        let zone = job.tz.as_deref().map_or(Ok(Tz::UTC), |name| {
            Tz::from_str(name)
                .map_err(|_| ("tz", format!("\"{name}\" is no time zone; write one such as Europe/Berlin")))
        })?;
        if let Some(every) = job.every {
            return Ok(Some(Self::Every(every.as_ms())));
        }
        if let Some(at) = &job.at {
            return instant(at, zone).map(|at| Some(Self::At(at))).map_err(|text| ("at", text));
        }
        let Some(line) = &job.cron else { return Ok(None) };
        if let Some(period) = line.trim().strip_prefix("@every ") {
            let period: Period = period.trim().parse().map_err(|error| ("cron", format!("{error}")))?;
            let whole = period.as_ms() >= 1_000 && period.as_ms() % 1_000 == 0;
            return match whole {
                true => Ok(Some(Self::Every(period.as_ms()))),
                false => Err(("cron", "a schedule counts whole seconds; write @every 1s or more".to_owned())),
            };
        }
        let line = CronLine::parse(line, zone).map_err(|text| ("cron", text))?;
        Ok(Some(Self::Cron(Box::new(line))))
    }

    /// The first slot after this instant.
    pub fn next(&self, after_ms: TimeMs) -> Option<TimeMs> {
        match self {
            Self::Every(period) => Some((after_ms.div_euclid(*period) + 1).checked_mul(*period)?),
            Self::Cron(line) => {
                line.next(DateTime::from_timestamp_millis(after_ms)?).map(|slot| slot.timestamp_millis())
            }
            Self::At(at) => (*at > after_ms).then_some(*at),
        }
    }

    /// What is due now, where the slots until `last_ms` are dealt with. The newest of those that came while
    /// somebody was here for them is in time, however long it took to come to it.
    pub fn due(&self, last_ms: TimeMs, now_ms: TimeMs, here_since_ms: TimeMs, catch_up: CatchUp) -> Due {
        let (slots, n_more, first) = self.slots(last_ms, now_ms);
        let Some(newest) = slots.last().copied() else { return Due::default() };
        let in_time = now_ms - newest <= IN_TIME_MS || newest >= here_since_ms;
        let n_late_wanted = match catch_up {
            CatchUp::None => 0,
            CatchUp::Last => usize::from(!in_time),
            CatchUp::All(n) => n as usize,
        };
        let late = &slots[..slots.len() - usize::from(in_time)];
        let (missed, made_up) = late.split_at(late.len().saturating_sub(n_late_wanted));
        let mut runs: Vec<(TimeMs, bool)> = made_up.iter().map(|slot| (*slot, true)).collect();
        runs.extend(in_time.then_some((newest, false)));
        let n_missed = missed.len() + n_more;
        let missed = missed.last().map(|last| (n_missed, first, *last));
        Due { runs, missed, slot_ms: Some(newest) }
    }

    /// The slots in a span, the newest of them; how many more there are before these; the first.
    fn slots(&self, last_ms: TimeMs, now_ms: TimeMs) -> (Vec<TimeMs>, usize, TimeMs) {
        let first = self.next(last_ms).unwrap_or(TimeMs::MAX);
        if let Self::Every(period) = self {
            let n_slots = usize::try_from((now_ms - first).div_euclid(*period) + 1).unwrap_or(0);
            let n_listed = n_slots.min(N_COUNTED_MAX);
            let newest = now_ms.div_euclid(*period) * period;
            let listed = (0..n_listed).rev().map(|back| newest - back as i64 * period).collect();
            return (listed, n_slots - n_listed, first);
        }
        let mut slots = std::collections::VecDeque::new();
        let mut n_more = 0;
        let mut at = last_ms;
        // A gap of years holds at most so many minutes; seconds are counted no further than that.
        for _ in 0..N_COUNTED_MAX * 200 {
            match self.next(at) {
                Some(slot) if slot <= now_ms => {
                    slots.push_back(slot);
                    at = slot;
                }
                _ => break,
            }
            if slots.len() > N_COUNTED_MAX {
                slots.pop_front();
                n_more += 1;
            }
        }
        (slots.into(), n_more, first)
    }
}

impl CronLine {
    fn parse(line: &str, zone: Tz) -> Result<Self, String> {
        let cron = CronParser::builder().build().parse(line.trim());
        let cron = cron.map_err(|error| format!("\"{line}\" is no cron line: {error}"))?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        let starred = match fields.as_slice() {
            [minute, hour, _, _, _] | [_, minute, hour, _, _, _] => {
                minute.contains('*') || hour.contains('*')
            }
            [nickname] => nickname.eq_ignore_ascii_case("@hourly"),
            _ => false,
        };
        Ok(Self { cron, zone, goes_by_the_wall: starred })
    }

    fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.goes_by_the_wall { self.next_by_the_wall(after) } else { self.next_fixed(after) }
    }

    /// The first time after this one, on a clock that never jumps.
    fn next_plain(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&after.and_utc(), false).ok().map(|found| found.naive_utc())
    }

    fn next_fixed(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut plain = after.with_timezone(&self.zone).naive_local() - SHIFT_MAX;
        loop {
            plain = self.next_plain(plain)?;
            let slot = match self.zone.from_local_datetime(&plain) {
                LocalResult::Single(slot) => slot.to_utc(),
                LocalResult::Ambiguous(first, _) => first.to_utc(),
                LocalResult::None => self.end_of_gap(plain)?,
            };
            if slot > after {
                return Some(slot);
            }
        }
    }

    /// The first instant after the span of local time that is left out around this one.
    fn end_of_gap(&self, inside: NaiveDateTime) -> Option<DateTime<Utc>> {
        let before = self.zone.from_local_datetime(&(inside - SHIFT_MAX)).earliest()?.to_utc();
        self.change_of_offset(before, before + SHIFT_MAX * 2)
    }

    /// The first instant of another offset than that of `from`, up to `to`, to the second.
    fn change_of_offset(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let offset = |at: DateTime<Utc>| self.zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        let (mut low, mut high) = (from, to);
        if offset(low) == offset(high) {
            return None;
        }
        while high - low > Duration::seconds(1) {
            let middle = low + (high - low) / 2;
            if offset(middle) == offset(from) { low = middle } else { high = middle }
        }
        // Offsets change at whole seconds.
        DateTime::from_timestamp(high.timestamp(), 0)
    }

    fn next_by_the_wall(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut from = after;
        loop {
            let local = from.with_timezone(&self.zone).naive_local();
            let slot = from + (self.next_plain(local)? - local);
            let Some(change) = self.first_change(from, slot) else { return Some(slot) };
            // The wall shows another time from here on, which may be a slot itself.
            let local = change.with_timezone(&self.zone).naive_local();
            if self.next_plain(local - Duration::seconds(1))? == local {
                return Some(change);
            }
            from = change;
        }
    }

    /// The first change of the offset in a span of any length.
    fn first_change(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut look = from;
        while look < to {
            let ahead = (look + LOOK_AHEAD).min(to);
            if let Some(change) = self.change_of_offset(look, ahead) {
                return Some(change);
            }
            look = ahead;
        }
        None
    }
}

/// `2026-11-24 03:00`, with seconds or without, or RFC 3339.
pub fn instant(text: &str, zone: Tz) -> Result<TimeMs, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.timestamp_millis());
    }
    let formats = ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
    let plain = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let plain = plain.ok_or_else(|| {
        format!("\"{text}\" is no instant; write 2026-11-24 03:00 or 2026-11-24T03:00:00+01:00")
    })?;
    match zone.from_local_datetime(&plain) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => Ok(instant.timestamp_millis()),
        LocalResult::None => Err(format!("there is no {text} in {zone}: the clocks go forward then")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(line: &str, tz: &str) -> Schedule {
        let job = Job { cron: Some(line.into()), tz: Some(tz.into()), ..Job::default() };
        Schedule::of(&job).unwrap().unwrap()
    }

    fn at(text: &str) -> TimeMs {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
    }

    /// The slots in a span, in the zone's own time.
    fn slots(schedule: &Schedule, from: &str, to: &str, tz: &str) -> Vec<String> {
        let zone: Tz = tz.parse().unwrap();
        let (mut found, mut last) = (Vec::new(), at(from));
        while let Some(slot) = schedule.next(last).filter(|slot| *slot <= at(to)) {
            found.push(zone.timestamp_millis_opt(slot).unwrap().format("%d %H:%M %z").to_string());
            last = slot;
        }
        found
    }

    const SPRING: (&str, &str) = ("2026-03-29T00:30:00Z", "2026-03-29T02:40:00Z");
    const AUTUMN: (&str, &str) = ("2026-10-24T23:40:00Z", "2026-10-25T02:10:00Z");
    const BERLIN: &str = "Europe/Berlin";

    #[test]
    fn fixed_lines_have_one_slot_a_day_whatever_the_clocks_do() {
        let line = cron("30 2 * * *", BERLIN);
        assert_eq!(slots(&line, SPRING.0, SPRING.1, BERLIN), ["29 03:00 +0200"]);
        assert_eq!(slots(&line, AUTUMN.0, AUTUMN.1, BERLIN), ["25 02:30 +0200"]);
        let twice = cron("10,40 2 * * *", BERLIN);
        assert_eq!(slots(&twice, SPRING.0, SPRING.1, BERLIN), ["29 03:00 +0200"], "once after the gap");
        let year = slots(&line, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", BERLIN);
        assert_eq!(year.len(), 365);
        for zone in ["America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "UTC"]
        {
            let line = cron("30 2 * * *", zone);
            assert_eq!(
                slots(&line, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", zone).len(),
                365,
                "{zone}"
            );
        }
    }

    #[test]
    fn lines_with_stars_go_by_the_wall() {
        let half = cron("*/30 * * * *", BERLIN);
        let spring = ["29 03:00 +0200", "29 03:30 +0200", "29 04:00 +0200", "29 04:30 +0200"];
        assert_eq!(slots(&half, SPRING.0, SPRING.1, BERLIN), spring);
        let autumn =
            ["25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100", "25 03:00 +0100"];
        assert_eq!(slots(&half, AUTUMN.0, AUTUMN.1, BERLIN), autumn);
        let hourly = cron("0 * * * *", BERLIN);
        assert_eq!(slots(&hourly, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", BERLIN).len(), 365 * 24);
        let in_the_gap = cron("*/20 2 * * *", BERLIN);
        assert_eq!(slots(&in_the_gap, SPRING.0, SPRING.1, BERLIN), [""; 0]);
        assert_eq!(slots(&in_the_gap, AUTUMN.0, AUTUMN.1, BERLIN).len(), 6);
    }

    #[test]
    fn slots_in_time_run_and_late_ones_do_as_the_job_says() {
        let minute = Schedule::Every(60_000);
        let due = |last, now, catch_up| minute.due(last, now, now, catch_up);
        assert_eq!(due(60_000, 119_000, CatchUp::None), Due::default());
        let in_time = Due { runs: vec![(120_000, false)], missed: None, slot_ms: Some(120_000) };
        assert_eq!(due(60_000, 121_000, CatchUp::None), in_time);
        let none = due(60_000, 330_000, CatchUp::None);
        assert_eq!((none.runs.len(), none.missed), (0, Some((4, 120_000, 300_000))));
        let busy = minute.due(60_000, 330_000, 290_000, CatchUp::None);
        assert_eq!((busy.runs, busy.missed), (vec![(300_000, false)], Some((3, 120_000, 240_000))));
        let last = due(60_000, 330_000, CatchUp::Last);
        assert_eq!((last.runs, last.missed), (vec![(300_000, true)], Some((3, 120_000, 240_000))));
        let all = due(60_000, 301_000, CatchUp::All(2));
        assert_eq!(all.runs, [(180_000, true), (240_000, true), (300_000, false)]);
        assert_eq!(all.missed, Some((1, 120_000, 120_000)));
        let years = due(0, 400 * 86_400_000, CatchUp::None);
        assert_eq!(years.missed.unwrap().0 + years.runs.len(), 400 * 1_440);
    }

    #[test]
    fn lines_and_instants_that_cannot_be_say_why() {
        let of = |job: Job| Schedule::of(&job).err();
        let line = |text: &str| Job { cron: Some(text.into()), ..Job::default() };
        assert_eq!(of(line("@every 500ms")).unwrap().0, "cron");
        assert!(of(line("61 * * * *")).unwrap().1.contains("is no cron line"));
        assert_eq!(of(Job { tz: Some("Mars/Crater".into()), ..line("* * * * *") }).unwrap().0, "tz");
        let at = |text: &str| Job { at: Some(text.into()), tz: Some(BERLIN.into()), ..Job::default() };
        assert!(of(at("2026-03-29 02:30")).unwrap().1.contains("the clocks go forward"));
        assert_eq!(of(at("soon")).unwrap().0, "at");
        assert!(of(at("2026-10-25 02:30")).is_none());
        for text in ["@daily", "@hourly", "@every 90s", "0 9 * * MON-FRI", "15 30 4 1 * *"] {
            assert!(of(line(text)).is_none(), "{text}");
        }
    }
}
