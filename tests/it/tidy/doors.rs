//! Doors and homes: which room may use which, and which room alone names an external package.
//! The lists are ARCHITECTURE.md's; whoever opens a door changes both.

use std::collections::BTreeSet;

use fieldpost_bed::repository;

use super::source::{Fault, Source};

/// A may use B. What is not listed is closed. `cli` (and `main`, `lib`) may use everything.
const DOORS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("formats", &["model"]),
    ("collectors", &["formats", "model"]),
    ("store", &["model"]),
    ("promql", &["model"]),
    ("link", &["model"]),
    ("jobs", &["collectors", "store", "model"]),
    ("agent", &["collectors", "store", "link", "jobs", "promql", "model"]),
    ("hub", &["store", "link", "promql", "formats", "model"]),
    ("sinks", &["store", "formats", "model"]),
    ("api", &["agent", "hub", "jobs", "promql", "formats", "ui", "config", "model"]),
    ("ui", &[]),
    // For the rooms' settings and the closed list of collectors, nothing that runs.
    (
        "config",
        &["agent", "hub", "jobs", "sinks", "api", "collectors", "store", "link", "telemetry", "model"],
    ),
    ("daemon", &["model"]),
    ("telemetry", &["model"]),
    ("shutdown", &[]),
    ("http_client", &[]),
    ("private_file", &[]),
    ("seal", &[]),
];

/// What stands in the hall: every room of src/ may use it, the crates do not know it.
const HALL: &[&str] = &["shutdown", "telemetry", "http_client", "private_file", "seal"];

/// External packages and the one place that names each.
const HOMES: &[(&str, &[&str])] = &[
    ("argon2", &["src/hub/"]),
    // Also to seal the secrets of runs that wait.
    ("aws_lc_rs", &["crates/link/", "src/jobs/", "src/seal.rs"]),
    ("axum", &["src/api/"]),
    // The levels of the log are the values of a flag.
    ("clap", &["src/cli/", "src/main.rs", "src/telemetry.rs"]),
    ("clap_complete", &["src/cli/"]),
    ("clap_mangen", &["src/cli/"]),
    ("comfy_table", &["src/cli/"]),
    ("crc32fast", &["crates/store/"]),
    ("daemonize", &["src/daemon"]),
    ("croner", &["src/jobs/"]),
    ("chrono_tz", &["src/jobs/"]),
    ("data_encoding", &["crates/link/", "src/jobs/"]),
    ("flate2", &["src/api/"]),
    ("futures_util", &["crates/link/", "src/agent/", "src/api/"]),
    ("http_body_util", &["crates/link/"]),
    ("humantime", &["src/cli/"]),
    ("hyper", &["src/api/", "crates/link/"]),
    // The agent's API becomes what a link serves where everything is wired.
    ("hyper_util", &["src/api/", "crates/link/", "src/cli/"]),
    ("indicatif", &["src/cli/"]),
    ("itoa", &["crates/formats/"]),
    ("libc", &["collectors/", "crates/store/", "src/jobs/"]),
    // Only to spread targets over hubs as Prometheus does.
    ("md5", &["src/hub/"]),
    ("pco", &["crates/store/"]),
    ("prometheus", &["src/telemetry"]),
    ("prost", &["crates/formats/"]),
    ("ratatui", &["src/cli/"]),
    ("rcgen", &["crates/link/"]),
    ("regex", &["crates/model/"]),
    ("reqwest", &["src/http_client.rs"]),
    ("rusqlite", &["crates/store/"]),
    ("rustls", &["crates/link/"]),
    ("ryu", &["crates/formats/"]),
    ("saphyr_parser", &["src/config/"]),
    ("sd_notify", &["src/cli/"]),
    ("serde_path_to_error", &["src/config/"]),
    ("serde_yaml", &["src/config/"]),
    ("sha2", &["crates/store/"]),
    ("snap", &["crates/formats/"]),
    ("socket2", &["crates/link/"]),
    ("sysinfo", &["collectors/"]),
    ("tokio_cron_scheduler", &["src/jobs/"]),
    ("tokio_rustls", &["crates/link/"]),
    ("tokio_tungstenite", &["crates/link/"]),
    ("tracing_subscriber", &["src/telemetry"]),
    // Runs get their ids where they are made.
    ("uuid", &["src/jobs/", "src/hub/"]),
    ("x509_parser", &["crates/link/"]),
    // In files, and in answers.
    ("zstd", &["crates/store/", "src/api/"]),
];

/// Packages that are words rather than tools: allowed wherever a Cargo.toml lists them.
const VOCABULARY: &[&str] = &[
    "anyhow",
    "arc_swap",
    "bytes",
    "chrono",
    "http",
    "insta",
    "parking_lot",
    "proptest",
    "rustix",
    "serde",
    "serde_json",
    "tempfile",
    "thiserror",
    "tokio",
    "tokio_util",
    "tracing",
];

/// The folders with a Cargo.toml, and the names their doors go by; the root package holds rooms instead.
const MEMBERS: &[(&str, &str)] = &[
    ("collectors", "collectors"),
    ("crates/model", "model"),
    ("crates/formats", "formats"),
    ("crates/store", "store"),
    ("crates/promql", "promql"),
    ("crates/link", "link"),
];

fn allowed(room: &str) -> Option<&'static [&'static str]> {
    DOORS.iter().find(|(name, _)| *name == room).map(|(_, doors)| *doors)
}

/// Dependencies of a manifest's `[dependencies]`, with `-` as `_`. Empty when the member is not there yet.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = repository().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    let lines = text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some(line.split(['.', ' ', '=']).next()?.replace('-', "_")))
        .filter(|name| !name.is_empty())
        .collect()
}

/// Doors between crates: what each Cargo.toml asks for.
pub fn crates() -> Vec<Fault> {
    let mut faults = Vec::new();
    for (folder, room) in MEMBERS {
        for package in dependencies(folder) {
            let Some(other) = package.strip_prefix("fieldpost_") else { continue };
            if !allowed(room).is_some_and(|doors| doors.contains(&other)) {
                faults
                    .push(Fault::at(&format!("{folder}/Cargo.toml"), &format!("{room} may not use {other}")));
            }
        }
    }
    faults
}

/// Doors between the rooms of src/: what each file names after `crate::` and `fieldpost_`.
pub fn rooms(source: &Source) -> Vec<Fault> {
    let Some(room) = room_of(&source.path) else { return Vec::new() };
    let Some(doors) = allowed(room) else {
        return vec![source.fault(1, &format!("{room} is no room of ARCHITECTURE.md"))];
    };
    let may = |other: &str| other == room || doors.contains(&other) || HALL.contains(&other);
    let code: Vec<(usize, &str)> = source.code().collect();
    let mut faults = Vec::new();
    for (index, (number, line)) in code.iter().enumerate() {
        for name in named_rooms(line, &code[index..]) {
            if !may(&name) {
                faults.push(source.fault(*number, &format!("{room} may not use {name}")));
            }
        }
    }
    faults
}

/// The room that a file of src/ belongs to; none for cli, main and lib, which may use everything.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (!["cli", "main", "lib"].contains(&room)).then_some(room)
}

/// Every room that the line names. `use crate::{a, b}` may go on over the lines that follow.
fn named_rooms(line: &str, following: &[(usize, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, _) in line.match_indices("crate::") {
        let rest = &line[place + "crate::".len()..];
        if rest.starts_with('{') {
            let whole: String = following.iter().map(|(_, line)| line.trim()).collect::<Vec<_>>().join(" ");
            let start = whole.find("crate::{").map_or(0, |start| start + "crate::{".len());
            found.extend(top_level(&whole[start..]).iter().map(|item| named(item)));
        } else {
            found.push(named(rest));
        }
    }
    for (place, _) in line.match_indices("fieldpost_") {
        let rest = &line[place + "fieldpost_".len()..];
        let begins_a_path = !line[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
        let name = named(rest);
        if begins_a_path && allowed(&name).is_some() {
            found.push(name);
        }
    }
    found
}

/// The word at the beginning.
fn named(text: &str) -> String {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text[..end].to_owned()
}

/// The items of a `{a, b::{c, d}}` list, from behind its first brace.
fn top_level(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// Packages that a file names outside their homes. Tests and benchmarks may use what they test with.
pub fn homes(source: &Source) -> Vec<Fault> {
    if !["src/", "crates/", "collectors/"].iter().any(|room| source.path.starts_with(room)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (number, line) in source.code() {
        for (package, homes) in HOMES {
            if names_package(line, package) && !homes.iter().any(|home| source.path.starts_with(home)) {
                faults.push(source.fault(number, &format!("{package} lives in {}", homes.join(" and "))));
            }
        }
    }
    faults
}

/// `package::` at the beginning of a path.
fn names_package(line: &str, package: &str) -> bool {
    line.match_indices(package).any(|(place, _)| {
        let before = line[..place].chars().next_back();
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '"');
        starts && line[place + package.len()..].starts_with("::")
    })
}

/// Dependencies that neither list knows.
pub fn unknown_packages() -> Vec<Fault> {
    let known: BTreeSet<&str> =
        HOMES.iter().map(|(name, _)| *name).chain(VOCABULARY.iter().copied()).collect();
    let folders = MEMBERS.iter().map(|(folder, _)| *folder).chain([".", "tests/bed"]);
    let mut faults = Vec::new();
    for folder in folders {
        for package in dependencies(folder) {
            if !package.starts_with("fieldpost_") && !known.contains(package.as_str()) {
                faults.push(Fault::at(&format!("{folder}/Cargo.toml"), &format!("{package} has no home")));
            }
        }
    }
    faults
}

/// Each rule must find the fault it is for.
#[cfg(test)]
mod controls {
    use super::*;

    fn faults(rule: fn(&Source) -> Vec<Fault>, path: &str, text: &str) -> Vec<String> {
        rule(&Source { path: path.to_owned(), text: text.to_owned() })
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn agent_and_hub_never_meet() {
        let found = faults(rooms, "src/agent/a.rs", "use crate::hub::Intake;\n");
        assert_eq!(found, ["src/agent/a.rs:1: agent may not use hub"]);
        assert_eq!(faults(rooms, "src/hub/a.rs", "let a = crate::agent::Agent::new();\n").len(), 1);
    }

    #[test]
    fn grouped_uses_are_seen() {
        let text = "use crate::{\n    agent::{Agent, Handle},\n    hub,\n};\n";
        assert_eq!(faults(rooms, "src/sinks/a.rs", text).len(), 2);
    }

    #[test]
    fn api_never_uses_the_store() {
        assert_eq!(faults(rooms, "src/api/a.rs", "use fieldpost_store::Store;\n").len(), 1);
        assert_eq!(faults(rooms, "src/api/a.rs", "use fieldpost_model::Tick;\n").len(), 0);
        assert_eq!(faults(rooms, "src/api/a.rs", "let name = \"fieldpost_store_bytes\";\n").len(), 0);
    }

    #[test]
    fn package_outside_its_home_is_found() {
        assert_eq!(faults(homes, "src/agent/a.rs", "use rusqlite::Connection;\n").len(), 1);
        assert_eq!(faults(homes, "crates/store/src/a.rs", "use rusqlite::Connection;\n").len(), 0);
        assert_eq!(faults(homes, "src/agent/a.rs", "// rusqlite::Connection is elsewhere.\n").len(), 0);
    }
}
