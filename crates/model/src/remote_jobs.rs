//! What jobs hubs may have run on a host: the word of its owner.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// From nothing to everything: a greater one allows what a lesser one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteJobs {
    /// None.
    #[default]
    Off,
    /// Those that the host's own jobs.d defines.
    Named,
    /// Any command.
    Any,
}

impl RemoteJobs {
    /// As config files, command lines and the link have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Named => "named",
            Self::Any => "any",
        }
    }
}

impl fmt::Display for RemoteJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for RemoteJobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Off, Self::Named, Self::Any];
        let found = all.into_iter().find(|one| one.word() == text);
        found.ok_or_else(|| format!("{text:?} is none of off, named, any"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written_and_go_from_nothing_to_everything() {
        for one in [RemoteJobs::Off, RemoteJobs::Named, RemoteJobs::Any] {
            assert_eq!(one.word().parse(), Ok(one));
        }
        assert!(RemoteJobs::Off < RemoteJobs::Named && RemoteJobs::Named < RemoteJobs::Any);
        assert_eq!("all".parse::<RemoteJobs>().unwrap_err(), "\"all\" is none of off, named, any");
    }
}
