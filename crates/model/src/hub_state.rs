//! The hub's state: agents, join tokens, users, orders, jobs, settings and the audit log, as plain types and
//! one trait. Whoever keeps it (SQLite today) does each change and its audit entry in one
//! transaction. Synchronous: the caller chooses the thread. No clock and no chance in here: what
//! time it is comes with each call, secrets are made by the caller and arrive as hashes.

mod agents;
mod audit;
mod enrol;
mod error;
mod hashes;
mod limits;
mod orders;
mod users;

pub use agents::{AgentRecord, AgentStatus, Certificate, Hello, Labels, Mode, Roles, Status};
pub use audit::{Act, Actor, AuditEntry, AuditFault, AuditHead, AuditNote, AuditVerdict};
pub use enrol::{EnrolRefusal, Enrolled, Enrolment, JoinToken, NewAgent, NewJoinToken};
pub use error::HubStateError;
pub use hashes::{Fingerprint, PasswordHash, SecretHash, hex, parse_hex};
pub use limits::{
    LABELS_MAX, NAME_BYTES_MAX, ROLES_MAX, TEXT_BYTES_MAX, check_agent_id, check_agent_name, check_labels,
    check_roles, check_text, check_user_name, default_agent_name,
};
pub use orders::{ANY_ROLE, HubJob, ORDER_LIFE_MS_MAX, Order, OrderState, Ordered, Target};
pub use users::{ApiToken, NewApiToken, NewSession, NewUser, Role, Scope, Session, SignInRefusal, User};

use crate::TimeMs;

/// What an operation of the state answers.
pub type StateResult<T> = Result<T, HubStateError>;

/// The agents that the hub knows. Operations that name an agent take its id or its name.
pub trait Agents {
    /// All of them, by name.
    fn agents(&self) -> StateResult<Vec<AgentRecord>>;

    /// One of them.
    fn agent(&self, id_or_name: &str) -> StateResult<Option<AgentRecord>>;

    /// What an agent is called, by its id: asked for every agent of a question, so no more is read.
    fn agent_name(&self, id: &str) -> StateResult<Option<String>>;

    /// Whose key this is, or was before a renewal that is not used yet. Revoked agents are
    /// answered too: the caller looks at `revoked_ms`.
    fn agent_of_key(&self, key: &Fingerprint) -> StateResult<Option<AgentRecord>>;

    /// Sets what people say about it. Offline needs a comment; maintenance has one of its own.
    fn set_agent_status(
        &self,
        act: &Act,
        agent: &str,
        status: Status,
        comment: Option<&str>,
    ) -> StateResult<AgentRecord>;

    /// Lets an agent in that came by a token which demands approval.
    fn approve_agent(&self, act: &Act, agent: &str) -> StateResult<AgentRecord>;

    /// Ends an agent's trust for good: its certificates and every key it had are refused from now
    /// on, also under another id. The caller closes its link. Its data stay.
    fn revoke_agent(&self, act: &Act, agent: &str) -> StateResult<AgentRecord>;

    /// Removes an agent from the list. What was revoked stays refused; otherwise its id and name
    /// are free again.
    fn forget_agent(&self, act: &Act, agent: &str) -> StateResult<()>;

    /// Gives it another name.
    fn rename_agent(&self, act: &Act, agent: &str, name: &str) -> StateResult<AgentRecord>;

    /// Replaces its labels.
    fn set_agent_labels(&self, act: &Act, agent: &str, labels: &Labels) -> StateResult<AgentRecord>;

    /// Replaces its roles.
    fn set_agent_roles(&self, act: &Act, agent: &str, roles: &Roles) -> StateResult<AgentRecord>;

    /// Sets who dials.
    fn set_agent_mode(&self, act: &Act, agent: &str, mode: &Mode) -> StateResult<AgentRecord>;

    /// Adds the certificate that an agent was given for the one of serial `used`, which it proved
    /// to hold. Certificates older than `used` are refused from now on; `used` itself is not,
    /// because the answer may never arrive. Refused for an agent that is revoked and for a serial
    /// that is not the agent's.
    fn renew_certificate(
        &self,
        act: &Act,
        agent: &str,
        used: &str,
        certificate: &Certificate,
    ) -> StateResult<AgentRecord>;

    /// Notes when agents were last heard of: one transaction for all of them, no audit entry.
    /// Times only go forward; agents that are not known (any more) are skipped.
    fn note_seen(&self, seen: &[(String, TimeMs)]) -> StateResult<()>;

    /// Notes what agents said of themselves when their links came up: one transaction for all
    /// of them, none if nothing is new, no audit entry.
    fn note_hellos(&self, hellos: &[Hello]) -> StateResult<()>;
}

/// Join tokens, and what they are for.
pub trait JoinTokens {
    /// All that are kept, newest first; those that are of no use any more until they are purged.
    fn join_tokens(&self) -> StateResult<Vec<JoinToken>>;

    /// Keeps a token.
    fn add_join_token(&self, act: &Act, token: &NewJoinToken) -> StateResult<JoinToken>;

    /// Ends a token; also for the repeat of an enrolment that it admitted.
    fn revoke_join_token(&self, act: &Act, id: &str) -> StateResult<()>;

    /// Burns one use of a token and makes the agent, in one transaction. The same token with the
    /// same key and id within [`Enrolment::RETRY_MS`] is the same enrolment: it answers the same
    /// agent and burns nothing, so that an agent which never got the answer asks again.
    fn enrol(&self, enrolment: &Enrolment) -> Result<Enrolled, EnrolRefusal>;

    /// Makes an agent that somebody with the right to do so adds by hand, as from an invitation.
    /// Repeated with the same id and key it answers the agent as it is.
    fn admit_agent(&self, act: &Act, agent: &NewAgent) -> Result<Enrolled, EnrolRefusal>;
}

/// The people who may use the hub.
pub trait Users {
    /// All of them, by name.
    fn users(&self) -> StateResult<Vec<User>>;

    /// One of them.
    fn user(&self, name: &str) -> StateResult<Option<User>>;

    /// The password of a user who has one and is not disabled.
    fn password_of(&self, name: &str) -> StateResult<Option<PasswordHash>>;

    /// Adds a user.
    fn add_user(&self, act: &Act, user: &NewUser) -> StateResult<User>;

    /// Sets a password, and ends all sessions of the user.
    fn set_password(&self, act: &Act, name: &str, password: &PasswordHash) -> StateResult<()>;

    /// Sets the role. The last admin who is not disabled stays one.
    fn set_role(&self, act: &Act, name: &str, role: Role) -> StateResult<User>;

    /// Disables or enables a user. Sessions end; API tokens of a disabled user do not count.
    fn set_disabled(&self, act: &Act, name: &str, disabled: bool) -> StateResult<User>;

    /// Removes a user with all sessions, API tokens and sign-in links.
    fn remove_user(&self, act: &Act, name: &str) -> StateResult<()>;

    /// Keeps the secret by which the first admin is made, in place of any before it. Refused as
    /// soon as there is an admin, for ever after.
    fn offer_first_admin(&self, act: &Act, secret: &SecretHash, expires_ms: TimeMs) -> StateResult<()>;

    /// Makes the first admin and consumes the secret, in one transaction.
    fn claim_first_admin(
        &self,
        act: &Act,
        secret: &SecretHash,
        user: &NewUser,
    ) -> Result<User, SignInRefusal>;
}

/// What proves that a request comes from a user: sessions, API tokens, one-time links.
pub trait Sessions {
    /// Begins a session; the user's oldest ends where there are too many.
    fn begin_session(&self, act: &Act, session: &NewSession) -> StateResult<Session>;

    /// The session of this secret, if it counts at this time, with the role that its user has now.
    fn session(&self, secret: &SecretHash, now_ms: TimeMs) -> StateResult<Option<Session>>;

    /// The sessions of a user that have not expired, newest first.
    fn sessions_of(&self, user: &str, now_ms: TimeMs) -> StateResult<Vec<Session>>;

    /// Ends a session.
    fn end_session(&self, act: &Act, id: &str) -> StateResult<()>;

    /// Keeps a secret by which an existing user signs in once.
    fn offer_sign_in(
        &self,
        act: &Act,
        user: &str,
        secret: &SecretHash,
        expires_ms: TimeMs,
    ) -> StateResult<()>;

    /// Consumes such a secret and begins a session of its user, in one transaction. The user of
    /// `session` is not looked at.
    fn redeem_sign_in(
        &self,
        act: &Act,
        secret: &SecretHash,
        session: &NewSession,
    ) -> Result<Session, SignInRefusal>;

    /// All API tokens, newest first.
    fn api_tokens(&self) -> StateResult<Vec<ApiToken>>;

    /// Keeps an API token.
    fn add_api_token(&self, act: &Act, token: &NewApiToken) -> StateResult<ApiToken>;

    /// The API token of this secret, if it counts at this time. Its scope is never more than the
    /// role that its owner has now.
    fn api_token(&self, secret: &SecretHash, now_ms: TimeMs) -> StateResult<Option<ApiToken>>;

    /// Ends an API token.
    fn revoke_api_token(&self, act: &Act, id: &str) -> StateResult<()>;

    /// Notes when sessions and API tokens (by id) were last used: one transaction for all, no
    /// audit entry.
    fn note_used(&self, used: &[(String, TimeMs)]) -> StateResult<()>;
}

/// Who did what and when. Entries are only ever added; each one's hash covers the one before it.
pub trait Audit {
    /// The newest entries with numbers below `before` (all if none), newest first.
    fn audit(&self, before: Option<u64>, limit: usize) -> StateResult<Vec<AuditEntry>>;

    /// Adds an entry about something that changes nothing in here.
    fn note(&self, act: &Act, note: &AuditNote) -> StateResult<()>;

    /// The newest entry's number and hash: whoever keeps a copy elsewhere can prove later that
    /// nothing before it was rewritten.
    fn audit_head(&self) -> StateResult<AuditHead>;

    /// Goes through all entries; with a witness also checks that they still lead to it.
    fn verify_audit(&self, witness: Option<&AuditHead>) -> StateResult<AuditVerdict>;
}

/// Orders for runs, until the agents have them; and the jobs that are defined at the hub.
pub trait Orders {
    /// Keeps orders that go together, all or none: on the disk when this returns. Refused if there
    /// is an order of one of the ids.
    fn add_orders(&self, act: &Act, orders: &[Order]) -> StateResult<()>;

    /// One of them.
    fn order(&self, id: &str) -> StateResult<Option<Order>>;

    /// Those of this agent that are not settled, or of which somebody wants the end, the oldest
    /// first; and those that any agent may take.
    fn orders_for(&self, agent_id: &str) -> StateResult<Vec<Order>>;

    /// Those that are not settled, of all agents, the oldest first; or all that never came to an agent.
    fn undelivered_orders(&self, only_open: bool) -> StateResult<Vec<Order>>;

    /// Notes that an order is about to be sent to this agent: from now on no other one gets it, and
    /// nobody can call it off. `false`: it is not to be had any more.
    fn claim_order(&self, id: &str, agent_id: &str, now_ms: TimeMs) -> StateResult<bool>;

    /// Settles an order; `false`: it is settled already, or was sent and cannot be called off. What
    /// people do (and the hub does not) is written into the audit log.
    fn settle_order(&self, act: &Act, id: &str, state: OrderState, reason: &str) -> StateResult<bool>;

    /// Notes that somebody wants the end of a run that may have arrived at its agent already, or
    /// (none) that the agent was told.
    fn wish_order_killed(&self, act: &Act, id: &str, by: Option<&str>) -> StateResult<()>;

    /// Forgets an order that is settled and never came to an agent; `false`: there is none such.
    fn remove_order(&self, act: &Act, id: &str) -> StateResult<bool>;

    /// The jobs that are defined here, by name.
    fn hub_jobs(&self) -> StateResult<Vec<HubJob>>;

    /// Keeps a job, in place of any of its name.
    fn put_hub_job(&self, act: &Act, job: &HubJob) -> StateResult<()>;

    /// Forgets a job; its runs stay.
    fn remove_hub_job(&self, act: &Act, name: &str) -> StateResult<()>;
}

/// All of the hub's state.
pub trait HubState: Agents + JoinTokens + Users + Sessions + Audit + Orders + Send + Sync {
    /// Who this hub is: 32 hexadecimal digits, made with the state.
    fn hub_id(&self) -> StateResult<String>;

    /// Changes whenever the state was restored from a backup, so that what was numbered or signed
    /// after the backup is not mistaken for what comes now. 16 hexadecimal digits.
    fn epoch(&self) -> StateResult<String>;

    /// A small setting.
    fn setting(&self, key: &str) -> StateResult<Option<String>>;

    /// Sets or (with none) removes a small setting. Its value is not written to the audit log.
    fn set_setting(&self, act: &Act, key: &str, value: Option<&str>) -> StateResult<()>;

    /// Removes join tokens, sessions, API tokens and sign-in secrets that expired before this
    /// instant, and answers how many. Nothing that still counts at `act.now_ms` is removed,
    /// whatever `before_ms` says.
    fn purge_expired(&self, act: &Act, before_ms: TimeMs) -> StateResult<u64>;
}
