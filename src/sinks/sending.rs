//! Sends requests to one receiver, one after the other, by the rules of the specifications: what can
//! be taken later is sent again with growing pauses, what never can be is given up and counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use fieldpost_formats::otlp::{self, PartialSuccess};
use fieldpost_formats::remote_write::{self, Next, Version, Written};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::config::Sink;
use super::encode::{Dialect, Request};
use super::stats::SinkStats;
use crate::http_client::{Credential, PushAnswer, PushClient};

/// The first pause before a request is sent again; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(30);
/// The longest pause, unless the receiver asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause that a receiver may ask for.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(300);
/// What is shown of a receiver's reasons, bytes.
const SHOWN_BYTES: usize = 300;

/// What became of a request in the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All but so many of its samples were taken.
    Taken { n_refused: u64 },
    /// The receiver does not understand this version: write it in the other one.
    FallBack,
}

/// What to do after an answer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Done(Sent),
    Again,
}

/// The way to one receiver.
pub(super) struct Sending {
    client: PushClient,
    config: Sink,
    stats: Arc<SinkStats>,
}

impl Sending {
    /// A way to the receiver of this config. Reads the certificates that are trusted.
    pub(super) fn new(config: Sink, stats: Arc<SinkStats>) -> anyhow::Result<Self> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("cannot read ca_file {}", path.display()))
        };
        let ca = config.ca_file.as_ref().map(read).transpose()?;
        Ok(Self { client: PushClient::new(&config.url, ca.as_deref())?, config, stats })
    }

    /// Sends a request until it is answered for good.
    pub(super) async fn send(&self, dialect: Dialect, request: Request) -> Sent {
        let (body, n_samples) = (Bytes::from(request.body), request.n_samples);
        let mut pause = PAUSE_MIN;
        loop {
            let asked = match self.attempt(dialect, &body).await {
                Ok(answer) => match verdict(dialect, n_samples, &answer) {
                    Verdict::Done(sent) => {
                        self.note(n_samples, body.len(), &sent, &answer);
                        return sent;
                    }
                    Verdict::Again => {
                        self.complain(&format!("it answers {}: {}", answer.status, shown(&answer.body)));
                        asked_pause(&answer)
                    }
                },
                Err(error) => {
                    self.complain(&format!("{error:#}"));
                    None
                }
            };
            SinkStats::add(&self.stats.retries, 1);
            tokio::time::sleep(asked.unwrap_or(pause).max(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self, dialect: Dialect, body: &Bytes) -> anyhow::Result<PushAnswer> {
        let config = self.config.clone();
        // Files may change at any time, and may lie where reading takes its time.
        let read = tokio::task::spawn_blocking(move || proofs(&config)).await;
        let (mut headers, credential) = read.context("reading credentials broke off")??;
        headers.extend(dialect_headers(dialect));
        self.client.post(headers, credential.as_ref(), body.clone()).await
    }

    fn note(&self, n_samples: u64, n_bytes: usize, sent: &Sent, answer: &PushAnswer) {
        let name = &self.config.name;
        if SinkStats::get(&self.stats.failing) != 0 {
            tracing::info!(sink = name, "the receiver answers again");
        }
        SinkStats::set(&self.stats.failing, 0);
        if let Sent::Taken { n_refused } = sent {
            SinkStats::add(&self.stats.sent, n_samples - n_refused);
            SinkStats::add(&self.stats.refused, *n_refused);
            SinkStats::add(&self.stats.bytes, n_bytes as u64);
            if *n_refused > 0 {
                let (status, reason) = (answer.status, shown(&answer.body));
                tracing::warn!(
                    sink = name,
                    n_refused,
                    status,
                    reason,
                    "the receiver refuses samples for good"
                );
            }
        }
    }

    /// Says once why nothing can be sent, until something can.
    fn complain(&self, reason: &str) {
        if SinkStats::get(&self.stats.failing) == 0 {
            let (sink, url) = (&self.config.name, &self.config.url);
            tracing::warn!(sink, url, reason, "nothing can be sent; it is tried again and again");
        }
        SinkStats::set(&self.stats.failing, 1);
    }
}

/// Headers and credentials from the files that the config names.
fn proofs(config: &Sink) -> anyhow::Result<(HeaderMap<HeaderValue>, Option<Credential>)> {
    let mut headers = HeaderMap::new();
    for (name, path) in &config.header_files {
        let mut value = HeaderValue::from_str(&secret(path)?)
            .with_context(|| format!("{} holds no value of a header", path.display()))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name.as_str())?, value);
    }
    let bearer = config.bearer_token_file.as_ref().map(|path| secret(path).map(Credential::Bearer));
    let basic = config.basic_auth.as_ref().map(|basic| {
        secret(&basic.password_file).map(|password| Credential::Basic(basic.username.clone(), password))
    });
    Ok((headers, bearer.or(basic).transpose()?))
}

fn secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn dialect_headers(dialect: Dialect) -> HeaderMap<HeaderValue> {
    let mut headers = HeaderMap::new();
    match dialect {
        Dialect::RemoteWrite(version) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(version.content_type()));
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(remote_write::CONTENT_ENCODING));
            let name = HeaderName::from_static("x-prometheus-remote-write-version");
            headers.insert(name, HeaderValue::from_static(version.as_str()));
        }
        Dialect::Otlp => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(otlp::CONTENT_TYPE));
        }
    }
    headers
}

fn verdict(dialect: Dialect, n_samples: u64, answer: &PushAnswer) -> Verdict {
    let taken = |n_refused| Verdict::Done(Sent::Taken { n_refused });
    match dialect {
        Dialect::RemoteWrite(version) => {
            let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
            let written = Written::read(header);
            match remote_write::next(version, answer.status, written) {
                Next::Done => taken(0),
                Next::Retry => Verdict::Again,
                Next::FallBack => Verdict::Done(Sent::FallBack),
                // Who refuses without saying how much was written does not know 2.0: some that read
                // 1.0 alone call everything else malformed.
                Next::GiveUp if version == Version::V2 && written.is_none() => Verdict::Done(Sent::FallBack),
                Next::GiveUp => {
                    let n_written = match version {
                        Version::V2 => written.unwrap_or_default().n_samples.min(n_samples),
                        Version::V1 => 0,
                    };
                    taken(n_samples - n_written)
                }
            }
        }
        Dialect::Otlp if answer.status == 200 => {
            let partial = PartialSuccess::read(&answer.body).map_or(0, |partial| partial.n_rejected);
            taken(u64::try_from(partial).unwrap_or(0).min(n_samples))
        }
        Dialect::Otlp if (200..300).contains(&answer.status) => taken(0),
        Dialect::Otlp if otlp::may_retry(answer.status) => Verdict::Again,
        Dialect::Otlp => taken(n_samples),
    }
}

/// The pause in seconds that a receiver asks for.
fn asked_pause(answer: &PushAnswer) -> Option<Duration> {
    let seconds = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(ASKED_PAUSE_MAX))
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> PushAnswer {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        PushAnswer { status, headers: headers.collect(), body: body.to_vec() }
    }

    #[test]
    fn answers_are_heeded_as_the_specifications_say() {
        let (v1, v2) = (Dialect::RemoteWrite(Version::V1), Dialect::RemoteWrite(Version::V2));
        let taken = |n_refused| Verdict::Done(Sent::Taken { n_refused });
        let written: &[_] = &[("x-prometheus-remote-write-samples-written", "4")];
        for (dialect, answer, wanted) in [
            (v1, answer(204, &[], b""), taken(0)),
            (v1, answer(400, &[], b"out of order"), taken(10)),
            (v1, answer(503, &[], b""), Verdict::Again),
            (v1, answer(429, &[], b""), Verdict::Again),
            (v2, answer(204, written, b""), taken(0)),
            (v2, answer(400, written, b""), taken(6)),
            (v2, answer(204, &[], b""), Verdict::Done(Sent::FallBack)),
            (v2, answer(415, &[], b""), Verdict::Done(Sent::FallBack)),
            (v2, answer(400, &[], b""), Verdict::Done(Sent::FallBack)),
            (Dialect::Otlp, answer(200, &[], b""), taken(0)),
            (Dialect::Otlp, answer(200, &[], b"\x0a\x02\x08\x03"), taken(3)),
            (Dialect::Otlp, answer(400, &[], b""), taken(10)),
            (Dialect::Otlp, answer(500, &[], b""), taken(10)),
            (Dialect::Otlp, answer(503, &[], b""), Verdict::Again),
        ] {
            assert_eq!(verdict(dialect, 10, &answer), wanted, "{dialect:?} {answer:?}");
        }
    }

    #[test]
    fn pause_is_what_the_receiver_asks_within_reason() {
        let asked = |text| asked_pause(&answer(503, &[("retry-after", text)], b""));
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("86400"), Some(ASKED_PAUSE_MAX));
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(asked_pause(&answer(503, &[], b"")), None);
    }
}
