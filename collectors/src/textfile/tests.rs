//! Tests of the textfile collector over small folders.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use fieldpost_model::Owner;
use tempfile::TempDir;

use super::*;
use crate::testing::{Bench, write};

/// Late enough for every file of a test to be settled.
const NOW_MS: i64 = 4_000_000_000_000;

struct Case {
    tree: TempDir,
    bench: Bench,
}

impl Case {
    fn new(files: &[(&str, &str)], directories: &[&str]) -> Self {
        let tree = tempfile::tempdir().unwrap();
        for (file, content) in files {
            write(tree.path(), file, content);
        }
        let at = |directory: &&str| tree.path().join(directory).to_str().unwrap().to_owned();
        let mut config = crate::Config::default();
        config.textfile.directory = directories.iter().map(at).collect();
        let bench = Bench::new(tree.path(), build, &config).unwrap();
        Self { tree, bench }
    }

    /// The page without the times of files, and with the folder's name cut away.
    fn page(&mut self) -> Vec<String> {
        let root = format!("{}/", self.tree.path().display());
        let lines = self.bench.pass(NOW_MS).unwrap();
        lines.iter().filter(|l| !l.starts_with("node_textfile_mtime")).map(|l| l.replace(&root, "")).collect()
    }

    fn files_read(&mut self) -> usize {
        let lines = self.bench.pass(NOW_MS).unwrap();
        lines.iter().filter(|line| line.starts_with("node_textfile_mtime_seconds{")).count()
    }

    fn help_of(&self, name: &str) -> String {
        let root = format!("{}/", self.tree.path().display());
        let view = self.bench.catalog.read();
        let (_, series) = view.iter().find(|(_, series)| &*series.family.name == name).unwrap();
        series.family.help.replace(&root, "")
    }
}

#[test]
fn nothing_is_configured_nothing_is_wrong() {
    assert_eq!(Case::new(&[], &[]).page(), ["node_textfile_scrape_error 0"]);
}

#[test]
fn prom_files_of_all_folders_are_read() {
    let files = [("d1/a.prom", "a 1\n"), ("d2/b.prom", "b{x=\"y\"} 2\n"), ("d2/c.txt", "c 3\n")];
    let mut case = Case::new(&files, &["d*"]);
    assert_eq!(case.page(), ["a 1", "b{x=\"y\"} 2", "node_textfile_scrape_error 0"]);
    assert_eq!(case.files_read(), 2);
    assert_eq!(case.help_of("a"), "Metric read from d1/a.prom");
}

#[test]
fn missing_folder_is_an_error_and_the_others_are_read() {
    let mut case = Case::new(&[("d/a.prom", "a 1\n")], &["nowhere", "d"]);
    assert_eq!(case.page(), ["a 1", "node_textfile_scrape_error 1"]);
}

#[test]
fn broken_file_is_skipped_and_the_others_are_read() {
    let files = [("d/a.prom", "a 1\n"), ("d/b.prom", "b 1\nb{ 2\n"), ("d/c.prom", "c 1 1395066363000\n")];
    let mut case = Case::new(&files, &["d"]);
    assert_eq!(case.page(), ["a 1", "node_textfile_scrape_error 1"]);
    assert_eq!(case.files_read(), 1);
    write(case.tree.path(), "d/b.prom", "b 1\n");
    std::fs::remove_file(case.tree.path().join("d/c.prom")).unwrap();
    assert_eq!(case.page(), ["a 1", "b 1", "node_textfile_scrape_error 0"]);
}

#[test]
fn change_is_seen_and_what_is_gone_ends() {
    let mut case = Case::new(&[("d/a.prom", "a 1\nb 2\n")], &["d"]);
    assert_eq!(case.page(), ["a 1", "b 2", "node_textfile_scrape_error 0"]);
    write(case.tree.path(), "d/a.prom", "a 15\n");
    assert_eq!(case.page(), ["a 15", "node_textfile_scrape_error 0"]);
    std::fs::remove_file(case.tree.path().join("d/a.prom")).unwrap();
    assert_eq!(case.page(), ["node_textfile_scrape_error 0"]);
    case.bench.catalog.sweep();
    case.bench.catalog.sweep();
    assert_eq!(case.bench.catalog.read().iter().count(), 1);
}

#[test]
fn unchanged_file_is_not_read_again_but_a_fresh_one_is() {
    let mut case = Case::new(&[("d/a.prom", "a 1\n")], &["d"]);
    let path = case.tree.path().join("d/a.prom");
    let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let put = |text: &str| {
        std::fs::write(&path, text).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    };
    put("a 1\n");
    let first = |lines: Vec<String>| lines[0].clone();
    assert_eq!(first(case.bench.pass(1_000_000_500).unwrap()), "a 1");
    // The same size and time within the clock's grain: only reading tells.
    put("a 2\n");
    assert_eq!(first(case.bench.pass(1_000_005_000).unwrap()), "a 2");
    put("a 3\n");
    assert_eq!(first(case.bench.pass(1_000_009_000).unwrap()), "a 2");
}

#[test]
fn help_that_differs_leaves_the_later_file_out() {
    let a = "# HELP e One.\n# TYPE e counter\ne{f=\"a\"} 1\n";
    let b = "# HELP e Two.\n# TYPE e counter\ne{f=\"b\"} 1\n";
    let c = "# TYPE e counter\ne{f=\"c\"} 1\n";
    let mut case = Case::new(&[("d/a.prom", a), ("d/b.prom", b), ("d/c.prom", c)], &["d"]);
    assert_eq!(case.page(), ["e{f=\"a\"} 1", "e{f=\"c\"} 1", "node_textfile_scrape_error 1"]);
    assert_eq!(case.help_of("e"), "One.");
}

#[test]
fn family_without_help_names_its_files() {
    let files = [("d/a.prom", "e{f=\"a\"} 1\n"), ("d/b.prom", "# HELP e\ne{f=\"b\"} 1\n")];
    let mut case = Case::new(&files, &["d"]);
    assert_eq!(case.page(), ["e{f=\"a\"} 1", "e{f=\"b\"} 1", "node_textfile_scrape_error 0"]);
    assert_eq!(case.help_of("e"), "Metric read from d/a.prom, d/b.prom");
}

#[test]
fn kind_that_differs_and_series_given_twice_leave_the_later_one_out() {
    let files = [
        ("d/a.prom", "# TYPE e counter\ne 1\ng 1\n"),
        ("d/b.prom", "# TYPE e gauge\ne{x=\"y\"} 2\n"),
        ("d/c.prom", "g 2\ng{x=\"y\"} 3\n"),
    ];
    let mut case = Case::new(&files, &["d"]);
    assert_eq!(
        case.page(),
        ["e 1", "g{x=\"\"} 2", "g{x=\"y\"} 3", "g 1", "node_textfile_scrape_error 1"].sorted()
    );
}

#[test]
fn series_of_another_collector_are_left_alone() {
    let files =
        [("d/a.prom", "# HELP load1 Mine.\n# TYPE load1 gauge\nload1 9\nload1{a=\"b\"} 8\nuptime 7\nok 1\n")];
    let mut case = Case::new(&files, &["d"]);
    let other = Tick::new(case.bench.catalog.clone(), Owner(7));
    other.gauge("load1", "The other's.", &[("a", "b")]);
    other.counter("uptime", "The other's.", &[]);
    assert_eq!(case.page(), ["load1{a=\"\"} 9", "node_textfile_scrape_error 1", "ok 1"]);
    assert_eq!(case.help_of("load1"), "The other's.");
}

#[test]
fn histogram_has_the_parts_of_its_family() {
    let text = "# TYPE h histogram\nh_bucket{le=\"1000000\"} 3\nh_sum 5\nh_count 4\n";
    let mut case = Case::new(&[("d/a.prom", text)], &["d"]);
    let expected = [
        "h_bucket{le=\"+Inf\"} 4",
        "h_bucket{le=\"1e+06\"} 3",
        "h_count 4",
        "h_sum 5",
        "node_textfile_scrape_error 0",
    ];
    assert_eq!(case.page(), expected);
}

#[test]
fn what_is_no_ordinary_file_is_refused_without_waiting() {
    let mut case = Case::new(&[("d/a.prom", "a 1\n"), ("d/folder.prom/x", "")], &["d"]);
    let at = |name: &str| case.tree.path().join("d").join(name);
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo.prom"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    symlink("/dev/zero", at("zero.prom")).unwrap();
    symlink("loop.prom", at("loop.prom")).unwrap();
    symlink("nowhere", at("dangling.prom")).unwrap();
    std::fs::File::create(at("big.prom")).unwrap().set_len(50 << 20).unwrap();
    assert_eq!(case.page(), ["a 1", "node_textfile_scrape_error 1"]);
    assert_eq!(case.files_read(), 1);
}

#[test]
fn link_to_a_file_is_followed() {
    let mut case = Case::new(&[("d/x", "a 1\n")], &["d"]);
    symlink("x", case.tree.path().join("d/a.prom")).unwrap();
    assert_eq!(case.page(), ["a 1", "node_textfile_scrape_error 0"]);
}

#[test]
fn too_many_files_are_an_error() {
    let mut case = Case::new(&[], &["d"]);
    (0..=FILES_MAX).for_each(|n| write(case.tree.path(), &format!("d/{n}.prom"), format!("m{n} 1\n")));
    assert_eq!(case.files_read(), FILES_MAX);
    assert!(case.page().contains(&"node_textfile_scrape_error 1".to_owned()));
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl<const N: usize> Sorted for [&str; N] {
    fn sorted(mut self) -> Self {
        self.sort_unstable();
        self
    }
}
