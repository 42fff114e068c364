//! VictoriaMetrics with the same samples, by its own JSON lines: a line a series.

use std::time::Duration;

use anyhow::ensure;
use fieldpost_bed::Connection;
use fieldpost_model::TimeMs;
use serde_json::{Map, Value, json};

use crate::disk::bytes_of;
use crate::recording::Hour;
use crate::rivals::{self, Rival};

/// A request is sent once it is this long, bytes.
const BODY_BYTES: usize = 8 << 20;

/// VictoriaMetrics at work.
pub struct Victoria {
    rival: Rival,
    connection: Connection,
}

impl Victoria {
    /// Starts it, empty.
    pub fn start() -> anyhow::Result<Self> {
        let rival = rivals::victoria()?;
        Ok(Self { connection: rival.connect()?, rival })
    }

    /// Where it answers.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        self.rival.connect()
    }

    /// The process and its folder.
    pub fn rival(&self) -> &Rival {
        &self.rival
    }

    /// Puts in an hour that begins at this instant.
    pub fn import(&mut self, hour: &Hour, begin_ms: TimeMs) -> anyhow::Result<()> {
        let mut body = Vec::new();
        for (series, samples) in &hour.series {
            let mut metric: Map<String, Value> =
                series.labels.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
            metric.insert("__name__".into(), json!(series.name()));
            // JSON has no word for what is no finite number.
            let finite = || samples.iter().filter(|(_, value)| value.is_finite());
            let values: Vec<f64> = finite().map(|(_, value)| *value).collect();
            let timestamps: Vec<TimeMs> = finite().map(|(t, _)| t + begin_ms).collect();
            let line = json!({ "metric": metric, "values": values, "timestamps": timestamps });
            serde_json::to_writer(&mut body, &line)?;
            body.push(b'\n');
            if body.len() > BODY_BYTES {
                self.send(&body)?;
                body.clear();
            }
        }
        self.send(&body)
    }

    fn send(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let answer = self.connection.post("/api/v1/import", body)?;
        ensure!(answer.status < 300, "VictoriaMetrics answers {}", answer.status);
        Ok(())
    }

    /// Bytes of data and index once everything is flushed and merged.
    pub fn settled_bytes(&mut self) -> anyhow::Result<u64> {
        // It ends connections that were idle for a minute.
        self.connection = self.rival.connect()?;
        self.connection.get("/internal/force_flush", &[])?;
        self.connection.get("/internal/force_merge", &[])?;
        let data = self.rival.scratch.path().join("data");
        let size = || bytes_of(&data, &|name| !name.starts_with("cache/") && !name.starts_with("tmp/"));
        let mut last = size();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_secs(3));
            let now = size();
            if now == last {
                break;
            }
            last = now;
        }
        Ok(last)
    }
}
