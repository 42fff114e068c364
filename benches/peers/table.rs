//! The table of results: what was measured, ours, the peers', the target, and whether it is met.

use std::fmt::Write as _;

/// One line of the table.
pub struct Row {
    what: String,
    ours: String,
    peers: String,
    target: String,
    met: &'static str,
}

impl Row {
    /// A line whose target is a number that ours must not pass. `goal` is the second, sharper one,
    /// or the same where there is none.
    pub fn against(what: &str, ours: (f64, String), peers: &str, target: f64, goal: f64, unit: &str) -> Self {
        let met = match ours.0 {
            value if value <= goal && goal < target => "yes, goal too",
            value if value <= target => "yes",
            _ => "**no**",
        };
        let target = match goal < target {
            true => format!("≤ {target} {unit} (goal {goal})"),
            false => format!("≤ {target} {unit}"),
        };
        Self { what: what.into(), ours: ours.1, peers: peers.into(), target, met }
    }

    /// A line whose target is a number that ours must reach, and a goal beyond it.
    pub fn at_least(
        what: &str,
        ours: (f64, String),
        peers: &str,
        target: f64,
        goal: f64,
        unit: &str,
    ) -> Self {
        let met = match ours.0 {
            value if value >= goal => "yes, goal too",
            value if value >= target => "yes",
            _ => "**no**",
        };
        let target = format!("≥ {target} {unit} (goal {goal})");
        Self { what: what.into(), ours: ours.1, peers: peers.into(), target, met }
    }

    /// A line without a target of its own.
    pub fn plain(what: &str, ours: String, peers: &str) -> Self {
        Self { what: what.into(), ours, peers: peers.into(), target: "–".into(), met: "–" }
    }
}

/// All lines as markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| what | ours | peers | target | met |\n|---|---|---|---|---|\n");
    for row in rows {
        // Writing into a string cannot fail.
        let _ =
            writeln!(text, "| {} | {} | {} | {} | {} |", row.what, row.ours, row.peers, row.target, row.met);
    }
    text
}
