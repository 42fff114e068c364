//! Tests of the systemd collector against what `systemctl show` wrote on a machine.

use std::sync::Arc;

use fieldpost_model::{Catalog, Owner};
use proptest::prelude::*;

use super::*;
use crate::testing::page;

const MANAGER: &str = "Version=252.38-1~deb12u1\nVirtualization=kvm\nSystemState=degraded\n";

const UNITS: &str = "\
Type=notify
NRestarts=2
Id=ssh.service
LoadState=loaded
ActiveState=active
ActiveEnterTimestamp=Tue 2023-11-14 22:13:20 UTC
TasksCurrent=1
TasksMax=18446744073709551615

Type=oneshot
NRestarts=0
Id=fstrim.service
LoadState=loaded
ActiveState=failed
ActiveEnterTimestamp=
TasksCurrent=[not set]
TasksMax=4915

Id=gone.service
LoadState=not-found
ActiveState=inactive

Id=dbus.socket
LoadState=loaded
ActiveState=active
NAccepted=7
NConnections=1
NRefused=0

Id=fstrim.timer
LoadState=loaded
ActiveState=active
LastTriggerUSec=Mon 2024-02-26 00:00:00 UTC

Id=never.timer
LoadState=loaded
ActiveState=reloading
LastTriggerUSec=n/a

Type=ext4
Id=home.mount
LoadState=loaded
ActiveState=active
";

fn collect(config: Config) -> Vec<String> {
    let catalog = Catalog::new();
    let mut tick = Tick::new(Arc::clone(&catalog), Owner(0));
    let shown = Shown::new(&config).unwrap();
    let mut systemd = Systemd { booted: PathBuf::new(), shown, config, series: SeriesSet::default() };
    systemd.record(MANAGER.as_bytes(), UNITS.as_bytes(), &mut tick);
    let view = catalog.read();
    let line =
        |sample: &fieldpost_model::Sample| format!("{} {}", view.get(sample.id).unwrap().text, sample.value);
    let mut lines: Vec<String> = tick.samples().iter().map(line).collect();
    lines.sort();
    lines
}

fn only<'a>(page: &'a [String], name: &str) -> Vec<&'a str> {
    page.iter().map(String::as_str).filter(|line| line.starts_with(name)).collect()
}

#[test]
fn loaded_units_that_are_not_excluded_are_shown() {
    let page = collect(Config::default());
    assert_eq!(
        only(&page, "node_systemd_unit_state{name=\"ssh.service\""),
        [
            "node_systemd_unit_state{name=\"ssh.service\",state=\"activating\",type=\"notify\"} 0",
            "node_systemd_unit_state{name=\"ssh.service\",state=\"active\",type=\"notify\"} 1",
            "node_systemd_unit_state{name=\"ssh.service\",state=\"deactivating\",type=\"notify\"} 0",
            "node_systemd_unit_state{name=\"ssh.service\",state=\"failed\",type=\"notify\"} 0",
            "node_systemd_unit_state{name=\"ssh.service\",state=\"inactive\",type=\"notify\"} 0",
        ]
    );
    assert!(page.contains(
        &"node_systemd_unit_state{name=\"fstrim.service\",state=\"failed\",type=\"oneshot\"} 1".to_owned()
    ));
    assert_eq!(only(&page, "node_systemd_unit_state").len(), 5 * 5);
    assert!(only(&page, "node_systemd_unit_start").is_empty());
}

#[test]
fn manager_summary_timers_and_sockets_are_shown() {
    let page = collect(Config::default());
    let others: Vec<&str> =
        page.iter().map(String::as_str).filter(|line| !line.starts_with("node_systemd_unit_")).collect();
    assert_eq!(
        others,
        [
            "node_systemd_socket_accepted_connections_total{name=\"dbus.socket\"} 7",
            "node_systemd_socket_current_connections{name=\"dbus.socket\"} 1",
            "node_systemd_socket_refused_connections_total{name=\"dbus.socket\"} 0",
            "node_systemd_system_running 0",
            "node_systemd_timer_last_trigger_seconds{name=\"fstrim.timer\"} 1708905600",
            "node_systemd_timer_last_trigger_seconds{name=\"never.timer\"} 0",
            "node_systemd_units{state=\"activating\"} 0",
            "node_systemd_units{state=\"active\"} 4",
            "node_systemd_units{state=\"deactivating\"} 0",
            "node_systemd_units{state=\"failed\"} 1",
            "node_systemd_units{state=\"inactive\"} 1",
            "node_systemd_units{state=\"reloading\"} 1",
            "node_systemd_version{version=\"252.38-1~deb12u1\"} 252.38",
            "node_systemd_virtualization_info{virtualization_type=\"kvm\"} 1",
        ]
    );
}

#[test]
fn extras_are_shown_on_request() {
    let page = collect(Config {
        enable_task_metrics: true,
        enable_restarts_metrics: true,
        enable_start_time_metrics: true,
        unit_include: default_pattern("(ssh|fstrim).*"),
        ..Config::default()
    });
    assert_eq!(
        only(&page, "node_systemd_service_restart_total"),
        [
            "node_systemd_service_restart_total{name=\"fstrim.service\"} 0",
            "node_systemd_service_restart_total{name=\"ssh.service\"} 2",
        ]
    );
    assert_eq!(
        only(&page, "node_systemd_unit_tasks"),
        [
            "node_systemd_unit_tasks_current{name=\"ssh.service\"} 1",
            "node_systemd_unit_tasks_max{name=\"fstrim.service\"} 4915",
        ]
    );
    assert_eq!(
        only(&page, "node_systemd_unit_start_time_seconds{name=\"ssh.service\"}"),
        ["node_systemd_unit_start_time_seconds{name=\"ssh.service\"} 1700000000"]
    );
    assert_eq!(only(&page, "node_systemd_unit_start_time_seconds").len(), 3);
}

#[test]
fn patterns_match_whole_names() {
    let config = Config { unit_include: default_pattern("ssh"), ..Config::default() };
    assert!(only(&collect(config), "node_systemd_unit_state").is_empty());
}

#[test]
fn versions_are_found_in_their_text() {
    assert_eq!(version(b"252.38-1~deb12u1"), Some(252.38));
    assert_eq!(version(b"systemd 12 v255-rc1."), Some(255.0));
    assert_eq!(version(b"239."), Some(239.0));
    assert_eq!(version(b"12.5"), None);
}

#[test]
fn times_of_every_era_are_read() {
    assert_eq!(timestamp(b"Thu 1970-01-01 00:00:00 UTC"), Some(0.0));
    assert_eq!(timestamp(b"Thu 2024-02-29 23:59:59 UTC"), Some(1_709_251_199.0));
    assert_eq!(timestamp(b"Fri 2100-03-01 00:00:00 UTC"), Some(4_107_542_400.0));
    for text in ["", "n/a", "Thu 2024-13-01 00:00:00 UTC", "Thu 2024-01-01 25:00:00 UTC", "@1700000000"] {
        assert_eq!(timestamp(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn machine_without_systemd_has_no_data() {
    assert!(page(tempfile::tempdir().unwrap().path(), build).unwrap_err().is_no_data());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        blocks(&text).for_each(|block| assert!(block.number("NRestarts").is_none_or(|n| n >= 0.0)));
        version(&text);
        timestamp(&text);
    }

    #[test]
    fn truncated_output_is_survived(length in 0..UNITS.len()) {
        prop_assert!(blocks(&UNITS.as_bytes()[..length]).count() <= 7);
    }
}
