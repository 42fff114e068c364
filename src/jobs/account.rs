//! Users and groups of this machine, as the system knows them.
#![allow(unsafe_code)] // The system's directory of users has no safe form.

use std::ffi::{CStr, CString};
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::protocol::Account;

/// An entry of the directory is not longer, bytes.
const ENTRY_BYTES: usize = 64 << 10;
/// Groups of one user, at most.
const N_GROUPS_MAX: usize = 1_024;

/// A user, as a command needs to know them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// By numbers.
    pub account: Account,
    /// By name.
    pub name: String,
    /// Where they are at home.
    pub home: PathBuf,
    /// Their shell.
    pub shell: String,
}

/// The user of this name or number, in this group if another than their own is wanted.
pub fn find(user: &str, group: Option<&str>) -> anyhow::Result<User> {
    let number = user.parse::<u32>().ok();
    let Some(entry) = entry(user, number) else { bail!("there is no user {user:?} on this host") };
    let gid = group.map_or(Ok(entry.gid), group_number)?;
    let groups = groups(&entry.name, gid)?;
    let account = Account { uid: entry.uid, gid, groups };
    let name = entry.name.to_string_lossy().into_owned();
    Ok(User { account, name, home: entry.home, shell: entry.shell })
}

/// The user that this process runs as.
pub fn own() -> User {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let account = Account { uid, gid, groups: Vec::new() };
    match entry("", Some(uid)) {
        Some(found) => {
            let name = found.name.to_string_lossy().into_owned();
            User { account, name, home: found.home, shell: found.shell }
        }
        None => User { account, name: uid.to_string(), home: "/".into(), shell: "/bin/sh".to_owned() },
    }
}

struct Entry {
    name: CString,
    uid: u32,
    gid: u32,
    home: PathBuf,
    shell: String,
}

fn entry(name: &str, number: Option<u32>) -> Option<Entry> {
    let name = CString::new(name).ok()?;
    let mut buffer = vec![0; ENTRY_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: all zeros are a passwd; the buffer is as long as is said and outlives what points
    // into it, which is copied below.
    unsafe {
        let mut passwd: libc::passwd = std::mem::zeroed();
        let (room, length) = (buffer.as_mut_ptr(), buffer.len());
        let code = match number {
            Some(uid) => libc::getpwuid_r(uid, &raw mut passwd, room, length, &raw mut found),
            None => libc::getpwnam_r(name.as_ptr(), &raw mut passwd, room, length, &raw mut found),
        };
        if code != 0 || found.is_null() {
            return None;
        }
        let text = |pointer: *const libc::c_char| CStr::from_ptr(pointer).to_string_lossy().into_owned();
        Some(Entry {
            name: CStr::from_ptr(passwd.pw_name).to_owned(),
            uid: passwd.pw_uid,
            gid: passwd.pw_gid,
            home: text(passwd.pw_dir).into(),
            shell: text(passwd.pw_shell),
        })
    }
}

fn group_number(group: &str) -> anyhow::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let name = CString::new(group).context("a name of a group has no zero byte")?;
    let mut buffer = vec![0; ENTRY_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: as above.
    let (code, gid) = unsafe {
        let mut entry: libc::group = std::mem::zeroed();
        let code = libc::getgrnam_r(
            name.as_ptr(),
            &raw mut entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        );
        (code, entry.gr_gid)
    };
    if code != 0 || found.is_null() {
        bail!("there is no group {group:?} on this host");
    }
    Ok(gid)
}

fn groups(name: &CStr, gid: u32) -> anyhow::Result<Vec<u32>> {
    let mut groups = vec![0; N_GROUPS_MAX];
    let mut n_groups = N_GROUPS_MAX as libc::c_int;
    // SAFETY: the list is as long as is said.
    let code = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut n_groups) };
    if code < 0 {
        bail!("the user is in more than {N_GROUPS_MAX} groups");
    }
    groups.truncate(usize::try_from(n_groups).unwrap_or(0));
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = find("root", None).unwrap();
        assert_eq!((root.account.uid, root.home.as_path()), (0, "/root".as_ref()));
        assert_eq!(find("0", Some("daemon")).unwrap().account.gid, 1);
        assert!(find("nosuchuser", None).unwrap_err().to_string().contains("nosuchuser"));
        assert!(find("root", Some("nosuchgroup")).is_err());
        assert_eq!(own().account.uid, rustix::process::geteuid().as_raw());
    }
}
