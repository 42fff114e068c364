//! Hooks: who wants to know of a run's end is told by a webhook. The body is signed, so that the
//! receiver can tell that it comes from here: `x-fieldpost-signature: sha256=HEX`, the HMAC of the
//! body with the key of the hook's file.

use std::time::Duration;

use anyhow::{Context, bail};
use aws_lc_rs::hmac;
use bytes::Bytes;
use fieldpost_model::job::{Hook, Run};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::handle::Jobs;
use crate::http_client::PushClient;

/// A receiver that does not answer is asked so often.
const N_TRIES: u32 = 5;
/// Before the second try; each following pause is three times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Calls under way at a time, at most; more are left out, and said to be.
pub const N_CALLS_MAX: usize = 64;
const SIGNATURE: HeaderName = HeaderName::from_static("x-fieldpost-signature");

impl Jobs {
    /// Calls the hooks of a run that is over.
    pub(super) fn call_hooks(&self, run: &Run) {
        for hook in run.job.hooks.iter().filter(|hook| hook.on.contains(&run.state)) {
            let Ok(place) = std::sync::Arc::clone(&self.shared.hook_places).try_acquire_owned() else {
                tracing::warn!(run = run.id, url = hook.url, "a hook is not called: too many are under way");
                continue;
            };
            let (hook, body) = (hook.clone(), body(run, &self.shared.surroundings.agent));
            let id = run.id.clone();
            self.shared.runtime.spawn(async move {
                if let Err(error) = call(&hook, &body).await {
                    tracing::warn!(run = id, url = hook.url, "a hook was not heard: {error:#}");
                }
                drop(place);
            });
        }
    }
}

/// What a receiver gets to know; not what the run was given.
fn body(run: &Run, agent: &str) -> Bytes {
    let told = json!({
        "agent": agent,
        "run": run.id,
        "job": run.job.name,
        "domain": run.job.domain,
        "state": run.state,
        "reason": run.reason(),
        "outcome": run.outcome,
        "created_ms": run.created_ms,
        "started_ms": run.started_ms,
        "ended_ms": run.ended_ms,
        "usage": run.usage,
        "marks": run.marks,
    });
    Bytes::from(told.to_string())
}

async fn call(hook: &Hook, body: &Bytes) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(file) = &hook.key_file {
        let key = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        headers.insert(SIGNATURE, signature(key.trim_ascii_end(), body).parse()?);
    }
    let client = PushClient::new(&hook.url, None)?;
    let mut pause = FIRST_PAUSE;
    for number in 1..=N_TRIES {
        let answer = client.post(headers.clone(), None, body.clone()).await;
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => return Ok(()),
            Ok(answer) if number == N_TRIES => bail!("it answers {}", answer.status),
            Err(error) if number == N_TRIES => return Err(error),
            _ => tokio::time::sleep(pause).await,
        }
        pause *= 3;
    }
    Ok(())
}

fn signature(key: &[u8], body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body);
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_rfc_4231() {
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(b"Jefe", b"what do ya want for nothing?"), expected);
    }
}
