//! `fieldpost hub user`: who may sign in at the hub, and what they may do.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use fieldpost_model::hub_state::{Role, User};

use super::RunningHub;
use crate::api::{Disabling, NewPassword, NewRole, SignInLinkMade, UserRequest};
use crate::cli::{Global, instant, terminal};

const EXAMPLES: &str = "\
Examples:
  fieldpost hub user add alice --role operator        (prints a link by which she signs in once)
  fieldpost hub user add bob --password < password.txt
  fieldpost hub user link alice
  fieldpost hub user set-role alice admin
  fieldpost hub user list

Passwords are read from standard input, never from the command line.";

/// The longest password that is read; the hub refuses shorter ones already.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Add, list, change and remove users
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add a user
    Add {
        /// Their name
        name: String,
        /// What they may do: viewer, operator or admin
        #[arg(long, default_value = "viewer", value_name = "ROLE")]
        role: Role,
        /// Read their password from standard input; without it they sign in by a one-time link
        #[arg(long)]
        password: bool,
    },
    /// List users
    List,
    /// Remove a user with all by which they sign in
    Remove {
        /// Their name
        name: String,
    },
    /// Set what a user may do
    SetRole {
        /// Their name
        name: String,
        /// viewer, operator or admin
        role: Role,
    },
    /// Set a password, read from standard input; the user's sessions end
    SetPassword {
        /// Their name
        name: String,
    },
    /// Let a user do nothing until they are enabled again
    Disable {
        /// Their name
        name: String,
    },
    /// Let a user do again what their role allows
    Enable {
        /// Their name
        name: String,
    },
    /// Print a link by which a user signs in once
    Link {
        /// Their name
        name: String,
    },
}

/// Does what was asked for.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let hub = RunningHub::find(global)?;
    match &args.action {
        Action::Add { name, role, password } => add(&hub, name, *role, *password)?,
        Action::List => list(&hub.get::<Vec<User>>("/api/v1/users")?, global)?,
        Action::Remove { name } => {
            hub.tell("DELETE", &format!("/api/v1/users/{name}"), None)?;
            terminal::out(&format!("{name} removed"))?;
        }
        Action::SetRole { name, role } => {
            let path = format!("/api/v1/users/{name}/role");
            let user: User = hub.send("POST", &path, &NewRole { role: *role })?;
            terminal::out(&format!("{} is now {}", user.name, user.role))?;
        }
        Action::SetPassword { name } => {
            let body = serde_json::to_vec(&NewPassword { password: read_password()? })?;
            hub.tell("POST", &format!("/api/v1/users/{name}/password"), Some(body))?;
            terminal::out(&format!("{name} has a new password"))?;
        }
        Action::Disable { name } => set_disabled(&hub, name, true)?,
        Action::Enable { name } => set_disabled(&hub, name, false)?,
        Action::Link { name } => link(&hub, name)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add(hub: &RunningHub, name: &str, role: Role, with_password: bool) -> anyhow::Result<()> {
    let password = with_password.then(read_password).transpose()?;
    let request = UserRequest { name: name.to_owned(), role, password };
    let user: User = hub.send("POST", "/api/v1/users", &request)?;
    terminal::err(&format!("{} added, {}", user.name, user.role));
    if user.has_password { Ok(()) } else { link(hub, name) }
}

fn link(hub: &RunningHub, name: &str) -> anyhow::Result<()> {
    let answer = hub.tell("POST", &format!("/api/v1/users/{name}/sign-in-link"), None)?;
    let link: SignInLinkMade =
        serde_json::from_slice(&answer).context("the hub's answer is of another version")?;
    terminal::out(&link.url)?;
    terminal::err(&format!("good once, until {}", instant::show(link.expires_ms)));
    Ok(())
}

fn set_disabled(hub: &RunningHub, name: &str, disabled: bool) -> anyhow::Result<()> {
    let user: User = hub.send("POST", &format!("/api/v1/users/{name}/disabled"), &Disabling { disabled })?;
    let word = if user.disabled { "disabled" } else { "enabled" };
    Ok(terminal::out(&format!("{} is {word}", user.name))?)
}

/// The first line of standard input.
fn read_password() -> anyhow::Result<String> {
    if terminal::asks() {
        terminal::err("type the password (it is shown), then press Enter:");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut text)
        .context("the password is no text")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn list(users: &[User], global: &Global) -> anyhow::Result<()> {
    if global.json {
        return Ok(terminal::out(&serde_json::to_string_pretty(users)?)?);
    }
    let mut table = terminal::table(["NAME", "ROLE", "STATE", "SIGNS IN BY", "SINCE", "MADE BY"]);
    for user in users {
        table.add_row([
            user.name.clone(),
            user.role.to_string(),
            if user.disabled { "disabled" } else { "good" }.to_owned(),
            if user.has_password { "password" } else { "one-time links" }.to_owned(),
            instant::show(user.created_ms),
            terminal::printable(&user.created_by).into_owned(),
        ]);
    }
    Ok(terminal::out(&terminal::table_text(&table))?)
}
