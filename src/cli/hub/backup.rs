//! `fieldpost hub backup` and `fieldpost hub restore`: all of a hub's data in one folder, made while
//! it runs, put back while it does not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use fieldpost_model::hub_state::{Act, Actor};

use super::RunningHub;
use crate::cli::{Global, exit, foreground, instant, terminal};
use crate::config::Root;
use crate::hub::{self, BackupMade, BackupWish, Config};

/// A backup of a large record on a slow disk takes its time.
const PATIENCE: Duration = Duration::from_secs(6 * 3_600);

const BACKUP_EXAMPLES: &str = "\
Examples:
  fieldpost hub backup /backup/hub-2026-11-22
  fieldpost hub backup /backup/hub-2026-11-22 --with-keys

The hub goes on meanwhile; it writes the folder itself. Without --with-keys the key on which all
trust rests is left out: keep a copy of keys/ca.key of the hub's data folder in a safe place, for
without it no agent is trusted after a restore and every host has to join anew.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  fieldpost hub --stop
  fieldpost hub restore /backup/hub-2026-11-22
  fieldpost hub restore /backup/hub-2026-11-22 --replace   (what is there is put aside)

What agents have sent since the backup they are asked for again, as far as they still have it.";

/// Copy all data of the running hub into a new folder
#[derive(Debug, clap::Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub struct BackupArgs {
    /// The new folder, on the hub's host
    folder: PathBuf,
    /// With the hub's key, in clear: whoever has it can pass for the hub
    #[arg(long)]
    with_keys: bool,
}

/// Put a backup back; the hub must not run
#[derive(Debug, clap::Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub struct RestoreArgs {
    /// The folder of the backup
    folder: PathBuf,
    /// Put data aside that are there already
    #[arg(long)]
    replace: bool,
}

/// Makes a backup.
pub fn back_up(args: &BackupArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let hub = RunningHub::find(global)?;
    let wish = BackupWish { to: std::path::absolute(&args.folder)?, with_keys: args.with_keys };
    let made: BackupMade = hub.send_patiently("/v1/backup", &wish, PATIENCE)?;
    if global.json {
        terminal::out(&serde_json::to_string_pretty(&made)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    terminal::out(&format!(
        "{}: {} files of the record ({} bytes, {} linked), runs, state, {}",
        wish.to.display(),
        made.n_files,
        foreground::grouped(made.bytes),
        made.n_linked,
        if made.with_keys { "key" } else { "no key" },
    ))?;
    terminal::err(match made.with_keys {
        true => "the hub's key is in it, in clear: whoever reads it can pass for the hub",
        false => "the hub's key is not in it: keep a copy of keys/ca.key in a safe place",
    });
    Ok(ExitCode::SUCCESS)
}

/// Puts one back.
pub fn restore(args: &RestoreArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.request()?.load::<Config>()?.config;
    if RunningHub::at(&config.socket()).is_ok() {
        return Err(exit::failure(exit::FAILED, "error: the hub runs; stop it first: fieldpost hub --stop"));
    }
    let now_ms = instant::parse_now("now").map_err(anyhow::Error::msg)?;
    let act = Act::new(Actor::Socket(rustix::process::getuid().as_raw()), now_ms);
    let data = &config.store.path;
    let restored = hub::restore(&act, &args.folder, data, args.replace)?;
    if let Some(aside) = &restored.put_aside {
        terminal::err(&format!("what was there is in {}", aside.display()));
    }
    let made = instant::show(restored.backup.made_ms);
    terminal::out(&format!("{}: hub {} as of {made}", data.display(), restored.backup.hub_id))?;
    if !restored.has_key {
        terminal::err(&format!(
            "the hub's key is not in the backup: put ca.key into {} before you start the hub",
            data.join("keys").display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
