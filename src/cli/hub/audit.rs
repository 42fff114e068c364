//! `fieldpost hub audit`: who did what at the hub, and whether the log of it is as it was written.

use std::process::ExitCode;

use fieldpost_model::hub_state::{AuditFault, hex};

use super::RunningHub;
use crate::api::{AuditPage, AuditProof};
use crate::cli::{Global, exit, instant, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost hub audit
  fieldpost hub audit --limit 500 --json
  fieldpost hub audit --verify

Each entry's hash covers the one before it. Keep the line that --verify prints elsewhere: whoever
rewrites the log later cannot make another one that leads to it.";

/// Show who did what, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Go through the whole log: is it as it was written?
    #[arg(long)]
    verify: bool,
    /// The most entries
    #[arg(long, default_value_t = 50, value_name = "N", conflicts_with = "verify")]
    limit: usize,
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let hub = RunningHub::find(global)?;
    if args.verify {
        return verify(&hub.get("/api/v1/audit/proof")?, global);
    }
    let mut entries = Vec::new();
    let mut before = String::new();
    while entries.len() < args.limit {
        let limit = args.limit - entries.len();
        let page: AuditPage = hub.get(&format!("/api/v1/audit?limit={limit}{before}"))?;
        entries.extend(page.entries);
        let Some(next) = page.next else { break };
        before = format!("&before={next}");
    }
    if global.json {
        terminal::out(&serde_json::to_string_pretty(&entries)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = terminal::table(["SEQ", "WHEN", "WHO", "FROM", "DID", "TO", "MORE"]);
    for entry in entries {
        let shown = |text: &str| match text {
            "" | "{}" => "-".to_owned(),
            text => terminal::printable(text).into_owned(),
        };
        table.add_row([
            entry.seq.to_string(),
            instant::show(entry.time_ms),
            shown(&entry.actor),
            shown(&entry.address),
            shown(&entry.action),
            shown(&entry.subject),
            shown(&entry.detail),
        ]);
    }
    terminal::out(&terminal::table_text(&table))?;
    Ok(ExitCode::SUCCESS)
}

fn verify(proof: &AuditProof, global: &Global) -> anyhow::Result<ExitCode> {
    let code = if proof.verdict.fault.is_none() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) };
    if global.json {
        terminal::out(&serde_json::to_string_pretty(proof)?)?;
        return Ok(code);
    }
    let (seq, hash) = (proof.head.seq, hex(&proof.head.hash));
    match proof.verdict.fault {
        None => terminal::out(&format!("{seq} entries, all as they were written; head {seq} {hash}"))?,
        Some(fault) => {
            let what = match fault {
                AuditFault::Changed(seq) => format!("entry {seq} or the one before it was changed"),
                AuditFault::Missing(seq) => format!("entry {seq} is gone"),
                AuditFault::Added(seq) => format!("entries from {seq} on were put in behind the end"),
                AuditFault::Rewritten(seq) => format!("entry {seq} is another one than was witnessed"),
            };
            let good = proof.verdict.n_good;
            terminal::err(&format!(
                "error: the audit log is not as it was written: {what}; {good} entries before are good"
            ));
        }
    }
    Ok(code)
}
