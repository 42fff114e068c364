//! Invitations: how an agent that must not dial out comes to a hub. One at a time lies in the data
//! folder, with the key that it is known by; of its token only the hash. It is good once, for one
//! hub, which may ask again until it ends, because an answer may be lost.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fieldpost_link::{
    Adoption, AgentAddress, Authority, Identity, Invitation, Invited, KeyRequest, Refusal, RefusalCode,
    Summons, Token,
};
use fieldpost_model::{RemoteJobs, TimeMs};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::hubs::{Hubs, Membership};
use crate::private_file;

const FILE: &str = "invitation.json";

/// An open invitation as it lies on the disk.
#[derive(Clone, Serialize, Deserialize)]
struct Open {
    token_hash: String,
    expires_ms: TimeMs,
    name: String,
    /// What jobs the hub that comes by it is granted.
    #[serde(default)]
    allow_jobs: RemoteJobs,
    agent_id: String,
    /// What the agent shows to the hub that comes by it.
    face: Identity,
    /// The key that the hub's certificate will be for, and the request for that.
    key: String,
    request: String,
    /// The hub that has come by it.
    used_by: Option<String>,
}

/// The invitations of a data folder.
pub struct Invitations {
    path: PathBuf,
    hubs: Hubs,
    open: Mutex<Option<Open>>,
}

impl Invitations {
    /// Those of this data folder; none before `refresh`.
    pub fn of(data: &Path) -> Self {
        Self { path: data.join(FILE), hubs: Hubs::of(data), open: Mutex::default() }
    }

    /// Makes one, in place of any that there is.
    pub fn make(
        &self,
        addresses: Vec<AgentAddress>,
        (name, allow_jobs): (&str, RemoteJobs),
        agent_id: &str,
        (now_ms, expires_ms): (TimeMs, TimeMs),
    ) -> anyhow::Result<Invitation> {
        let token = Token::random().context("the system gives no random numbers")?;
        let face = Identity::self_signed(agent_id, now_ms)?;
        let KeyRequest { key, request } = KeyRequest::new(agent_id)?;
        let word = Invitation { addresses, pin: face.certificate()?.key_pin, token: token.clone() };
        self.keep(&Open {
            token_hash: token.hash(),
            expires_ms,
            name: name.to_owned(),
            allow_jobs,
            agent_id: agent_id.to_owned(),
            face,
            key,
            request,
            used_by: None,
        })?;
        Ok(word)
    }

    fn keep(&self, open: &Open) -> anyhow::Result<()> {
        private_file::write(&self.path, &serde_json::to_vec_pretty(open)?)
    }

    /// Reads anew whether there is one, and removes one that has ended.
    pub fn refresh(&self, now_ms: TimeMs) -> anyhow::Result<()> {
        let text = private_file::read(&self.path)?;
        let open = text.map(|text| serde_json::from_slice::<Open>(&text)).transpose();
        let open =
            open.with_context(|| format!("{} is damaged; make another invitation", self.path.display()))?;
        if open.as_ref().is_some_and(|open| open.expires_ms <= now_ms) {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", self.path.display()));
                }
                _ => *self.open.lock() = None,
            }
            return Ok(());
        }
        *self.open.lock() = open;
        Ok(())
    }

    /// What to show to a hub that comes by an invitation; none if there is none.
    pub fn face(&self, now_ms: TimeMs) -> Option<Identity> {
        self.open.lock().as_ref().filter(|open| now_ms < open.expires_ms).map(|open| open.face.clone())
    }

    /// Answers one question of a hub that comes by an invitation. After `/adopt` the agent belongs
    /// to the hub: the membership is on the disk.
    pub fn answer(&self, path: &str, body: &[u8], now_ms: TimeMs) -> Result<Value, Refusal> {
        match path {
            "/invite" => {
                let Summons { token, hub_id, .. } = read(body)?;
                let open = self.opened_by(&token, &hub_id, now_ms)?;
                let Open { request, agent_id, name, allow_jobs, .. } = open;
                let details = json!({ "version": env!("CARGO_PKG_VERSION"), "allow_jobs": allow_jobs });
                Ok(json!(Invited { request, agent_id, name, details }))
            }
            "/adopt" => self.adopt(&read(body)?, now_ms),
            _ => Err(Refusal::new(RefusalCode::Other, format!("nothing is asked at {path}"))),
        }
    }

    fn opened_by(&self, token: &Token, hub_id: &str, now_ms: TimeMs) -> Result<Open, Refusal> {
        let refuse = |text: &str| Err(Refusal::new(RefusalCode::BadToken, text));
        let open = self.open.lock().clone();
        let Some(open) = open.filter(|open| open.token_hash == token.hash()) else {
            return refuse("there is no such invitation; make a new one on this host: fieldpost invite");
        };
        if open.expires_ms <= now_ms {
            return refuse("this invitation has expired; make a new one on this host: fieldpost invite");
        }
        if open.used_by.as_ref().is_some_and(|hub| hub != hub_id) {
            return refuse(
                "another hub came by this invitation; make a new one on this host: fieldpost invite",
            );
        }
        Ok(open)
    }

    fn adopt(&self, adoption: &Adoption, now_ms: TimeMs) -> Result<Value, Refusal> {
        let answer = &adoption.answer;
        let open = self.opened_by(&adoption.token, &answer.hub_id, now_ms)?;
        let failed = |error: anyhow::Error| Refusal::new(RefusalCode::Other, format!("{error:#}"));
        let membership = membership(&open, adoption, now_ms).map_err(failed)?;
        self.hubs.save(&membership).map_err(failed)?;
        let used = Open { used_by: Some(answer.hub_id.clone()), ..open };
        self.keep(&used).map_err(failed)?;
        *self.open.lock() = Some(used);
        tracing::info!(hub_id = answer.hub_id, "a hub came by the invitation and has taken this agent in");
        Ok(json!({}))
    }
}

fn membership(open: &Open, adoption: &Adoption, now_ms: TimeMs) -> anyhow::Result<Membership> {
    let answer = &adoption.answer;
    let pin = Authority::pin_of(&answer.ca)?;
    let key = KeyRequest { key: open.key.clone(), request: open.request.clone() };
    let identity = key
        .accept(answer.chain.clone(), answer.ca.clone(), &open.agent_id, &pin)
        .context("the certificate that the hub gave cannot be used")?;
    let name = answer.details["name"].as_str().unwrap_or(&open.name).to_owned();
    Ok(Membership {
        hub_id: answer.hub_id.clone(),
        urls: Vec::new(),
        name,
        joined_ms: now_ms,
        allow_jobs: open.allow_jobs,
        identity,
        previous: None,
    })
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let unreadable = |_| Refusal::new(RefusalCode::Other, "this question cannot be read");
    serde_json::from_slice(body).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use fieldpost_link::JoinAnswer;

    use super::*;

    const NOW_MS: TimeMs = 1_800_000_000_000;
    const END_MS: TimeMs = NOW_MS + 3_600_000;

    struct Bed {
        data: tempfile::TempDir,
        word: Invitation,
        authority: Authority,
    }

    impl Bed {
        fn new() -> Self {
            let data = tempfile::tempdir().unwrap();
            let invitations = Invitations::of(data.path());
            let address = "127.0.0.1:7702".parse().unwrap();
            let word =
                invitations.make(vec![address], ("web1", RemoteJobs::Named), "a1", (NOW_MS, END_MS)).unwrap();
            Self { data, word, authority: Authority::create("ab", NOW_MS).unwrap() }
        }

        /// As after a start.
        fn started(&self, now_ms: TimeMs) -> Invitations {
            let invitations = Invitations::of(self.data.path());
            invitations.refresh(now_ms).unwrap();
            invitations
        }

        fn invite(&self, token: &Token, hub_id: &str, now_ms: TimeMs) -> Result<Invited, Refusal> {
            let ca = self.authority.certificate_pem().to_owned();
            let summons = Summons { token: token.clone(), hub_id: hub_id.into(), ca, details: Value::Null };
            let body = serde_json::to_vec(&summons).unwrap();
            let answer = self.started(NOW_MS).answer("/invite", &body, now_ms)?;
            Ok(serde_json::from_value(answer).unwrap())
        }

        fn adopt(&self, invited: &Invited) -> Result<Value, Refusal> {
            let chain = self.authority.issue_agent(&invited.request, "a1", NOW_MS).unwrap().chain;
            let ca = self.authority.certificate_pem().to_owned();
            let answer = JoinAnswer { chain, ca, hub_id: "ab".into(), details: json!({ "name": "web1-2" }) };
            let adoption = Adoption { token: self.word.token.clone(), answer };
            self.started(NOW_MS).answer("/adopt", &serde_json::to_vec(&adoption).unwrap(), NOW_MS)
        }
    }

    #[test]
    fn hub_with_the_token_adopts_the_agent_and_may_repeat_it() {
        let bed = Bed::new();
        let invited = bed.invite(&bed.word.token, "ab", NOW_MS).unwrap();
        assert_eq!((invited.agent_id.as_str(), invited.name.as_str()), ("a1", "web1"));
        bed.adopt(&invited).unwrap();
        let kept = Hubs::of(bed.data.path()).load().unwrap();
        assert_eq!(
            (kept[0].allow_jobs, &invited.details["allow_jobs"]),
            (RemoteJobs::Named, &json!("named"))
        );
        assert_eq!((kept[0].hub_id.as_str(), kept[0].name.as_str(), kept[0].urls.len()), ("ab", "web1-2", 0));
        let again = bed.invite(&bed.word.token, "ab", NOW_MS).unwrap();
        assert_eq!(again.request, invited.request, "the same key, for the same answer");
        bed.adopt(&again).unwrap();
        let refused = bed.invite(&bed.word.token, "cd", NOW_MS).unwrap_err();
        assert!(refused.text.contains("another hub"), "{refused}");
    }

    #[test]
    fn token_is_not_on_the_disk_and_a_wrong_or_late_one_is_refused() {
        let bed = Bed::new();
        let text = fs::read_to_string(bed.data.path().join(FILE)).unwrap();
        assert!(!text.contains(&String::from(bed.word.token.clone())));
        let wrong = bed.invite(&Token::random().unwrap(), "ab", NOW_MS).unwrap_err();
        assert!(wrong.text.contains("no such invitation"), "{wrong}");
        let late = bed.invite(&bed.word.token, "ab", END_MS).unwrap_err();
        assert!(late.text.contains("expired"), "{late}");
        assert!(bed.started(NOW_MS).face(END_MS).is_none() && bed.started(NOW_MS).face(NOW_MS).is_some());
        bed.started(END_MS);
        assert!(!bed.data.path().join(FILE).exists());
    }

    #[test]
    fn questions_that_cannot_be_read_are_refused() {
        let bed = Bed::new();
        for (path, body) in [("/invite", "{"), ("/adopt", "[]"), ("/join", "{}")] {
            assert!(bed.started(NOW_MS).answer(path, body.as_bytes(), NOW_MS).is_err());
        }
        assert!(Hubs::of(bed.data.path()).load().unwrap().is_empty());
    }
}
