//! What this agent is to each of its hubs, while it runs: which identity it shows next, and how a
//! certificate is renewed. At every instant what lies on the disk is an identity that works: the
//! old one is kept beside the new one until the hub says that it has seen the new one.

use std::collections::HashMap;

use anyhow::Context;
use fieldpost_link::{Identity, KeyRequest, Pin};
use fieldpost_model::RemoteJobs;
use parking_lot::Mutex;

use super::hubs::{Hubs, Membership};

/// The memberships of a running agent.
pub struct Identities {
    hubs: Hubs,
    agent_id: String,
    held: Mutex<HashMap<String, Held>>,
}

struct Held {
    membership: Membership,
    /// A new key whose certificate has not come yet. It is in memory alone: what is lost with it
    /// is only that the hub begins again.
    asked: Option<KeyRequest>,
    /// How often an identity was shown since there are two.
    n_shown: u32,
}

impl Held {
    fn new(membership: Membership) -> Self {
        Self { membership, asked: None, n_shown: 0 }
    }

    /// The new identity and the one before it in turn, as long as nobody knows which of them the
    /// hub knows: it may have been put back to an earlier state.
    fn next(&mut self) -> Identity {
        let Membership { identity, previous, .. } = &self.membership;
        let Some(previous) = previous else { return identity.clone() };
        self.n_shown = self.n_shown.wrapping_add(1);
        if self.n_shown % 2 == 1 { identity.clone() } else { previous.clone() }
    }
}

impl Identities {
    /// Those of this agent; none before `refresh`.
    pub fn new(hubs: Hubs, agent_id: String) -> Self {
        Self { hubs, agent_id, held: Mutex::default() }
    }

    /// Reads anew which hubs there are, by their ids.
    pub fn refresh(&self) -> anyhow::Result<Vec<Membership>> {
        let mut held = self.held.lock();
        let memberships = self.hubs.load()?;
        held.retain(|hub_id, known| {
            memberships.iter().any(|kept| kept.hub_id == *hub_id && kept.is_same_joining(&known.membership))
        });
        for membership in &memberships {
            held.entry(membership.hub_id.clone()).or_insert_with(|| Held::new(membership.clone()));
        }
        Ok(memberships)
    }

    /// What to show to this hub at the next dial; none if it was left.
    pub fn next(&self, hub_id: &str) -> Option<Identity> {
        self.held.lock().get_mut(hub_id).map(Held::next)
    }

    /// What to show to whichever hub dials.
    pub fn next_of_all(&self) -> Vec<Identity> {
        self.held.lock().values_mut().map(Held::next).collect()
    }

    /// Does the agent belong to this hub?
    pub fn belongs_to(&self, hub_id: &str) -> bool {
        self.held.lock().contains_key(hub_id)
    }

    /// What jobs this hub was granted; none if it was left.
    pub fn granted(&self, hub_id: &str) -> RemoteJobs {
        self.held.lock().get(hub_id).map(|held| held.membership.allow_jobs).unwrap_or_default()
    }

    /// The hub with this authority.
    pub fn hub_of(&self, authority: &Pin) -> Option<String> {
        let held = self.held.lock();
        let found =
            held.values().find(|one| one.membership.identity.ca_pin().is_ok_and(|pin| pin == *authority));
        found.map(|one| one.membership.hub_id.clone())
    }

    /// Makes a new key for this hub, and the request for its certificate.
    pub fn request(&self, hub_id: &str) -> anyhow::Result<String> {
        let asked = KeyRequest::new(&self.agent_id).context("cannot make a new key")?;
        let request = asked.request.clone();
        self.with(hub_id, |held| {
            held.asked = Some(asked);
            Ok(())
        })?;
        Ok(request)
    }

    /// Takes the certificate of the key that was asked for last. It is on the disk when this
    /// returns, and shown from the next dial on.
    pub fn renew(&self, hub_id: &str, chain: String) -> anyhow::Result<()> {
        self.with(hub_id, |held| {
            let asked = held.asked.clone().context("no certificate was asked for; begin again")?;
            let Membership { identity: old, previous, .. } = &held.membership;
            let identity = asked
                .accept(chain, old.ca.clone(), &self.agent_id, &old.ca_pin()?)
                .context("the new certificate cannot be used")?;
            // With two identities the link came up by the older one: the newer one would be alone.
            let proven = previous.clone().unwrap_or_else(|| old.clone());
            let renewed = Membership { identity, previous: Some(proven), ..held.membership.clone() };
            self.hubs.replace(&renewed)?;
            *held = Held::new(renewed);
            tracing::info!(hub_id, "the certificate for this hub was renewed");
            Ok(())
        })
    }

    /// The hub has seen the certificate of this serial number: what was before it goes.
    pub fn seen(&self, hub_id: &str, serial: &str) -> anyhow::Result<()> {
        self.with(hub_id, |held| {
            let membership = &held.membership;
            if membership.previous.is_none() || membership.identity.certificate()?.serial != serial {
                return Ok(());
            }
            let settled = Membership { previous: None, ..membership.clone() };
            self.hubs.replace(&settled)?;
            held.membership = settled;
            Ok(())
        })
    }

    fn with<T>(&self, hub_id: &str, work: impl FnOnce(&mut Held) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut held = self.held.lock();
        work(held.get_mut(hub_id).with_context(|| format!("this agent has left hub {hub_id}"))?)
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_link::Authority;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;
    const AGENT: &str = "a1";

    struct Bed {
        _data: tempfile::TempDir,
        hubs: Hubs,
        authority: Authority,
    }

    impl Bed {
        fn new() -> Self {
            let data = tempfile::tempdir().unwrap();
            let authority = Authority::create("ab", NOW_MS).unwrap();
            let hubs = Hubs::of(data.path());
            let key = KeyRequest::new(AGENT).unwrap();
            let chain = authority.issue_agent(&key.request, AGENT, NOW_MS).unwrap().chain;
            let ca = authority.certificate_pem().to_owned();
            let identity = key.accept(chain, ca, AGENT, &authority.pin()).unwrap();
            let membership = Membership {
                hub_id: "ab".into(),
                urls: Vec::new(),
                name: "web1".into(),
                joined_ms: 5,
                allow_jobs: RemoteJobs::Off,
                identity,
                previous: None,
            };
            hubs.save(&membership).unwrap();
            Self { _data: data, hubs, authority }
        }

        /// As after a start.
        fn identities(&self) -> Identities {
            let identities = Identities::new(self.hubs.clone(), AGENT.into());
            identities.refresh().unwrap();
            identities
        }

        fn issue(&self, request: &str) -> String {
            self.authority.issue_agent(request, AGENT, NOW_MS).unwrap().chain
        }

        fn shown(&self) -> String {
            serial(&self.identities().next("ab").unwrap())
        }
    }

    fn serial(identity: &Identity) -> String {
        identity.certificate().unwrap().serial
    }

    #[test]
    fn every_step_of_a_renewal_leaves_an_identity_that_works() {
        let bed = Bed::new();
        let old = bed.shown();
        let identities = bed.identities();
        let request = identities.request("ab").unwrap();
        assert_eq!(bed.shown(), old, "a key that was only asked for changes nothing");
        let chain = bed.issue(&request);
        assert!(bed.identities().renew("ab", chain.clone()).is_err(), "after a crash it begins again");
        assert_eq!(bed.shown(), old);
        identities.renew("ab", chain).unwrap();
        let new = bed.shown();
        assert_ne!(new, old, "a start after the new one was stored shows the new one");
        let again = bed.identities();
        let shown: Vec<String> = (0..4).map(|_| serial(&again.next("ab").unwrap())).collect();
        assert_eq!(shown, [&new, &old, &new, &old].map(Clone::clone), "until the hub has seen it");
        again.seen("ab", &old).unwrap();
        assert!(bed.hubs.load().unwrap()[0].previous.is_some());
        again.seen("ab", &new).unwrap();
        assert_eq!(bed.hubs.load().unwrap()[0].previous, None);
        assert_eq!(serial(&again.next("ab").unwrap()), new);
    }

    #[test]
    fn certificate_of_another_key_or_authority_is_not_taken() {
        let bed = Bed::new();
        let identities = bed.identities();
        let old = bed.shown();
        let request = identities.request("ab").unwrap();
        let foreign = Authority::create("ab", NOW_MS).unwrap();
        let false_chain = foreign.issue_agent(&request, AGENT, NOW_MS).unwrap().chain;
        assert!(identities.renew("ab", false_chain).is_err());
        let other_key = KeyRequest::new(AGENT).unwrap();
        assert!(identities.renew("ab", bed.issue(&other_key.request)).is_err());
        assert_eq!(bed.shown(), old);
        identities.renew("ab", bed.issue(&request)).unwrap();
    }

    #[test]
    fn renewal_that_ends_in_a_hub_that_was_left_keeps_nothing() {
        let bed = Bed::new();
        let identities = bed.identities();
        let chain = bed.issue(&identities.request("ab").unwrap());
        bed.hubs.remove("ab").unwrap();
        assert!(identities.renew("ab", chain).is_err());
        assert_eq!(bed.hubs.load().unwrap(), []);
        identities.refresh().unwrap();
        assert!(!identities.belongs_to("ab") && identities.next("ab").is_none());
    }

    #[test]
    fn second_renewal_in_doubt_keeps_the_identity_that_is_known_to_work() {
        let bed = Bed::new();
        let old = bed.shown();
        let identities = bed.identities();
        for _ in 0..2 {
            let chain = bed.issue(&identities.request("ab").unwrap());
            identities.renew("ab", chain).unwrap();
        }
        let kept = bed.hubs.load().unwrap().remove(0);
        assert_eq!(serial(&kept.previous.unwrap()), old);
    }

    #[test]
    fn hub_is_known_by_its_authority() {
        let bed = Bed::new();
        let identities = bed.identities();
        assert_eq!(identities.hub_of(&bed.authority.pin()), Some("ab".into()));
        assert_eq!(identities.hub_of(&Pin::of_key(b"another")), None);
    }
}
