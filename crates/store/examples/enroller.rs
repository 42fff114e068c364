//! Makes join tokens and enrols agents by them, and prints each step that is on the disk, until
//! it is killed: for tests of crashes.
//!
//! `enroller FOLDER FIRST COUNT`; what belongs to number n is computed from n.

use std::io::Write;

use fieldpost_model::hub_state::{
    Act, Actor, Certificate, Enrolment, Fingerprint, JoinTokens, Labels, Mode, NewAgent, NewJoinToken, Roles,
};
use fieldpost_store::{SqliteHubState, secret_hash};

const START_MS: i64 = 1_795_219_200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, first, count] = &arguments[..] else {
        return Err("usage: enroller FOLDER FIRST COUNT".into());
    };
    let (first, count): (u64, u64) = (first.parse()?, count.parse()?);
    let state = SqliteHubState::open(folder.as_ref())?;
    let mut out = std::io::stdout().lock();
    for n in first..first + count {
        let secret = secret_hash(format!("token {n}").as_bytes());
        state.add_join_token(&Act::new(Actor::Hub, START_MS), &NewJoinToken::new(secret))?;
        writeln!(out, "token {n}")?;
        let agent = NewAgent {
            id: format!("{n:032x}"),
            certificate: Certificate {
                serial: format!("{n:x}"),
                key: Fingerprint(secret_hash(format!("key {n}").as_bytes()).0),
                issued_ms: START_MS,
                expires_ms: START_MS + 86_400_000,
            },
            name: "host".to_owned(),
            roles: Roles::new(),
            labels: Labels::new(),
            version: "1".to_owned(),
            mode: Mode::Push,
            allow_jobs: "off".to_owned(),
        };
        state.enrol(&Enrolment { secret, agent, address: None, now_ms: START_MS })?;
        writeln!(out, "agent {n}")?;
        out.flush()?;
    }
    Ok(())
}
