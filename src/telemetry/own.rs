//! The agent's own metrics: a registry of `prometheus` that holds what this process costs and what
//! its build is, and asks the rooms for their counts at each scrape.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use fieldpost_model::{Family, Kind};
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};

use super::{Log, process};

/// What rooms say at a scrape.
#[derive(Default)]
pub struct Readings {
    families: Vec<MetricFamily>,
}

impl Readings {
    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, help, MetricType::COUNTER, labels, value);
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, help, MetricType::GAUGE, labels, value);
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, labels: &[(&str, &str)], value: f64) {
        let mut metric = Metric::default();
        metric.set_label(labels.iter().map(|(name, value)| pair(name, value)).collect::<Vec<_>>());
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        match self.families.iter_mut().find(|family| family.name() == name) {
            Some(family) => family.mut_metric().push(metric),
            None => {
                let mut family = MetricFamily::default();
                family.set_name(name.to_owned());
                family.set_help(help.to_owned());
                family.set_field_type(kind);
                family.mut_metric().push(metric);
                self.families.push(family);
            }
        }
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

type Room = Box<dyn Fn(&mut Readings) + Send + Sync>;

/// The registry. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct OwnMetrics {
    registry: Registry,
    rooms: Arc<Mutex<Vec<Room>>>,
}

/// A family with its samples: `name{label="value"}` and the number.
pub type OwnFamily = (Family, Vec<(String, f64)>);

impl OwnMetrics {
    /// A registry that tells what this process costs and what it is.
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        let rooms: Arc<Mutex<Vec<Room>>> = Arc::default();
        let desc = Desc::new(
            "fieldpost_build_info".to_owned(),
            "The version of this program.".to_owned(),
            vec![],
            HashMap::new(),
        )
        .context("the description of the build is refused")?;
        let asker = Asker { desc, rooms: Arc::clone(&rooms) };
        registry.register(Box::new(asker)).context("the registry refuses its collector")?;
        let own = Self { registry, rooms };
        own.ask(|readings| {
            let version = [("version", env!("CARGO_PKG_VERSION"))];
            readings.gauge("fieldpost_build_info", "The version of this program.", &version, 1.0);
        });
        own.ask(process::read);
        Ok(own)
    }

    /// Has this room asked at every scrape. It must answer at once.
    pub fn ask(&self, room: impl Fn(&mut Readings) + Send + Sync + 'static) {
        self.rooms.lock().push(Box::new(room));
    }

    /// Has the log asked how many of its lines were left out.
    pub fn ask_log(&self, log: Log) {
        self.ask(move |readings| {
            let help = "Lines of the log that were left out because there were too many of their kind.";
            readings.counter("fieldpost_log_lines_left_out_total", help, &[], log.left_out() as f64);
        });
    }

    /// All families, by name.
    pub fn families(&self) -> Vec<OwnFamily> {
        self.registry.gather().iter().map(family).collect()
    }

    /// All families in text format 0.0.4.
    pub fn text(&self) -> anyhow::Result<String> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page).context("own metrics are refused")?;
        String::from_utf8(page).context("own metrics are not UTF-8")
    }
}

fn family(family: &MetricFamily) -> OwnFamily {
    let is_counter = family.get_field_type() == MetricType::COUNTER;
    let sample = |metric: &Metric| {
        let value =
            if is_counter { metric.get_counter().get_value() } else { metric.get_gauge().get_value() };
        (series_text(family.name(), metric.get_label()), value)
    };
    let kind = if is_counter { Kind::Counter } else { Kind::Gauge };
    let known = Family { name: family.name().into(), help: family.help().into(), kind };
    (known, family.get_metric().iter().map(sample).collect())
}

fn series_text(name: &str, labels: &[LabelPair]) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        labels.iter().map(|pair| format!("{}=\"{}\"", pair.name(), escape(pair.value()))).collect();
    format!("{name}{{{}}}", pairs.join(","))
}

/// The one collector of the registry.
struct Asker {
    desc: Desc,
    rooms: Arc<Mutex<Vec<Room>>>,
}

impl Collector for Asker {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut readings = Readings::default();
        self.rooms.lock().iter().for_each(|room| room(&mut readings));
        readings.families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_holds_the_process_the_build_and_the_rooms() {
        let own = OwnMetrics::new().unwrap();
        own.ask(|readings| readings.counter("fieldpost_x_total", "X.", &[("a", "b\"c")], 3.0));
        let page = own.text().unwrap();
        for line in ["process_cpu_seconds_total ", "fieldpost_build_info{version=", "process_open_fds "] {
            assert!(page.lines().any(|found| found.starts_with(line)), "{line}");
        }
        assert!(page.contains("fieldpost_x_total{a=\"b\\\"c\"} 3"));
        let families = own.families();
        let (family, samples) = families.iter().find(|(f, _)| &*f.name == "fieldpost_x_total").unwrap();
        assert_eq!(family.kind, Kind::Counter);
        assert_eq!(samples[..], [("fieldpost_x_total{a=\"b\\\"c\"}".to_owned(), 3.0)]);
    }
}
