//! Whatever comes in whatever order, a store answers what a map in memory would.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_model::{ABSENT, Group, Period, Series, TimeMs, Window, is_absent};
use fieldpost_store::{Config, GapReason, Retention, Store};
use proptest::prelude::*;

use crate::data::{Bench, START_MS, select};

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const RAW_MS: i64 = 2 * DAY_MS;
const N_SERIES: usize = 22;
/// So many of them are sampled each second, the others at instants of their own.
const N_FAST: usize = 4;

#[derive(Debug, Clone)]
enum Act {
    /// A window that begins so many hours ago, at this second of that hour.
    Append {
        hours_ago: i64,
        second: i64,
        n_ticks: usize,
        holes: u8,
    },
    /// Time goes by.
    Advance {
        minutes: i64,
    },
    /// The wall clock alone is set to so many days from the truth.
    Jump {
        days: i64,
    },
    Tend,
    Reopen,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (prop_oneof![Just(0_i64), 0_i64..4, 0_i64..60], 0_i64..3_590, 1_usize..10, any::<u8>())
            .prop_map(|(hours_ago, second, n_ticks, holes)| Act::Append { hours_ago, second, n_ticks, holes }),
        2 => prop_oneof![1_i64..90, 600_i64..3_000].prop_map(|minutes| Act::Advance { minutes }),
        1 => prop_oneof![Just(0_i64), Just(400), Just(-1), Just(1)].prop_map(|days| Act::Jump { days }),
        2 => Just(Act::Tend),
        1 => Just(Act::Reopen),
    ]
}

struct Model {
    bench: Bench,
    store: Option<Store>,
    series: Vec<Arc<Series>>,
    samples: BTreeMap<(usize, TimeMs), f64>,
    /// The truth, what the clock says beyond it, and since when it has said so.
    now_ms: TimeMs,
    jumped_ms: i64,
    steady_since_ms: TimeMs,
    /// The latest present at which anything may have gone by its age.
    present_ms: TimeMs,
    n_appended: u64,
}

impl Model {
    fn new() -> Self {
        let bench = Bench::new();
        let series = bench.series("x", N_SERIES);
        let now_ms = START_MS + 10 * DAY_MS;
        bench.set_clock(now_ms);
        let mut model = Self {
            bench,
            store: None,
            series,
            samples: BTreeMap::new(),
            now_ms,
            jumped_ms: 0,
            steady_since_ms: now_ms,
            present_ms: i64::MIN,
            n_appended: 0,
        };
        model.open();
        model
    }

    fn open(&mut self) {
        let retention = Retention { raw: Period::from_secs(RAW_MS as u64 / 1000), ..Retention::default() };
        let config = Config { retention, ..self.bench.config() };
        self.store = Some(self.bench.open_with(config).0);
        self.steady_since_ms = self.now_ms;
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Append { hours_ago, second, n_ticks, holes } => {
                let hour_ms = (self.now_ms + self.jumped_ms).div_euclid(HOUR_MS) * HOUR_MS;
                self.append(hour_ms - hours_ago * HOUR_MS + second * 1000, n_ticks, holes);
            }
            Act::Advance { minutes } => {
                self.now_ms += minutes * 60_000;
                self.bench.set_clock(self.now_ms);
            }
            Act::Jump { days } => {
                if self.jumped_ms != days * DAY_MS {
                    self.steady_since_ms = self.now_ms;
                }
                self.jumped_ms = days * DAY_MS;
                self.bench.jump(self.jumped_ms);
                assert!(self.store().tend(PATIENCE));
            }
            Act::Tend => assert!(self.store().tend(PATIENCE)),
            Act::Reopen => {
                self.store.take().unwrap().close().unwrap();
                self.open();
            }
        }
        if self.now_ms - self.steady_since_ms >= HOUR_MS {
            self.present_ms = self.present_ms.max(self.now_ms + self.jumped_ms);
        }
    }

    fn append(&mut self, from_ms: TimeMs, n_ticks: usize, holes: u8) {
        let fast: Vec<TimeMs> = (0..n_ticks as i64).map(|tick| from_ms + tick * 1000).collect();
        let slow: Vec<TimeMs> = fast.iter().step_by(3).map(|time_ms| time_ms + 137).collect();
        let mut groups = Vec::new();
        for (times_ms, span) in [(fast, 0..N_FAST), (slow, N_FAST..N_SERIES)] {
            let mut values = Vec::new();
            for n in span.clone() {
                for time_ms in &times_ms {
                    self.n_appended += 1;
                    let hole = (self.n_appended.wrapping_mul(0x9e37_79b9) >> 7) as u8 & holes & 0x11 == 0x11;
                    let value = if hole { ABSENT } else { (self.n_appended * 7_919) as f64 / 4.0 };
                    values.push(value);
                    if !is_absent(value) {
                        self.samples.insert((n, *time_ms), value);
                    }
                }
            }
            groups.push(Group { times_ms, series: self.series[span].to_vec(), values });
        }
        self.store().append(Window { from_ms, to_ms: from_ms + 10_000, groups });
        assert!(self.store().flush(PATIENCE));
    }

    /// All that is young enough is there as it was given; what is gone is told by gaps.
    fn check(&self, from_ms: TimeMs, to_ms: TimeMs) {
        let reader = self.bench.reader();
        let mut found = BTreeMap::new();
        for series in reader.series(&select("x"), from_ms, to_ms).unwrap() {
            let n: usize = series.labels[0].1.parse().unwrap();
            for (time_ms, value) in reader.samples(&series, from_ms, to_ms).unwrap() {
                assert_eq!(found.insert((n, time_ms), value), None, "twice at {time_ms}");
            }
        }
        let gaps = reader.gaps(i64::MIN, i64::MAX).unwrap();
        let kept_from_ms = self.present_ms.saturating_sub(RAW_MS);
        for (&(n, time_ms), value) in self.samples.iter().filter(|((_, t), _)| (from_ms..to_ms).contains(t)) {
            match found.remove(&(n, time_ms)) {
                // An earlier value may come to light again when the later one has reached its age.
                Some(stored) => assert!(stored == *value || time_ms < kept_from_ms, "{n} at {time_ms}"),
                None => {
                    assert!(time_ms < kept_from_ms, "{n} at {time_ms} is lost");
                    let told = |gap: &fieldpost_store::Gap| {
                        gap.reason == GapReason::Age && gap.from_ms <= time_ms && time_ms < gap.to_ms
                    };
                    assert!(gaps.iter().any(told), "{n} at {time_ms} went untold: {gaps:?}");
                }
            }
        }
        assert!(found.is_empty(), "never taken in: {found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn store_answers_what_a_map_would(
        acts in proptest::collection::vec(any_act(), 3..18),
        from_hours in 0_i64..60,
        n_hours in 1_i64..40,
    ) {
        let mut model = Model::new();
        for act in &acts {
            model.act(act);
        }
        model.check(0, i64::MAX);
        let from_ms = model.now_ms - from_hours * HOUR_MS - 1_234_567;
        model.check(from_ms, from_ms + n_hours * HOUR_MS);
        assert!(model.store().tend(PATIENCE));
        model.check(0, i64::MAX);
    }
}

/// As many cases as a crash test has kills.
fn cases() -> u32 {
    64 * crate::data::soak() as u32
}

/// Asks while files are merged away: a file that goes while it is being opened is no trouble.
#[test]
fn reader_misses_nothing_while_files_are_merged_away() {
    for _ in 0..20 {
        let mut model = Model::new();
        for (hours_ago, second) in [(0, 1_000), (48, 1_300), (0, 1_800)] {
            model.act(&Act::Append { hours_ago, second, n_ticks: 9, holes: 0 });
        }
        model.check(0, i64::MAX);
    }
}
