//! The hub's keys on disk: the authority that all trust rests on, and the hub's own certificate.
//! Small files of the owner's alone, written whole or not at all.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use fieldpost_link::{Authority, Identity};
use fieldpost_model::TimeMs;

use crate::private_file;

/// The certificate of the authority.
pub const AUTHORITY_CERTIFICATE: &str = "ca.pem";
/// Its key.
pub const AUTHORITY_KEY: &str = "ca.key";

/// Loads the authority, or makes it with the hub; and the hub's certificate, made anew at each
/// start, so that it never runs out.
pub fn load_or_make(folder: &Path, hub_id: &str, now_ms: TimeMs) -> anyhow::Result<(Authority, Identity)> {
    private_file::make_folder(folder)?;
    let (certificate, key) = (folder.join(AUTHORITY_CERTIFICATE), folder.join(AUTHORITY_KEY));
    let authority = match (read(&certificate)?, read(&key)?) {
        (Some(certificate), Some(key)) => Authority::load(&certificate, &key)?,
        (None, None) => {
            let authority = Authority::create(hub_id, now_ms)?;
            // The certificate comes last: without it there is no authority yet.
            private_file::write(&key, authority.key_pem().as_bytes())?;
            private_file::write(&certificate, authority.certificate_pem().as_bytes())?;
            authority
        }
        (None, Some(_)) => {
            // A start was cut off between the two: nobody has seen this authority.
            fs::remove_file(&key)?;
            return load_or_make(folder, hub_id, now_ms);
        }
        (Some(_), None) => bail!(
            "{} is missing; restore it from the backup of the keys: without it no agent can be \
             enrolled, and agents do not trust another one",
            key.display()
        ),
    };
    let identity = authority.issue_hub(hub_id, now_ms)?;
    Ok((authority, identity))
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let text = private_file::read(path)?.map(String::from_utf8).transpose();
    text.with_context(|| format!("{} is no text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_stays_and_a_lost_key_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let (first, _) = load_or_make(&keys, "ab", 1_700_000_000_000).unwrap();
        let (second, _) = load_or_make(&keys, "ab", 1_700_000_000_000).unwrap();
        assert_eq!(first.pin(), second.pin());
        fs::remove_file(keys.join(AUTHORITY_KEY)).unwrap();
        let error = load_or_make(&keys, "ab", 1_700_000_000_000).unwrap_err();
        assert!(error.to_string().contains("restore it"), "{error}");
    }

    #[test]
    fn start_that_was_cut_off_makes_another_authority() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = load_or_make(folder.path(), "ab", 1_700_000_000_000).unwrap();
        fs::remove_file(folder.path().join(AUTHORITY_CERTIFICATE)).unwrap();
        let (second, _) = load_or_make(folder.path(), "ab", 1_700_000_000_000).unwrap();
        assert_ne!(first.pin(), second.pin());
    }
}
