//! Senders of remote write 1.0: the windows of a fleet as requests, made before the clock runs, and
//! pushed over a few connections.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fieldpost_bed::{Connection, Fleet};
use fieldpost_formats::remote_write::{CONTENT_ENCODING, Encoder, VERSION_HEADER, Version};
use fieldpost_formats::{Limits, PushedSeries, Sample};

/// Connections at a time, each with agents of its own: whose samples must come in their order.
const N_CONNECTIONS: usize = 8;
/// Pause before a request that there was no room for is sent again.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Requests of each agent, in their order.
pub type Requests = Vec<Vec<Vec<u8>>>;

/// A window of an agent is a request.
pub fn requests(fleet: &Fleet, n_windows: usize) -> anyhow::Result<Requests> {
    let of_agent = |agent| (0..n_windows).map(|window| request(fleet, agent, window)).collect();
    (0..fleet.n_agents).map(of_agent).collect()
}

fn request(fleet: &Fleet, agent: usize, window: usize) -> anyhow::Result<Vec<u8>> {
    let mut encoder = Encoder::new(Version::V1, Limits::default());
    let (times_ms, instance) = (fleet.times_ms(window), Fleet::agent_name(agent));
    for series in 0..fleet.n_series {
        let (name, own) = fleet.series(agent, series);
        let mut labels = vec![("__name__", &*name), ("instance", &*instance), ("job", "fieldpost")];
        labels.extend(own.iter().map(|(name, value)| (*name, &**value)));
        let sample = |time_ms: &i64| Sample {
            time_ms: *time_ms,
            value: fleet.value(agent, series, *time_ms),
            start_ms: None,
        };
        let samples: Vec<Sample> = times_ms.iter().map(sample).collect();
        let pushed = PushedSeries { labels: &labels, metadata: None, samples: &samples };
        encoder.push(pushed).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    }
    encoder.finish().context("a request cannot be compressed")
}

/// Where requests go.
#[derive(Clone, Copy)]
pub struct Receiver<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its path for them.
    pub path: &'a str,
    /// For one that asks for a token.
    pub token: Option<&'a str>,
}

/// Sends these windows of all agents; how long it took until the last request was answered.
pub fn send(to: Receiver<'_>, windows: Range<usize>, all: &Requests) -> anyhow::Result<Duration> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let shares = all.chunks(all.len().div_ceil(N_CONNECTIONS));
        let begin = |share| {
            let windows = windows.clone();
            scope.spawn(move || send_share(to, windows, share))
        };
        let sending: Vec<_> = shares.map(begin).collect();
        sending.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| bail!("a sender panicked")))
    })?;
    Ok(start.elapsed())
}

/// The next window of each agent, then the one after.
fn send_share(to: Receiver<'_>, windows: Range<usize>, share: &[Vec<Vec<u8>>]) -> anyhow::Result<()> {
    let bearer = to.token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![
        ("Content-Type", Version::V1.content_type()),
        ("Content-Encoding", CONTENT_ENCODING),
        (VERSION_HEADER, Version::V1.as_str()),
    ];
    headers.extend(bearer.iter().map(|bearer| ("Authorization", bearer.as_str())));
    let mut connection = Connection::open(to.address)?;
    for window in windows {
        for body in share.iter().filter_map(|agent| agent.get(window)) {
            loop {
                let answer = connection.post_with(to.path, &headers, body)?;
                match answer.status {
                    200..=299 => break,
                    429 | 503 => std::thread::sleep(FULL_PAUSE),
                    status => bail!("{} answers {status}: {}", to.path, answer.text().unwrap_or_default()),
                }
            }
        }
    }
    Ok(())
}
