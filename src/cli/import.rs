//! `fieldpost import crontab`: makes a file of jobs.d out of a crontab, and says what of it could not
//! be carried over.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use fieldpost_model::job::Job;

use super::{Global, terminal};
use crate::config::yaml;
use crate::jobs::faults_of;

const EXAMPLES: &str = "\
Examples:
  fieldpost import crontab /etc/crontab --system --out /etc/fieldpost/jobs.d
  crontab -l | fieldpost import crontab - --user ann";

/// A crontab is not longer, bytes.
const CRONTAB_BYTES_MAX: u64 = 1 << 20;

/// Make jobs out of what another scheduler has
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// Make jobs out of a crontab: crontab(5)
    Crontab(Crontab),
}

#[derive(Debug, clap::Args)]
struct Crontab {
    /// The crontab; - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its lines name a user before the command, as /etc/crontab and /etc/cron.d do
    #[arg(long)]
    system: bool,
    /// As whom its commands run
    #[arg(long, value_name = "USER", conflicts_with = "system")]
    user: Option<String>,
    /// The folder to write to, such as /etc/fieldpost/jobs.d; without it the file is shown
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Does what was asked for.
pub fn run(args: &Args, _: &Global) -> anyhow::Result<ExitCode> {
    let Source::Crontab(args) = &args.source;
    let text = read(&args.file)?;
    let name = args.file.file_stem().map_or("crontab", |stem| stem.to_str().unwrap_or("crontab"));
    let name = if args.file == Path::new("-") { "crontab" } else { name };
    let Imported { jobs, notes } = import(&text, name, args.system, args.user.as_deref());
    let file = format!(
        "# Made from {} by fieldpost import crontab.\n{}",
        args.file.display(),
        yaml::text_of(&File { jobs: &jobs })
    );
    match &args.out {
        None => terminal::out(&file)?,
        Some(folder) => {
            let path = folder.join(format!("{name}.yaml"));
            let made = std::fs::File::create_new(&path)
                .and_then(|mut made| std::io::Write::write_all(&mut made, file.as_bytes()));
            made.with_context(|| format!("cannot make {}", path.display()))?;
            terminal::out(&format!("{} jobs written to {}", jobs.len(), path.display()))?;
        }
    }
    notes.iter().for_each(|note| terminal::err(note));
    let is_whole = notes.iter().all(|note| !note.contains("not carried over"));
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(CRONTAB_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(CRONTAB_BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > CRONTAB_BYTES_MAX {
        bail!("{} is longer than a crontab", path.display());
    }
    Ok(text)
}

/// A file of jobs.d.
#[derive(serde::Serialize)]
struct File<'a> {
    jobs: &'a [Job],
}

/// What became of a crontab.
struct Imported {
    jobs: Vec<Job>,
    notes: Vec<String>,
}

fn import(text: &str, name: &str, system: bool, user: Option<&str>) -> Imported {
    let mut reader = Reader {
        name,
        system,
        user: user.map(str::to_owned),
        env: BTreeMap::new(),
        zone: None,
        names: BTreeSet::new(),
        jobs: Vec::new(),
        notes: Vec::new(),
    };
    for (number, line) in (1..).zip(text.lines()) {
        reader.line(number, line.trim());
    }
    Imported { jobs: reader.jobs, notes: reader.notes }
}

struct Reader<'a> {
    name: &'a str,
    system: bool,
    user: Option<String>,
    env: BTreeMap<String, String>,
    zone: Option<String>,
    names: BTreeSet<String>,
    jobs: Vec<Job>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        if let Some((name, value)) = variable(line) {
            self.variable(number, name, value);
            return;
        }
        let n_fields = if line.starts_with('@') { 1 } else { 5 };
        let Some((when, rest)) = split_fields(line, n_fields) else {
            self.notes.push(format!("line {number} not carried over: no time and command: {line}"));
            return;
        };
        let (user, command) = match self.system {
            true => match split_fields(rest, 1) {
                Some((user, command)) => (Some(user), command),
                None => {
                    self.notes.push(format!("line {number} not carried over: no user and command: {line}"));
                    return;
                }
            },
            false => (self.user.clone(), rest),
        };
        if when.eq_ignore_ascii_case("@reboot") {
            self.notes.push(format!(
                "line {number} not carried over: @reboot; a service that is to run always is a job with keep: true: {command}"
            ));
            return;
        }
        let (shell, stdin) = percents(command);
        let job = Job {
            name: self.job_name(&shell),
            shell: Some(shell),
            stdin,
            user,
            env: self.env.clone(),
            cron: Some(when),
            tz: self.zone.clone(),
            ..Job::default()
        };
        match faults_of(&job).first() {
            Some((key, text)) => self.notes.push(format!("line {number} not carried over: {key}: {text}")),
            None => self.jobs.push(job),
        }
    }

    fn variable(&mut self, number: usize, name: &str, value: &str) {
        match name {
            "MAILTO" | "MAILFROM" | "CONTENT_TYPE" => {
                self.notes.push(format!(
                    "line {number}: {name} means nothing here; output is kept: fieldpost run logs"
                ));
            }
            "SHELL" if ["/bin/sh", "/usr/bin/sh"].contains(&value) => {}
            "SHELL" => {
                self.notes
                    .push(format!("line {number}: commands run by /bin/sh, not by {value}; check them"));
            }
            "CRON_TZ" | "TZ" => {
                self.zone = Some(value.to_owned()).filter(|zone| !zone.is_empty());
                if name == "TZ" {
                    self.env.insert(name.to_owned(), value.to_owned());
                }
            }
            _ => drop(self.env.insert(name.to_owned(), value.to_owned())),
        }
    }

    /// The program's own name where it has one, and a number where that is taken.
    fn job_name(&mut self, shell: &str) -> String {
        let word =
            shell.split_whitespace().find(|word| !word.contains('=') && *word != "cd").unwrap_or("job");
        let program = word.rsplit('/').next().unwrap_or(word);
        let plain: String =
            program.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(40).collect();
        let plain = plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let base = if plain.is_empty() { self.name.to_owned() } else { plain.to_owned() };
        let mut name = base.clone();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{base}-{number}");
            number += 1;
        }
        name
    }
}

/// `NAME = value`, with quotes around the value if it likes.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim().trim_matches(['"', '\'']);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (is_name && begins).then(|| (name, value.trim().trim_matches(['"', '\''])))
}

/// So many words, joined by one space each, and what follows them.
fn split_fields(line: &str, n_fields: usize) -> Option<(String, &str)> {
    let mut rest = line;
    let mut fields = Vec::new();
    for _ in 0..n_fields {
        let (field, after) = rest.split_once(|c: char| c.is_whitespace())?;
        fields.push(field);
        rest = after.trim_start();
    }
    (!rest.is_empty()).then(|| (fields.join(" "), rest))
}

/// The first `%` ends the command; what follows is its input, where each further one is a new line.
fn percents(command: &str) -> (String, Option<String>) {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in command.chars() {
        match c {
            '%' if escaped => {
                if let Some(last) = parts.last_mut() {
                    last.pop();
                    last.push('%');
                }
            }
            '%' => parts.push(String::new()),
            _ => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
        escaped = c == '\\';
    }
    let mut parts = parts.into_iter();
    let shell = parts.next().unwrap_or_default().trim_end().to_owned();
    let lines: Vec<String> = parts.collect();
    (shell, (!lines.is_empty()).then(|| lines.join("\n") + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crontab_becomes_jobs_and_the_rest_is_told() {
        let text = "# comment\nMAILTO=root\nPATH=/usr/bin:/bin\nCRON_TZ=Europe/Berlin\n\
                    */5 * * * * root /usr/local/bin/collect --all\n@daily  ann\tcd /srv && ./report 100\\%%Dear all,%bye\n\
                    @reboot root /usr/sbin/thing\n0 25 * * * root late\n17 *\t* * *\troot  collect again\n";
        let Imported { jobs, notes } = import(text, "crontab", true, None);
        let told: Vec<(&str, &str, &str)> = jobs
            .iter()
            .map(|job| (job.name.as_str(), job.cron.as_deref().unwrap(), job.shell.as_deref().unwrap()))
            .collect();
        let expected = [
            ("collect", "*/5 * * * *", "/usr/local/bin/collect --all"),
            ("srv", "@daily", "cd /srv && ./report 100%"),
            ("collect-2", "17 * * * *", "collect again"),
        ];
        assert_eq!(told, expected);
        assert_eq!(
            (jobs[1].user.as_deref(), jobs[1].stdin.as_deref()),
            (Some("ann"), Some("Dear all,\nbye\n"))
        );
        assert_eq!(
            (jobs[0].tz.as_deref(), jobs[0].env["PATH"].as_str()),
            (Some("Europe/Berlin"), "/usr/bin:/bin")
        );
        assert_eq!(notes.len(), 3, "{notes:#?}");
        assert!(
            notes[1].starts_with("line 7 not carried over: @reboot") && notes[2].contains("line 8 not"),
            "{notes:#?}"
        );
    }
}
