//! Files of scrape targets (`file_sd_configs` of the hub's scrape jobs) in YAML: the same reader as that
//! of the config, so that what is wrong is told with its place.

use super::yaml::{self, Document};
use crate::hub::StaticConfig;

/// The groups of targets in a file, or what is wrong with it first.
pub fn target_groups(text: &str) -> Result<Vec<StaticConfig>, String> {
    let document = Document::read(text);
    let told = |place: Option<yaml::Place>, key: &super::KeyPath, text: &str| {
        let place = place.map(|place| format!("line {}, column {}: ", place.line, place.column));
        let key = if key.is_top() { String::new() } else { format!("{key}: ") };
        format!("{}{key}{text}", place.unwrap_or_default())
    };
    if let Some(fault) = document.faults.first() {
        return Err(told(fault.place, &fault.key, &fault.text));
    }
    if document.root.is_null() {
        return Ok(Vec::new());
    }
    yaml::build(&document.root)
        .map_err(|misfit| told(document.place_of_value(&misfit.key), &misfit.key, &misfit.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_and_faults_have_their_place() {
        let groups =
            target_groups("- targets: [a:1, b:1]\n  labels: {site: berlin}\n- targets: []\n").unwrap();
        assert_eq!(
            (groups.len(), groups[0].targets.len(), groups[0].labels["site"].as_str()),
            (2, 2, "berlin")
        );
        assert_eq!(target_groups("# nothing yet\n"), Ok(Vec::new()));
        let wrong = target_groups("- targets: [a:1]\n  label: {a: b}\n").unwrap_err();
        assert!(wrong.starts_with("line 2, column ") && wrong.contains("unknown field `label`"), "{wrong}");
        let wrong = target_groups("- targets: [a:1\n").unwrap_err();
        assert!(wrong.contains("this is no YAML"), "{wrong}");
    }
}
