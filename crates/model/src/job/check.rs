//! What a job may say beyond the types of its fields.

use super::Job;
use crate::Period;

/// Bytes of a job's name, and of a run's id.
pub const JOB_NAME_BYTES_MAX: usize = 128;
/// Bytes of a command with all its arguments, its environment and its input.
const JOB_BYTES_MAX: usize = 1 << 20;
/// The shortest period of a schedule.
const EVERY_MIN: Period = Period::from_secs(1);
/// The longest; longer ones are times of a calendar.
const EVERY_MAX: Period = Period::from_secs(366 * 86_400);
/// So many runs of a queue at a time, at most.
const WIDTH_MAX: u32 = 10_000;

/// Is this a name? Letters, digits and `. _ -`, beginning with a letter or digit.
pub fn check_job_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= JOB_NAME_BYTES_MAX && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name; write up to {JOB_NAME_BYTES_MAX} letters, digits, dots, dashes and underscores"
    ))
}

/// Is this an id of a run? It becomes the name of a folder.
pub fn check_id(id: &str) -> Result<(), String> {
    check_job_name(id)
}

type Fault = (String, String);

fn fault(key: &str, text: impl Into<String>) -> Fault {
    (key.to_owned(), text.into())
}

impl Job {
    /// What is wrong with it, each with its key; empty when all is well. What needs a calendar is
    /// looked at by whoever has one.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = self.faults_of_words();
        faults.extend(self.faults_of_command());
        faults.extend(self.faults_of_params());
        faults.extend(self.faults_of_times());
        faults.extend(self.faults_of_limits());
        faults
    }

    fn faults_of_words(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.version != super::VERSION {
            faults.push(fault("version", format!("{} is not known; write {}", self.version, super::VERSION)));
        }
        for (key, word) in [("name", &self.name), ("domain", &self.domain)] {
            if !word.is_empty() {
                faults.extend(check_job_name(word).err().map(|text| fault(key, text)));
            }
        }
        if self.name.is_empty() && (self.is_scheduled() || self.keep) {
            faults.push(fault("name", "a job that runs by itself needs a name"));
        }
        if let Some(queue) = &self.queue {
            faults.extend(check_job_name(&queue.name).err().map(|text| fault("queue.name", text)));
            if !(1..=WIDTH_MAX).contains(&queue.width) {
                faults.push(fault("queue.width", format!("must be from 1 to {WIDTH_MAX}")));
            }
        }
        let bad = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
        for (key, mut names) in [
            ("env", Box::new(self.env.keys()) as Box<dyn Iterator<Item = &String>>),
            ("secret_files", Box::new(self.secret_files.keys())),
        ] {
            if let Some(name) = names.find(bad) {
                faults.push(fault(key, format!("{name:?} is no name of a variable")));
            }
        }
        faults
    }

    fn faults_of_command(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        match (self.command.is_empty(), &self.shell) {
            (true, None) => faults.push(fault("command", "missing; write the program, or a line as shell:")),
            (false, Some(_)) => {
                faults.push(fault("shell", "set together with command; set only one of the two"));
            }
            (true, Some(_)) if !self.args.is_empty() => {
                faults.push(fault("args", "shell: takes none; write them into its line"));
            }
            _ => {}
        }
        let words = self.argv();
        let n_bytes = words.iter().map(String::len).sum::<usize>()
            + self.env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + self.stdin.as_ref().map_or(0, String::len);
        if n_bytes > JOB_BYTES_MAX {
            faults.push(fault(
                "command",
                format!("with env and stdin {n_bytes} bytes; at most {JOB_BYTES_MAX}"),
            ));
        }
        let has_zero = |text: &String| text.contains('\0');
        if words.iter().any(has_zero) || self.env.values().any(has_zero) {
            faults.push(fault("command", "a word with a zero byte cannot be given to a program"));
        }
        if self.dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
            faults.push(fault("dir", "write a path that begins with /"));
        }
        faults
    }

    fn faults_of_times(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let times = [self.every.is_some(), self.cron.is_some(), self.at.is_some(), self.keep];
        if times.iter().filter(|is_set| **is_set).count() > 1 {
            faults.push(fault("every", "only one of every, cron, at and keep may be set"));
        }
        if let Some(every) = self.every {
            if every < EVERY_MIN {
                let text = format!(
                    "{every} is too short; a schedule counts whole seconds: write {EVERY_MIN} or more"
                );
                faults.push(fault("every", text));
            } else if every > EVERY_MAX {
                faults.push(fault("every", format!("{every} is too long; write a time as cron:")));
            } else if every.as_ms() % 1_000 != 0 {
                faults.push(fault("every", format!("{every} is no whole number of seconds")));
            }
        }
        if self.restart.is_some() && !self.keep {
            faults.push(fault(
                "restart",
                "is for jobs with keep: true; a run that failed is tried again by retry",
            ));
        }
        if self.keep && !self.timeout.0.is_zero() {
            faults.push(fault("timeout", "a job with keep: true has no end that could come too late"));
        }
        if let Some(retry) = &self.retry
            && retry.on.iter().any(|state| !state.is_final())
        {
            faults.push(fault("retry.on", "name outcomes, such as failed and timed_out"));
        }
        if self.success_codes.iter().any(|code| !(0..=255).contains(code)) {
            faults.push(fault("success_codes", "exit codes are from 0 to 255"));
        }
        if self.stats_interval < Period::from_secs(1) {
            faults.push(fault("stats_interval", "write 1s or more"));
        }
        faults
    }

    fn faults_of_limits(&self) -> Vec<Fault> {
        let limits = &self.limits;
        let mut faults = Vec::new();
        let is_core =
            |part: &str| part.split('-').all(|n| n.parse::<u32>().is_ok()) && part.split('-').count() <= 2;
        if limits.cores.as_ref().is_some_and(|cores| !cores.split(',').all(is_core)) {
            faults.push(fault("limits.cores", "write numbers of cores, such as 0-3,6"));
        }
        if limits.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            faults.push(fault("limits.nice", "must be from -20 to 19"));
        }
        if limits.memory.is_some_and(|memory| memory.0 < 1 << 20) {
            faults.push(fault("limits.memory", "less than 1M lets no program start"));
        }
        if limits.pids == Some(0) || limits.nofile.is_some_and(|n| n < 8) {
            faults.push(fault("limits", "pids needs 1 and nofile 8 at least"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_keys() {
        let keys = |job: &Job| job.faults().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let job = Job { command: "true".into(), ..Job::default() };
        assert_eq!(keys(&job), [""; 0]);
        assert_eq!(keys(&Job::default()), ["command"]);
        let every = |ms| Job { name: "a".into(), every: Some(Period::from_millis(ms)), ..job.clone() };
        assert_eq!(keys(&every(1_000)), [""; 0]);
        assert_eq!(keys(&every(500)), ["every"]);
        assert_eq!(keys(&every(1_500)), ["every"]);
        assert_eq!(keys(&Job { keep: true, ..every(1_000) }), ["every"]);
        assert_eq!(keys(&Job { shell: Some("x".into()), ..job.clone() }), ["shell"]);
        assert_eq!(keys(&Job { keep: true, ..job.clone() }), ["name"]);
        for id in ["", "../x", "a/b", "-a", ".a", "a b", "é"] {
            assert!(check_id(id).is_err(), "{id}");
        }
        assert!(check_id("0193-ab_c.d").is_ok());
    }
}
