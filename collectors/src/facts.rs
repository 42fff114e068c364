//! Facts about this machine that seldom change: system, processor, memory, disks, interfaces,
//! users. Read when asked for, from the trees that the caller names.

use serde::Serialize;

use crate::config::Roots;
use crate::read::read_once;
use crate::text::{label, lines};

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Login name.
    pub name: String,
}

/// The users in etc/passwd, by rising id; of several names for one id the first counts.
/// Users that only a directory service knows are not among them.
pub fn users(roots: &Roots) -> Vec<User> {
    let text = read_once(&roots.rootfs.join("etc/passwd")).unwrap_or_default();
    let mut users: Vec<User> = lines(&text).filter_map(user).collect();
    users.sort_by_key(|user| user.uid);
    users.dedup_by_key(|user| user.uid);
    users
}

fn user(line: &[u8]) -> Option<User> {
    let mut fields = line.split(|byte| *byte == b':');
    let (name, uid) = (fields.next()?, fields.nth(1)?);
    Some(User { uid: crate::text::parse(uid)?, name: label(name).into_owned() })
}
