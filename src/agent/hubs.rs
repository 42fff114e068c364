//! The hubs that this agent belongs to, on disk: for each one a folder with what it was given when
//! it joined. Files of the owner's alone; the key was made here and leaves this host never.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use fieldpost_link::{HubUrl, Identity, Token};
use fieldpost_model::{RemoteJobs, TimeMs};
use serde::{Deserialize, Serialize};

use crate::private_file;

/// Folder of all hubs within the data folder.
const FOLDER: &str = "hubs";
const FILE: &str = "membership.json";
const ID_FILE: &str = "agent_id";
/// 128 random bits.
const ID_BYTES: usize = 16;
/// Hubs that an agent may belong to.
const N_HUBS_MAX: usize = 16;

/// What an agent has of one hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The hub's id.
    pub hub_id: String,
    /// Where it is, the best address first; empty if it dials.
    pub urls: Vec<HubUrl>,
    /// The name by which it knows this agent.
    pub name: String,
    /// When this agent joined it.
    pub joined_ms: TimeMs,
    /// What jobs it was granted then; the config may say otherwise.
    #[serde(default)]
    pub allow_jobs: RemoteJobs,
    /// Key, certificate and the hub's authority.
    pub identity: Identity,
    /// The identity before a renewal, until the hub has seen the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Identity>,
}

impl Membership {
    /// Is this the same joining, however often its certificate was renewed since?
    pub fn is_same_joining(&self, other: &Self) -> bool {
        let key = |of: &Self| (of.hub_id.clone(), of.urls.clone(), of.name.clone(), of.joined_ms);
        key(self) == key(other)
    }
}

/// The memberships of a data folder.
#[derive(Debug, Clone)]
pub struct Hubs {
    folder: PathBuf,
}

impl Hubs {
    /// Those below this data folder.
    pub fn of(data: &Path) -> Self {
        Self { folder: data.join(FOLDER) }
    }

    /// All of them, by the hubs' ids. One that cannot be read is an error that names it: an agent
    /// that silently leaves a hub looks like a dead host there.
    pub fn load(&self) -> anyhow::Result<Vec<Membership>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list {}", self.folder.display()));
            }
        };
        let mut memberships = Vec::new();
        for entry in entries {
            let path = entry?.path().join(FILE);
            // A join that was cut off left its folder behind.
            if let Some(text) = private_file::read(&path)? {
                memberships.push(read(&text, &path)?);
            }
        }
        memberships.sort_by(|a, b| a.hub_id.cmp(&b.hub_id));
        Ok(memberships)
    }

    /// Keeps a membership, on the disk when this returns; in place of one of the same hub.
    pub fn save(&self, membership: &Membership) -> anyhow::Result<()> {
        let others = self.load()?.iter().filter(|other| other.hub_id != membership.hub_id).count();
        ensure!(
            others < N_HUBS_MAX,
            "this agent belongs to {N_HUBS_MAX} hubs already; leave one: fieldpost leave"
        );
        let folder = self.folder_of(&membership.hub_id)?;
        private_file::make_folder(&folder)?;
        private_file::write(&folder.join(FILE), &serde_json::to_vec_pretty(membership)?)
    }

    /// Replaces a membership that is there, on the disk when this returns. One that was left
    /// meanwhile stays left.
    pub fn replace(&self, membership: &Membership) -> anyhow::Result<()> {
        let path = self.folder_of(&membership.hub_id)?.join(FILE);
        ensure!(path.exists(), "this agent has left hub {}", membership.hub_id);
        private_file::write(&path, &serde_json::to_vec_pretty(membership)?)
    }

    /// Forgets a hub, and the key that was made for it.
    pub fn remove(&self, hub_id: &str) -> anyhow::Result<()> {
        let folder = self.folder_of(hub_id)?;
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    fn folder_of(&self, hub_id: &str) -> anyhow::Result<PathBuf> {
        let plain =
            !hub_id.is_empty() && hub_id.len() <= 64 && hub_id.bytes().all(|b| b.is_ascii_alphanumeric());
        ensure!(plain, "{hub_id:?} is no id of a hub");
        Ok(self.folder.join(hub_id))
    }
}

fn read(text: &[u8], path: &Path) -> anyhow::Result<Membership> {
    let advice = "restore it from a backup, or remove its folder and join the hub again";
    serde_json::from_slice(text).with_context(|| format!("{} is damaged; {advice}", path.display()))
}

/// The id of this host's agent, which every store and every hub knows it by: random, made at the
/// first asking, and never taken from hardware, which clones share.
pub fn agent_id(data: &Path) -> anyhow::Result<String> {
    private_file::make_folder(data)?;
    let path = data.join(ID_FILE);
    if let Some(text) = private_file::read(&path)? {
        let id = String::from_utf8_lossy(&text).trim().to_owned();
        let is_id =
            id.len() == 2 * ID_BYTES && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        ensure!(
            is_id,
            "{} holds no agent id; restore it, or remove it and join all hubs anew",
            path.display()
        );
        return Ok(id);
    }
    let random = Token::random().context("the system gives no random numbers")?;
    let id: String = random.reveal()[..ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    private_file::write(&path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn membership(hub_id: &str) -> Membership {
        Membership {
            hub_id: hub_id.into(),
            urls: vec!["ws://127.0.0.1:7700".parse().unwrap()],
            name: "web1".into(),
            joined_ms: 5,
            allow_jobs: RemoteJobs::Named,
            identity: Identity { key: "k".into(), chain: "c".into(), ca: "a".into() },
            previous: None,
        }
    }

    #[test]
    fn membership_is_kept_privately_until_it_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let hubs = Hubs::of(data.path());
        assert_eq!(hubs.load().unwrap(), []);
        hubs.save(&membership("b1")).unwrap();
        hubs.save(&membership("a1")).unwrap();
        hubs.save(&Membership { name: "web2".into(), ..membership("b1") }).unwrap();
        let kept = hubs.load().unwrap();
        assert_eq!(
            kept.iter().map(|m| (&*m.hub_id, &*m.name)).collect::<Vec<_>>(),
            [("a1", "web1"), ("b1", "web2")]
        );
        let file = data.path().join("hubs/b1").join(FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        hubs.remove("b1").unwrap();
        assert_eq!(hubs.load().unwrap().len(), 1);
    }

    #[test]
    fn agent_keeps_its_id() {
        let data = tempfile::tempdir().unwrap();
        let id = agent_id(data.path()).unwrap();
        assert_eq!(agent_id(data.path()).unwrap(), id);
        fs::write(data.path().join(ID_FILE), "x").unwrap();
        assert!(agent_id(data.path()).is_err());
    }

    #[test]
    fn damaged_membership_is_named_and_odd_ids_are_refused() {
        let data = tempfile::tempdir().unwrap();
        let hubs = Hubs::of(data.path());
        hubs.save(&membership("a1")).unwrap();
        fs::write(data.path().join("hubs/a1").join(FILE), "{").unwrap();
        assert!(hubs.load().unwrap_err().to_string().contains("hubs/a1"));
        assert!(hubs.save(&membership("../x")).is_err() && hubs.remove("").is_err());
    }
}
