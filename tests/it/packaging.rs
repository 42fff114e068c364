//! What is handed out: the Debian package installs, starts, stops and goes again, and the units say
//! what they must.

use std::path::{Path, PathBuf};
use std::process::Command;

use fieldpost_bed::{free_port, target_dir};

/// Runs a script of packaging/; what it said is in the panic.
fn script(name: &str, arguments: &[&str]) {
    let output = Command::new(crate::repository_file("packaging").join(name))
        .args(arguments)
        .env("CARGO_TARGET_DIR", target_dir())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{name} {arguments:?}: {}\n{said}", output.status);
    println!("{said}");
}

fn package() -> PathBuf {
    // The profile is that of the tests: the binary is there already.
    let is_release = Path::new(crate::fieldpost()).parent().is_some_and(|folder| folder.ends_with("release"));
    script("build-deb.sh", &[if is_release { "release" } else { "dev" }]);
    let built = std::fs::read_dir(target_dir().join("debian")).unwrap();
    let mut packages: Vec<PathBuf> = built.map(|entry| entry.unwrap().path()).collect();
    packages.retain(|path| path.extension().is_some_and(|ending| ending == "deb"));
    assert_eq!(packages.len(), 1, "one package was expected: {packages:?}");
    packages.remove(0)
}

#[test]
fn debian_package_installs_runs_and_goes() {
    let package = package();
    if rustix::process::geteuid().is_root() {
        script("try-deb.sh", &[&package.display().to_string(), &free_port().unwrap().to_string()]);
    } else {
        println!("not root: the package was built but not installed (packaging/try-deb.sh needs a mount)");
    }
}

/// The lines of a unit that set something.
fn settings(unit: &str) -> Vec<String> {
    let text = std::fs::read_to_string(crate::repository_file("systemd").join(unit)).unwrap();
    text.lines().filter(|line| !line.starts_with('#') && line.contains('=')).map(str::to_owned).collect()
}

#[test]
fn unit_is_watched_and_never_restarted_over_a_bad_config() {
    let settings = settings("fieldpost-agent.service");
    for wanted in
        ["Type=notify", "WatchdogSec=30", "Delegate=yes", "RestartPreventExitStatus=78", "User=fieldpost"]
    {
        assert!(settings.iter().any(|setting| setting == wanted), "the unit has no {wanted}");
    }
}

#[test]
fn unit_gives_the_agent_no_view_of_its_own() {
    // Each of these would make it report other file systems, interfaces or names than the host's.
    let falsifying = [
        "Protect",
        "PrivateTmp",
        "PrivateDevices",
        "PrivateMounts",
        "PrivateNetwork",
        "PrivateUsers",
        "ReadOnlyPaths",
        "InaccessiblePaths",
        "RootDirectory",
        "TemporaryFileSystem",
        "BindPaths",
        "DynamicUser",
    ];
    for setting in settings("fieldpost-agent.service") {
        assert!(
            !falsifying.iter().any(|key| setting.starts_with(key)),
            "{setting} falsifies what is measured"
        );
    }
}

/// A unit and its drop-ins, with this program in place of the one that is not installed here.
fn placed(scratch: &fieldpost_bed::Scratch, unit: &str) -> PathBuf {
    let text = std::fs::read_to_string(crate::repository_file("systemd").join(unit)).unwrap();
    scratch.write(unit, &text.replace("/usr/bin/fieldpost", crate::fieldpost())).unwrap()
}

fn assert_sound(unit: &str, path: &Path) {
    let checked = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(path).output();
    let output = checked.expect("systemd-analyze is missing; install systemd");
    let said = String::from_utf8_lossy(&output.stderr);
    // No manual is installed here either.
    let is_ours = |line: &&str| line.contains(&format!("{unit}:")) && !line.contains("'man ");
    let ours: Vec<&str> = said.lines().filter(is_ours).collect();
    assert!(ours.is_empty(), "systemd-analyze verify says: {ours:#?}");
}

#[test]
fn units_are_sound() {
    let scratch = fieldpost_bed::Scratch::new().unwrap();
    for unit in ["fieldpost-agent.service", "fieldpost-hub.service"] {
        let path = placed(&scratch, unit);
        assert_sound(unit, &path);
    }
    let root = std::fs::read_to_string(crate::repository_file("systemd/root.conf")).unwrap();
    scratch.write("fieldpost-agent.service.d/root.conf", &root).unwrap();
    assert_sound("fieldpost-agent.service", &scratch.path().join("fieldpost-agent.service"));
}

#[test]
fn hub_may_next_to_nothing() {
    let scratch = fieldpost_bed::Scratch::new().unwrap();
    let path = placed(&scratch, "fieldpost-hub.service");
    // systemd counts from 0 (sealed) to 100 (open); what is left is the network and its own user.
    let checked = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15"])
        .arg(&path)
        .output()
        .expect("systemd-analyze is missing; install systemd");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{}", said.lines().last().unwrap_or_default());
}
