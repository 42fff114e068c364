//! Why the hub's state refuses an operation, in words that say what to do next.

/// Why an operation was not done. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum HubStateError {
    /// There is no such thing.
    #[error("there is no {what} `{name}`; look at the list of them")]
    Unknown {
        /// What it would be: `agent`, `join token`, `user`, ...
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// Somebody else has that name.
    #[error("there is another {what} `{name}`; choose a different name")]
    Taken {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// What was given is not possible.
    #[error("this {what} cannot be: {reason}")]
    Invalid {
        /// What was given.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The agent was revoked, which is for good.
    #[error("the agent `{0}` was revoked; let it join anew under another identity")]
    Revoked(String),
    /// Nobody could change anything any more.
    #[error("`{0}` is the only admin who can sign in; make another one first")]
    LastAdmin(String),
    /// The first admin is made once.
    #[error("there is an admin already; ask them for a sign-in link")]
    AdminExists,
    /// The state could not be read or written.
    #[error("the hub's state cannot be used")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl HubStateError {
    /// There is nothing of this kind and name.
    pub fn unknown(what: &'static str, name: &str) -> Self {
        Self::Unknown { what, name: shown(name) }
    }

    /// The name is given to another one.
    pub fn taken(what: &'static str, name: &str) -> Self {
        Self::Taken { what, name: shown(name) }
    }

    /// What was given cannot be, for this reason.
    pub fn invalid(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { what, reason: reason.into() }
    }
}

/// What others sent, short and on one line.
fn shown(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
