//! Tests of the filesystem collector, one of them with a real mount that hangs.

use fieldpost_bed::{HANGING_MOUNT_BLOCKS, HangingMount, wait_for};
use fieldpost_model::Period;

use super::*;
use crate::testing::{Bench, page, write};

const LINES: &str = "\
24 29 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
29 1 259:2 / / rw,relatime shared:1 - ext4 /dev/dm-2 rw,errors=remount-ro
48 45 260:3 / /boot\\040dir ro,relatime shared:92 - ext2 /dev/sda3 rw
50 45 260:4 / /gone rw - xfs /dev/sda4 rw
";

fn only<'a>(page: &'a [String], name: &str) -> Vec<&'a str> {
    page.iter().map(String::as_str).filter(|line| line.starts_with(name)).collect()
}

fn config(mount_timeout: Period) -> crate::Config {
    let mut config = crate::Config::default();
    config.filesystem.mount_timeout = mount_timeout;
    config
}

#[test]
fn mounts_are_shown_by_their_filters_and_errors() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "proc/1/mountinfo", LINES);
    std::fs::create_dir(tree.path().join("boot dir")).unwrap();
    let page = page(tree.path(), build).unwrap();
    assert_eq!(
        only(&page, "node_filesystem_device_error"),
        [
            "node_filesystem_device_error{device=\"/dev/dm-2\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"} 0",
            "node_filesystem_device_error{device=\"/dev/sda3\",device_error=\"\",fstype=\"ext2\",mountpoint=\"/boot dir\"} 0",
            "node_filesystem_device_error{device=\"/dev/sda4\",device_error=\"no such file or directory\",fstype=\"xfs\",mountpoint=\"/gone\"} 1",
        ]
    );
    assert_eq!(only(&page, "node_filesystem_readonly").iter().filter(|line| line.ends_with(" 1")).count(), 1);
    assert_eq!(
        only(&page, "node_filesystem_mount_info"),
        [
            "node_filesystem_mount_info{device=\"/dev/dm-2\",major=\"259\",minor=\"2\",mountpoint=\"/\"} 1",
            "node_filesystem_mount_info{device=\"/dev/sda3\",major=\"260\",minor=\"3\",mountpoint=\"/boot dir\"} 1",
        ]
    );
    assert_eq!(only(&page, "node_filesystem_size_bytes").len(), 2);
    assert_eq!(page.len(), 2 * 8 + 2);
}

#[test]
fn own_mounts_are_read_where_those_of_process_1_are_hidden() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "proc/self/mountinfo", LINES);
    assert!(!page(tree.path(), build).unwrap().is_empty());
    let empty = tempfile::tempdir().unwrap();
    assert!(page(empty.path(), build).unwrap_err().is_no_data());
}

#[test]
fn later_mount_at_the_same_place_counts() {
    let tree = tempfile::tempdir().unwrap();
    let lines = "1 1 0:5 / /m rw - tmpfs tmpfs rw\n2 1 0:6 / /m ro - tmpfs tmpfs rw\n";
    write(tree.path(), "proc/1/mountinfo", lines);
    std::fs::create_dir(tree.path().join("m")).unwrap();
    let page = page(tree.path(), build).unwrap();
    assert_eq!(
        only(&page, "node_filesystem_mount_info"),
        ["node_filesystem_mount_info{device=\"tmpfs\",major=\"0\",minor=\"6\",mountpoint=\"/m\"} 1"]
    );
    assert_eq!(page.len(), 8);
}

#[test]
fn mount_that_goes_ends_and_one_that_comes_begins() {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "proc/1/mountinfo", LINES);
    let mut bench = Bench::new(tree.path(), build, &config(Period::from_secs(5))).unwrap();
    bench.pass(1).unwrap();
    write(
        tree.path(),
        "proc/1/mountinfo",
        "1 1 259:3 / / rw - ext4 /dev/dm-2 rw\n1 1 0:7 / /n rw - tmpfs t rw\n",
    );
    std::fs::create_dir(tree.path().join("n")).unwrap();
    let page = bench.pass(2).unwrap();
    assert_eq!(
        only(&page, "node_filesystem_mount_info"),
        [
            "node_filesystem_mount_info{device=\"/dev/dm-2\",major=\"259\",minor=\"3\",mountpoint=\"/\"} 1",
            "node_filesystem_mount_info{device=\"t\",major=\"0\",minor=\"7\",mountpoint=\"/n\"} 1",
        ]
    );
    bench.catalog.sweep();
    bench.catalog.sweep();
    assert_eq!(bench.catalog.read().iter().count(), page.len());
    assert_eq!(bench.pass(3).unwrap().len(), page.len());
}

#[test]
fn what_lies_below_a_network_mount_is_not_asked_directly() {
    assert!(is_local(b"ext4") && is_local(b"bcachefs") && is_local(b"xfs"));
    assert!(!is_local(b"nfs4") && !is_local(b"fuse.sshfs") && !is_local(b"something new"));
    assert!(LOCAL.is_sorted());
    assert!(is_below(b"/mnt/nfs/a", b"/mnt/nfs") && is_below(b"/a", b"/"));
    assert!(!is_below(b"/mnt/nfs2", b"/mnt/nfs") && !is_below(b"/mnt/nfs", b"/mnt/nfs"));
}

#[test]
fn root_of_the_machine_is_left_out_of_mount_points() {
    assert_eq!(strip_root(Path::new("/host"), b"/host/var"), b"/var");
    assert_eq!(strip_root(Path::new("/host"), b"/host"), b"/");
    assert_eq!(strip_root(Path::new("/"), b"/var"), b"/var");
}

#[test]
fn patterns_include_and_exclude_together_are_refused() {
    let mut config = crate::Config::default();
    config.filesystem.fs_types_include = default_pattern("^ext4$");
    let tree = tempfile::tempdir().unwrap();
    assert!(Bench::new(tree.path(), build, &config).is_ok());
    config.filesystem.fs_types_exclude = default_pattern("^xfs$");
    let error = Bench::new(tree.path(), build, &config).err().unwrap();
    assert!(error.to_string().contains("fs_types_include and fs_types_exclude"), "{error}");
}

/// A tree with a good mount and one that hangs.
fn tree_with_hanging_mount() -> (tempfile::TempDir, HangingMount) {
    let tree = tempfile::tempdir().unwrap();
    let lines = "1 1 0:5 / /well rw - tmpfs tmpfs rw\n2 1 0:99 / /dead rw - fuse hanging rw\n";
    write(tree.path(), "proc/1/mountinfo", lines);
    std::fs::create_dir(tree.path().join("well")).unwrap();
    std::fs::create_dir(tree.path().join("dead")).unwrap();
    let mount = HangingMount::new(&tree.path().join("dead")).unwrap();
    (tree, mount)
}

const DEAD: &str = "node_filesystem_device_error{device=\"hanging\",device_error=\"mountpoint timeout\",fstype=\"fuse\",mountpoint=\"/dead\"} 1";
const WELL: &str = "node_filesystem_size_bytes{device=\"tmpfs\"";

#[test]
fn mount_that_hangs_is_reported_and_recovers_while_the_others_go_on() {
    let (tree, mount) = tree_with_hanging_mount();
    mount.answer();
    let mut bench = Bench::new(tree.path(), build, &config(Period::from_millis(1))).unwrap();
    let size = format!(
        "node_filesystem_size_bytes{{device=\"hanging\",device_error=\"\",fstype=\"fuse\",mountpoint=\"/dead\"}} {}",
        4096 * HANGING_MOUNT_BLOCKS
    );
    let mut time_ms = 0;
    let mut pass_until = |bench: &mut Bench, what: &str, line: &str| {
        wait_for(what, || {
            time_ms += 1_000;
            let page = bench.pass(time_ms).unwrap();
            assert_eq!(only(&page, WELL).len(), 1);
            page.iter().any(|other| other.as_str() == line).then_some(page)
        })
        .unwrap()
    };
    pass_until(&mut bench, "the size of a mount that answers", &size);
    mount.hang();
    let page = pass_until(&mut bench, "the report of a mount that hangs", DEAD);
    assert_eq!(only(&page, "fieldpost_filesystem_stuck_seconds{device=\"hanging\"").len(), 1);
    assert!(only(&page, "node_filesystem_size_bytes{device=\"hanging\"").is_empty());
    let stuck = bench.collector().stuck();
    assert_eq!(stuck[0].subject, "/dead");
    let (_, last) = stuck[0].last.as_ref().unwrap();
    assert_eq!(last[0], ("node_filesystem_size_bytes", (4096 * HANGING_MOUNT_BLOCKS) as f64));
    let n_asked = mount.n_asked();
    for time_ms in 1_000_000..1_000_020 {
        assert!(bench.pass(time_ms).unwrap().iter().any(|line| line == DEAD));
    }
    assert_eq!(mount.n_asked(), n_asked, "a stuck mount is not asked again");
    mount.answer();
    let page = pass_until(&mut bench, "the recovery", &size);
    assert!(only(&page, "fieldpost_filesystem_stuck").is_empty());
    assert!(bench.collector().stuck().is_empty());
}

#[test]
fn mount_that_is_only_slow_is_not_called_stuck() {
    let (tree, _mount) = tree_with_hanging_mount();
    let mut bench = Bench::new(tree.path(), build, &config(Period::from_secs(3_600))).unwrap();
    let page = bench.pass(1).unwrap();
    assert_eq!(only(&page, WELL).len(), 1);
    assert_eq!(page.len(), 8);
    assert!(bench.collector().stuck().is_empty());
}
