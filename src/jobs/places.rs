//! Where the cgroups of runs can be made on this machine: below the agent's own ones, in the one
//! tree of version 2 and in those of version 1 that have controllers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::protocol::CgroupPlaces;

/// The folder within the agent's cgroup that holds those of the runs; behind it stands whose.
const BASE: &str = "fieldpost-runs";
/// Where systemd puts the agent itself within its unit's.
const OWN_LEAF: &str = "agent";
/// What runs are limited by.
const V2_CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "io"];
const V1_CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "blkio"];

/// Finds the places of the jobs in this folder and makes them. What cannot be made is left out:
/// runs go on without it. Agents beside each other have places of their own, for a run's id is one
/// within its agent only.
pub fn find(jobs: &Path, chosen: Option<&Path>) -> CgroupPlaces {
    let Ok(name) = fs::metadata(jobs).map(|of| format!("{BASE}-{:x}-{:x}", of.dev(), of.ino())) else {
        return CgroupPlaces::default();
    };
    let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let own = own(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    let mut places = CgroupPlaces::default();
    let v2 = match chosen {
        Some(path) => Some(path.to_owned()),
        None => mounts.get("").zip(own.get("")).map(|(mount, path)| beside_agent(mount.below(path))),
    };
    if let Some(parent) = v2 {
        let base = parent.join(&name);
        if is_made(&base) {
            places.v2_controllers = delegate(&parent, &base);
            places.v2 = Some(base);
        }
    }
    for controller in V1_CONTROLLERS {
        let Some((mount, path)) = mounts.get(controller).zip(own.get(controller)) else { continue };
        let base = mount.below(path).join(&name);
        if is_made(&base) {
            places.v1.insert(controller.to_owned(), base);
        }
    }
    places
}

/// A cgroup that hands controllers down must hold no processes itself, so that systemd puts the
/// agent into a leaf of its own (`DelegateSubgroup=agent`): the runs are beside it then.
fn beside_agent(own: PathBuf) -> PathBuf {
    match own.parent() {
        Some(unit) if own.ends_with(OWN_LEAF) && is_delegated(unit) => unit.to_owned(),
        _ => own,
    }
}

/// Removes the places that are empty.
pub fn leave(places: &CgroupPlaces) {
    for base in places.v2.iter().chain(places.v1.values()) {
        // Those of runs that go on are in it: then it stays.
        let _ = fs::remove_dir(base);
    }
}

fn is_made(base: &Path) -> bool {
    fs::create_dir(base).is_ok()
        || (base.is_dir() && rustix::fs::access(base, rustix::fs::Access::WRITE_OK).is_ok())
}

/// Hands the controllers down to the runs; answers which.
fn delegate(parent: &Path, base: &Path) -> Vec<String> {
    let hand_down = |path: &Path| {
        for controller in V2_CONTROLLERS {
            // One that is not there, or not ours to give, is simply not in the list below.
            let _ = fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    };
    hand_down(parent);
    hand_down(base);
    controllers(&base.join("cgroup.subtree_control"))
}

fn controllers(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Has systemd given this cgroup to its service for good (`Delegate=yes`)?
fn is_delegated(path: &Path) -> bool {
    let mut value = [0; 8];
    ["trusted.delegate", "user.delegate"]
        .iter()
        .any(|name| matches!(rustix::fs::getxattr(path, *name, &mut value), Ok(1)) && value[0] == b'1')
}

/// A mounted tree: where, and which part of the tree that is.
struct Mount {
    at: PathBuf,
    root: PathBuf,
}

impl Mount {
    fn below(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        let inside = path.strip_prefix(&self.root).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
        self.at.join(inside)
    }
}

/// Reads /proc/self/mountinfo (proc_pid_mountinfo(5)): the trees by controller; that of version 2
/// by no name.
fn mounts(text: &str) -> BTreeMap<String, Mount> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        let (Some(root), Some(at)) = (before.get(3), before.get(4)) else { continue };
        let mount = || Mount { at: PathBuf::from(at), root: PathBuf::from(root) };
        match after.first() {
            Some(&"cgroup2") => drop(found.entry(String::new()).or_insert_with(mount)),
            Some(&"cgroup") => {
                for option in after.get(2).unwrap_or(&"").split(',') {
                    found.entry(option.to_owned()).or_insert_with(mount);
                }
            }
            _ => {}
        }
    }
    found
}

/// Reads /proc/self/cgroup (cgroups(7)): the own path by controller.
fn own(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        for controller in controllers.split(',') {
            found.insert(controller.to_owned(), path.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_found_by_controller() {
        let mounts = mounts(
            "33 32 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 32 0:29 /a /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n\
             35 32 0:30 / /tmp rw - tmpfs tmpfs rw\n",
        );
        assert_eq!(mounts["cpuacct"].below("/x/y"), Path::new("/sys/fs/cgroup/cpu,cpuacct/x/y"));
        assert_eq!(mounts[""].below("/a/b"), Path::new("/sys/fs/cgroup/unified/b"));
        let own = own("2:cpu,cpuacct:/x\n0::/a/b\n");
        assert_eq!((own["cpu"].as_str(), own[""].as_str()), ("/x", "/a/b"));
    }
}
