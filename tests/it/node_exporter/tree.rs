//! A fixed tree instead of the live machine: which flags make either program read it.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use fieldpost_bed::{Scratch, repository};

/// Collectors that ask the kernel by other ways than files: on a fixed tree they tell of this machine.
pub const NOT_OF_A_TREE: &[&str] =
    &["filesystem", "network_route", "qdisc", "systemd", "tcpstat", "time", "timex", "uname"];

/// A copy of node_exporter's own fixtures, where they are beside the repository. In the copy,
/// symbolic links are links again: they were shipped as files that hold where the link leads.
pub fn upstream() -> anyhow::Result<Option<Scratch>> {
    let source = repository().join("../shared/fixtures/node_exporter");
    if !source.exists() {
        return Ok(None);
    }
    let scratch = Scratch::new()?;
    let copied = Command::new("cp").arg("-r").arg(source.join(".")).arg(scratch.path()).status()?;
    let writable = Command::new("chmod").args(["-R", "u+w"]).arg(scratch.path()).status()?;
    ensure!(copied.success() && writable.success(), "cannot copy {}", source.display());
    restore_links(&scratch.path().join("sys"))?;
    std::fs::remove_file(scratch.path().join("proc/self"))?;
    symlink("10", scratch.path().join("proc/self"))?;
    Ok(Some(scratch))
}

fn restore_links(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            restore_links(&path)?;
        } else if entry.file_type()?.is_file()
            && let Ok(text) = std::fs::read_to_string(&path)
            && text.starts_with("../")
        {
            std::fs::remove_file(&path)?;
            symlink(text.trim_end(), &path)?;
        }
    }
    Ok(())
}

/// What makes node_exporter read the tree.
pub fn oracle_flags(tree: &Path) -> Vec<String> {
    let tree = tree.display();
    let mut flags = vec![
        format!("--path.procfs={tree}/proc"),
        format!("--path.sysfs={tree}/sys"),
        format!("--path.rootfs={tree}"),
        format!("--path.udev.data={tree}/udev/data"),
        format!("--collector.textfile.directory={tree}/textfile/two_metric_files"),
        "--no-collector.netdev.netlink".to_owned(),
        // It reads this machine's own, wherever its roots are.
        "--no-collector.selinux".to_owned(),
    ];
    let off = ["filesystem", "time", "timex", "uname"];
    flags.extend(off.iter().map(|name| format!("--no-collector.{name}")));
    flags
}

/// What makes us read it.
pub fn our_settings(tree: &Path) -> Vec<String> {
    let tree = tree.display();
    let mut settings = vec![
        format!("collectors.procfs={tree}/proc"),
        format!("collectors.sysfs={tree}/sys"),
        format!("collectors.rootfs={tree}"),
        format!("collectors.udev={tree}/udev/data"),
        format!("collectors.textfile.directory={tree}/textfile/two_metric_files"),
    ];
    settings.extend(NOT_OF_A_TREE.iter().map(|name| format!("collectors.{name}.enabled=false")));
    settings
}
