//! Names, files and folders that somebody chose to do harm with: the page stays right, nothing
//! waits, and a data folder that others can change is refused.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use fieldpost_bed::{Agent, Page, Scratch, library_path, peer, wait_for};
use rustix::fs::{FileType, Mode, OFlags, mknodat};
use serde_json::Value;

use crate::page::promtool_reads_text;

/// A script in the scratch folder that may be run.
fn script(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let path = scratch.write(name, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn text_of(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The values of a label in a family.
fn labels<'a>(page: &'a Page, family: &str, label: &str) -> Vec<&'a str> {
    let family = page.families.get(family).unwrap_or_else(|| panic!("no {family}"));
    family.series.keys().filter_map(|series| series.labels.get(label)).map(String::as_str).collect()
}

/// The machine's own `ip`, or the one of `make peers`.
fn ip() -> PathBuf {
    let own = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"].map(PathBuf::from);
    let found = own.into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| peer("iproute2", "bin/ip").or_else(|_| peer("iproute2", "usr/bin/ip")).unwrap())
}

/// Interfaces may be called anything without `/`, `:` and white space.
#[test]
fn interfaces_with_hostile_names_are_shown() {
    let scratch = Scratch::new().unwrap();
    let inside = script(
        &scratch,
        "inside",
        "set -e\nmount -t sysfs sysfs /sys\nip=$1\nshift\n\
         \"$ip\" link add 'q\"uo\\te' type veth peer name 'a}b{c=\"1\"'\n\
         \"$ip\" link add \"$(printf 'n\\377\\376o')\" type bridge\n\
         \"$ip\" link set 'q\"uo\\te' up\nexport LD_LIBRARY_PATH=\nexec \"$@\"\n",
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--", "/bin/sh"]).arg(inside).arg(ip());
    command.arg(crate::fieldpost()).args(["sample", "--set", "collectors.all=true"]);
    command.args(["arp", "netdev", "netclass", "qdisc", "network_route"]);
    let text = text_of(command.env("LD_LIBRARY_PATH", library_path()).output().unwrap());
    promtool_reads_text(&text);
    let page = Page::parse(&text).unwrap();
    for family in ["node_network_receive_bytes_total", "node_network_up", "node_network_info"] {
        let devices = labels(&page, family, "device");
        for name in ["q\"uo\\te", "a}b{c=\"1\"", "n\u{fffd}\u{fffd}o"] {
            assert!(devices.contains(&name), "{family}: no {name:?} in {devices:?}");
        }
    }
}

/// Mount points with everything that a path may hold, and the bytes that are no text.
const MOUNTS: [(&[u8], &str); 5] = [
    (b"new\nline", "new\nline"),
    (b"quo\"te", "quo\"te"),
    (b"back\\slash", "back\\slash"),
    (b"\xff\xfe", "\u{fffd}\u{fffd}"),
    (b"tab\tand space#}", "tab\tand space#}"),
];

/// An agent that sees mounts of its own as the machine's, in a namespace of its own.
fn agent_with_mounts(scratch: &Scratch, folders: &[PathBuf]) -> Agent {
    let mut text = b"#!/bin/sh\nexec unshare --mount -- /bin/sh \"$0.inside\" \"$@\"\n".to_vec();
    let wrapper = scratch.path().join("wrapped");
    std::fs::write(&wrapper, &text).unwrap();
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
    text = b"set -e\n".to_vec();
    for folder in folders {
        text.extend(b"mount -t tmpfs \"so'ur\\\"ce\" '");
        text.extend(folder.as_os_str().as_bytes());
        text.extend(b"'\n");
    }
    text.extend(b"mount --bind /proc/$$/mountinfo /proc/1/mountinfo\nexec ");
    text.extend(crate::fieldpost().as_bytes());
    text.extend(b" \"$@\"\n");
    std::fs::write(scratch.path().join("wrapped.inside"), text).unwrap();
    Agent::start(&wrapper, "interval: 1s\n").unwrap()
}

#[test]
fn mounts_with_hostile_names_are_shown() {
    let scratch = Scratch::new().unwrap();
    let base = scratch.path().canonicalize().unwrap();
    let folders: Vec<PathBuf> = MOUNTS.iter().map(|(name, _)| base.join(OsStr::from_bytes(name))).collect();
    for folder in &folders {
        std::fs::create_dir(folder).unwrap();
    }
    let mut agent = agent_with_mounts(&scratch, &folders);
    let answer = agent.get("/metrics").unwrap();
    let text = answer.ok().unwrap();
    promtool_reads_text(text);
    let page = Page::parse(text).unwrap();
    let shown = labels(&page, "node_filesystem_size_bytes", "mountpoint");
    for (_, name) in MOUNTS {
        let mount_point = base.join(name).display().to_string();
        assert!(shown.contains(&mount_point.as_str()), "no {mount_point:?} in {shown:?}");
    }
    assert!(agent.stop().unwrap().success(), "{}", agent.process().said());
}

/// A child under a name of its own, killed when it is no longer needed.
struct Named(Child);

impl Named {
    fn sleeping(scratch: &Scratch, name: &[u8]) -> Self {
        let copy = scratch.path().join(OsStr::from_bytes(name));
        std::fs::copy("/bin/sleep", &copy).unwrap();
        Self(Command::new(copy).arg("600").stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _already_waited = self.0.wait();
    }
}

#[test]
fn processes_with_hostile_names_are_shown() {
    let scratch = Scratch::new().unwrap();
    let names: [(&[u8], &str); 4] = [
        (b"a) R 1 (b", "a) R 1 (b"),
        (b"li\nne\"q", "li\nne\"q"),
        (b"no\xff\xfetext", "no\u{fffd}\u{fffd}text"),
        (b"x{y=\"z\"} 1\\", "x{y=\"z\"} 1\\"),
    ];
    let children: Vec<Named> = names.iter().map(|(name, _)| Named::sleeping(&scratch, name)).collect();
    let config = "interval: 1s\nstore:\n  window: 6s\nhistory:\n  interval: 1s\ncollectors:\n  process_table:\n    top: 1000\n";
    let mut agent = Agent::start(Path::new(crate::fieldpost()), config).unwrap();
    let page = wait_for("the groups", || {
        let answer = agent.get("/metrics").ok()?;
        promtool_reads_text(answer.ok().ok()?);
        let page = Page::parse(answer.ok().ok()?).unwrap();
        let groups = page
            .families
            .get("fieldpost_process_count")
            .or(page.families.get("fieldpost_process_processes"))?;
        (groups.series.len() > 4).then_some(page)
    })
    .unwrap();
    let everything: Vec<&str> = page
        .families
        .iter()
        .filter(|(name, _)| name.starts_with("fieldpost_process_"))
        .flat_map(|(_, family)| family.series.keys())
        .flat_map(|series| series.labels.values())
        .map(String::as_str)
        .collect();
    let live: Value =
        serde_json::from_str(&text_of(agent.client(&["processes", "--json"]).unwrap())).unwrap();
    let row_of = |rows: &Value, child: &Named| {
        rows.as_array().unwrap().iter().find(|row| row["pid"] == child.0.id()).cloned().unwrap()
    };
    for ((_, name), child) in names.iter().zip(&children) {
        assert!(everything.contains(name), "no group {name:?} in {everything:?}");
        let row = row_of(&live, child);
        assert_eq!((&row["name"], &row["state"]), (&(*name).into(), &"S".into()));
    }
    let listed = text_of(agent.client(&["processes"]).unwrap());
    let broken = listed.lines().skip(1).find(|row| {
        let pid = row.split_whitespace().next();
        pid.is_none_or(|pid| pid.parse::<u32>().is_err())
    });
    assert_eq!(broken, None, "a row broken in two:\n{listed}");
    wait_for("a tick for the history", || {
        let status: Value = serde_json::from_slice(&agent.api("/v1/status").ok()?.body).ok()?;
        (status["ticks"].as_u64()? > 1).then_some(())
    })
    .unwrap();
    assert!(agent.stop().unwrap().success());
    let stored = text_of(agent.client(&["processes", "--at", "now", "--json"]).unwrap());
    let stored: Value = serde_json::from_str(&stored).unwrap();
    for ((_, name), child) in names.iter().zip(&children) {
        assert_eq!(row_of(&stored, child)["name"], *name);
    }
}

/// Everything but good files that may lie in a folder of textfiles.
fn fill(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("good.prom", "# TYPE left_by_cron gauge\nleft_by_cron 42\n");
    write("broken.prom", "# TYPE a gauge\na 1\na{b=\"c 2\n");
    write("zz-not-text.prom", "");
    std::fs::write(folder.join("zz-not-text.prom"), b"caf\xe9 1\n").unwrap();
    std::fs::create_dir(folder.join("folder.prom")).unwrap();
    let folder_fd = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    let mode = Mode::from_raw_mode(0o600);
    mknodat(&folder_fd, "fifo.prom", FileType::Fifo, mode, 0).unwrap();
    mknodat(&folder_fd, "zero.prom", FileType::CharacterDevice, mode, rustix::fs::makedev(1, 5)).unwrap();
    symlink("/dev/zero", folder.join("link-to-zero.prom")).unwrap();
    symlink("nowhere", folder.join("dangling.prom")).unwrap();
    symlink("loop.prom", folder.join("loop.prom")).unwrap();
    let big = "big_metric{n=\"0123456789\"} 1\n".repeat((50 << 20) / 29);
    std::fs::write(folder.join("big.prom"), big).unwrap();
    let name = CString::new(b"bytes\xff\n.prom".to_vec()).unwrap();
    std::fs::write(folder.join(OsString::from_vec(name.into_bytes())), "of_hostile_name 7\n").unwrap();
}

#[test]
fn folder_of_textfiles_with_everything_in_it_blocks_nothing() {
    let scratch = Scratch::new().unwrap();
    let folder = scratch.path().join("textfiles");
    fill(&folder);
    let config = format!(
        "interval: 1s\ncollectors:\n  textfile:\n    interval: 1s\n    directory: {}\n",
        folder.display()
    );
    let mut agent = Agent::start(Path::new(crate::fieldpost()), &config).unwrap();
    let page = wait_for("the good file", || {
        let page = agent.page().ok()?;
        page.value("left_by_cron", &[])?;
        Some(page)
    })
    .unwrap();
    promtool_reads_text(agent.get("/metrics").unwrap().ok().unwrap());
    assert_eq!(page.value("left_by_cron", &[]), Some(42.0));
    assert_eq!(page.value("of_hostile_name", &[]), Some(7.0));
    assert_eq!(page.value("node_textfile_scrape_error", &[]), Some(1.0));
    let others = ["a", "big_metric"];
    assert!(others.iter().all(|name| !page.families.contains_key(*name)), "what is broken is left out whole");
    let then = page.value("node_time_seconds", &[]).unwrap();
    wait_for("some more passes", || {
        (agent.page().ok()?.value("node_time_seconds", &[])? > then + 4.0).then_some(())
    })
    .unwrap();
    let log = agent.process().said();
    for (file, what) in [
        ("broken.prom", "line 3"),
        ("zz-not-text.prom", "line 1"),
        ("folder.prom", "no ordinary file"),
        ("fifo.prom", "no ordinary file"),
        ("/zero.prom", "no ordinary file"),
        ("link-to-zero.prom", "no ordinary file"),
        ("big.prom", "at most"),
    ] {
        let told: Vec<&str> = log.lines().filter(|line| line.contains(file)).collect();
        assert_eq!(told.len(), 1, "{file} in the log:\n{log}");
        assert!(told[0].contains(what), "{}", told[0]);
    }
    mended_file_is_taken_up(&agent, &folder);
    assert!(agent.stop().unwrap().success());
}

fn mended_file_is_taken_up(agent: &Agent, folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_folder = std::fs::symlink_metadata(&path).unwrap().is_dir();
        if is_folder { std::fs::remove_dir(&path).unwrap() } else { std::fs::remove_file(&path).unwrap() }
    }
    std::fs::write(folder.join("broken.prom"), "# TYPE a gauge\na 1\n").unwrap();
    wait_for("the mended file", || {
        let page = agent.page().ok()?;
        let well = page.value("node_textfile_scrape_error", &[])? == 0.0;
        (well && page.value("a", &[]) == Some(1.0) && !page.families.contains_key("left_by_cron"))
            .then_some(())
    })
    .unwrap();
}

/// Starts an agent with this data folder, which must be refused; answers what it said.
fn refused(data: &Path) -> String {
    let scratch = Scratch::new().unwrap();
    scratch.write("agent.yaml", "metrics:\n  listen: 127.0.0.1:0\n").unwrap();
    let mut command = Command::new("timeout");
    command.arg("60").arg(crate::fieldpost()).args(["agent", "--config-dir"]).arg(scratch.path());
    let mut setting = OsString::from("store.path=");
    setting.push(data);
    command.arg("--set").arg(setting).env_clear().env("RUNTIME_DIRECTORY", scratch.path().join("run"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn folder(path: &Path, mode: u32) -> PathBuf {
    std::fs::create_dir(path).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    path.canonicalize().unwrap()
}

#[test]
fn data_folder_that_others_can_change_is_refused() {
    let scratch = Scratch::new().unwrap();
    let open = folder(&scratch.path().join("open"), 0o777);
    let inner = folder(&open.join("inner"), 0o700);
    for data in [open.clone(), inner.join("data"), inner.clone()] {
        let said = refused(&data);
        let complaint = format!("{}: everybody may write to it", open.display());
        assert!(said.contains(&complaint) && said.contains("chmod o-w"), "{said}");
    }
    let of_group = folder(&scratch.path().join("group"), 0o770);
    std::os::unix::fs::chown(&of_group, None, Some(65_534)).unwrap();
    let said = refused(&of_group.join("data"));
    assert!(said.contains("group: the group 65534 may write to it"), "{said}");
    let foreign = folder(&scratch.path().join("foreign"), 0o755);
    std::os::unix::fs::chown(&foreign, Some(65_534), None).unwrap();
    let said = refused(&foreign.join("data"));
    assert!(said.contains("foreign: it belongs to uid 65534"), "{said}");
}

/// A link in a folder that others may write can be turned elsewhere, wherever it points now.
#[test]
fn data_folder_behind_a_link_that_others_can_turn_is_refused() {
    let scratch = Scratch::new().unwrap();
    let safe = folder(&scratch.path().join("safe"), 0o700);
    let open = folder(&scratch.path().join("open"), 0o777);
    symlink(&safe, open.join("link")).unwrap();
    symlink(open.join("link"), scratch.path().join("far")).unwrap();
    symlink("far", scratch.path().join("farther")).unwrap();
    for data in [open.join("link"), scratch.path().join("far"), scratch.path().join("farther/data")] {
        let said = refused(&data);
        assert!(said.contains("open: everybody may write to it"), "{}: {said}", data.display());
    }
    symlink(&safe, scratch.path().join("good")).unwrap();
    symlink("round", scratch.path().join("round")).unwrap();
    let said = refused(&scratch.path().join("round"));
    assert!(said.contains("round"), "{said}");
    std::fs::write(scratch.path().join("file"), "").unwrap();
    let said = refused(&scratch.path().join("file"));
    assert!(said.contains("file"), "{said}");
}
