//! Secrets at rest, of runs and of orders for them: sealed with a key that is not in the database, each
//! for one run only.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

use crate::private_file;

/// The file of the key, beside the database.
const KEY_FILE: &str = "secrets.key";
const KEY_BYTES: usize = 32;

/// Seals and opens.
pub struct Seal {
    key: RandomizedNonceKey,
}

impl Seal {
    /// With the key in this folder; made if there is none.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(KEY_FILE);
        let bytes = match private_file::read(&path)? {
            Some(bytes) => bytes,
            None => {
                let mut bytes = vec![0; KEY_BYTES];
                aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("cannot draw random numbers"))?;
                private_file::write(&path, &bytes)?;
                bytes
            }
        };
        if bytes.len() != KEY_BYTES {
            bail!(
                "{} is no key of {KEY_BYTES} bytes; move it away, and give runs that wait their secrets anew",
                path.display()
            );
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| anyhow!("the key is refused"))?;
        Ok(Self { key })
    }

    /// Seals the secrets of a run.
    pub fn seal(&self, run: &str, secrets: &BTreeMap<String, String>) -> anyhow::Result<Vec<u8>> {
        let mut sealed = serde_json::to_vec(secrets)?;
        let nonce = self.key.seal_in_place_append_tag(Aad::from(run.as_bytes()), &mut sealed);
        let nonce = nonce.map_err(|_| anyhow!("cannot seal secrets"))?;
        sealed.splice(0..0, nonce.as_ref().iter().copied());
        Ok(sealed)
    }

    /// Opens what was sealed for this run.
    pub fn unseal(&self, run: &str, sealed: &[u8]) -> anyhow::Result<BTreeMap<String, String>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).context("sealed secrets are cut off")?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| anyhow!("sealed secrets are cut off"))?;
        let mut rest = rest.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::from(run.as_bytes()), &mut rest);
        let opened = opened.map_err(|_| anyhow!("the secrets of run {run} were sealed with another key"))?;
        Ok(serde_json::from_slice(opened)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_opened_for_their_run_only() {
        let folder = tempfile::tempdir().unwrap();
        let seal = Seal::open(folder.path()).unwrap();
        let secrets = BTreeMap::from([("A".to_owned(), "canary-value".to_owned())]);
        let sealed = seal.seal("r1", &secrets).unwrap();
        assert!(!sealed.windows(12).any(|part| part == b"canary-value"));
        let again = Seal::open(folder.path()).unwrap();
        assert_eq!(again.unseal("r1", &sealed).unwrap(), secrets);
        assert!(again.unseal("r2", &sealed).is_err());
        assert!(again.unseal("r1", &sealed[..5]).is_err());
        assert_ne!(seal.seal("r1", &secrets).unwrap(), sealed);
        std::fs::write(folder.path().join(KEY_FILE), "short").unwrap();
        assert!(Seal::open(folder.path()).is_err());
    }
}
