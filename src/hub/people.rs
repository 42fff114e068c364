//! People at the hub: passwords, sessions, and the one-time secret that makes the first admin.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHash as Phc, PasswordHasher, PasswordVerifier, Version};
use fieldpost_link::Token;
use fieldpost_model::TimeMs;
use fieldpost_model::hub_state::{
    Act, ApiToken, AuditNote, HubStateError, NewApiToken, NewSession, NewUser, PasswordHash, Role, Scope,
    SecretHash, Session, SignInRefusal,
};
use fieldpost_store::secret_hash;

use super::Hub;

/// How long a session lasts at most.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3_600);
/// How long the link lasts that makes the first admin.
const FIRST_ADMIN_LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a link lasts by which a user signs in.
const SIGN_IN_LIFE: Duration = Duration::from_secs(3_600);
/// The shortest password; what is long needs no rules about its characters (NIST SP 800-63B).
const PASSWORD_CHARS_MIN: usize = 10;
/// The longest: hashing must not become work for an attacker to order.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// Argon2id with 19 MiB, two passes, one lane: what OWASP recommends at least.
const ARGON2: (u32, u32, u32) = (19_456, 2, 1);

/// As much of a name that somebody tried is noted.
const NAME_CHARS_NOTED: usize = 128;

/// Why somebody is not signed in.
#[derive(Debug)]
pub enum SignInFault {
    /// They did not prove who they are.
    Refused(String),
    /// There were too many failed attempts; the next may be made after this.
    TooMany(Duration),
    /// What they chose is not possible.
    Invalid(String),
    /// The hub failed.
    Failed(anyhow::Error),
}

impl From<HubStateError> for SignInFault {
    fn from(error: HubStateError) -> Self {
        match error {
            HubStateError::Storage(_) => SignInFault::Failed(anyhow::Error::new(error)),
            error => SignInFault::Invalid(error.to_string()),
        }
    }
}

impl From<SignInRefusal> for SignInFault {
    fn from(refusal: SignInRefusal) -> Self {
        match refusal {
            SignInRefusal::State(error) => error.into(),
            refusal => SignInFault::Refused(refusal.to_string()),
        }
    }
}

/// An API token as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiTokenWish {
    /// What people call it.
    pub name: String,
    /// Whose it is; none: the hub's own.
    pub owner: Option<String>,
    /// What it is good for.
    pub scope: Scope,
    /// How long it is good; none: until it is revoked.
    pub ttl: Option<Duration>,
}

/// A link by which a user signs in once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInLink {
    /// The whole link.
    pub url: String,
    /// The secret in it.
    pub secret: String,
    /// When it ends.
    pub expires_ms: TimeMs,
}

impl Hub {
    /// A secret for a one-time link by which the first admin is made; none once there is one.
    pub fn offer_first_admin(&self) -> anyhow::Result<Option<String>> {
        let (secret, hash) = new_secret()?;
        let expires_ms = self.now_ms() + FIRST_ADMIN_LIFE.as_millis() as i64;
        match self.state.offer_first_admin(&self.act(), &hash, expires_ms) {
            Ok(()) => Ok(Some(secret)),
            Err(HubStateError::AdminExists) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the first admin and signs them in: the session's secret, and the session.
    pub fn claim_first_admin(
        &self,
        act: &Act,
        secret: &str,
        name: &str,
        password: &str,
    ) -> Result<(String, Session), SignInFault> {
        self.limited(act, name, || {
            let hash = hash_of(secret).ok_or(SignInRefusal::Unknown)?;
            let password = Some(self.password_hash(password)?);
            let user = NewUser { name: name.to_owned(), password, role: Role::Admin };
            self.state.claim_first_admin(act, &hash, &user)?;
            self.begin_session(act, name)
        })
    }

    /// Lets an attempt be made unless too many have failed. Only what was refused counts.
    fn limited<T>(
        &self,
        act: &Act,
        name: &str,
        attempt: impl FnOnce() -> Result<T, SignInFault>,
    ) -> Result<T, SignInFault> {
        let address = act.address.as_deref();
        if let Some(wait) = self.attempts.begin(address, act.now_ms) {
            return Err(SignInFault::TooMany(wait));
        }
        let done = attempt();
        if matches!(done, Err(SignInFault::Refused(_))) {
            self.note_refused(act, name);
        } else {
            self.attempts.forgive(address);
        }
        done
    }

    /// The limit on attempts bounds how many of these there are.
    fn note_refused(&self, act: &Act, name: &str) {
        let subject: String = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_NOTED).collect();
        let (action, detail) = ("sign_in.refuse".to_owned(), "{}".to_owned());
        if let Err(error) = self.state.note(act, &AuditNote { action, subject, detail }) {
            tracing::warn!(%error, "cannot note that a sign-in was refused");
        }
    }

    /// Signs somebody in by name and password. An unknown name costs as much time as a wrong
    /// password, so that nobody learns which names there are.
    pub fn sign_in(&self, act: &Act, name: &str, password: &str) -> Result<(String, Session), SignInFault> {
        self.limited(act, name, || self.check_password(act, name, password))
    }

    /// A one-time secret by which this user signs in.
    pub fn offer_sign_in(&self, act: &Act, user: &str) -> Result<SignInLink, HubStateError> {
        let (secret, hash) = new_secret().map_err(|error| HubStateError::Storage(error.into()))?;
        let expires_ms = act.now_ms + SIGN_IN_LIFE.as_millis() as i64;
        self.state.offer_sign_in(act, user, &hash, expires_ms)?;
        let url = self.options.urls.first().map(ToString::to_string).unwrap_or_default();
        let url = format!("{}/#sign-in={secret}", url.trim_end_matches('/'));
        Ok(SignInLink { url, secret, expires_ms })
    }

    /// Signs somebody in by such a secret, once.
    pub fn redeem_sign_in(&self, act: &Act, secret: &str) -> Result<(String, Session), SignInFault> {
        self.limited(act, "", || {
            let hash = hash_of(secret).ok_or(SignInRefusal::Unknown)?;
            let (secret, own) = new_secret().map_err(SignInFault::Failed)?;
            let expires_ms = act.now_ms + SESSION_LIFE.as_millis() as i64;
            let session = NewSession { secret: own, user: String::new(), expires_ms };
            Ok((secret, self.state.redeem_sign_in(act, &hash, &session)?))
        })
    }

    /// Makes an API token: its secret, which is told this once, and what is kept of it.
    pub fn make_api_token(
        &self,
        act: &Act,
        wish: NewApiTokenWish,
    ) -> Result<(String, ApiToken), HubStateError> {
        let (secret, hash) = new_secret().map_err(|error| HubStateError::Storage(error.into()))?;
        let expires_ms =
            wish.ttl.map(|ttl| act.now_ms + i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2));
        let NewApiTokenWish { name, owner, scope, .. } = wish;
        let kept =
            self.state.add_api_token(act, &NewApiToken { secret: hash, name, owner, scope, expires_ms })?;
        Ok((secret, kept))
    }

    fn check_password(
        &self,
        act: &Act,
        name: &str,
        password: &str,
    ) -> Result<(String, Session), SignInFault> {
        let known = self.state.password_of(name)?;
        let refused = || SignInFault::Refused("name or password is wrong".to_owned());
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(refused());
        }
        let _one_at_a_time = self.hashing.lock();
        let phc = known.as_ref().map_or(self.nobodys_password.as_str(), PasswordHash::as_phc);
        let parsed = Phc::new(phc).map_err(|error| SignInFault::Failed(anyhow::anyhow!("{error}")))?;
        let is_right = argon2().map(|argon2| argon2.verify_password(password.as_bytes(), &parsed).is_ok());
        if !is_right.map_err(SignInFault::Failed)? || known.is_none() {
            return Err(refused());
        }
        self.begin_session(act, name)
    }

    /// Ends a session.
    pub fn sign_out(&self, act: &Act, secret: &str) -> Result<(), HubStateError> {
        let Some(hash) = hash_of(secret) else { return Ok(()) };
        match self.state.session(&hash, act.now_ms)? {
            Some(session) => self.state.end_session(act, &session.id),
            None => Ok(()),
        }
    }

    /// The session of this secret, if it counts.
    pub fn session(&self, secret: &str) -> Result<Option<Session>, HubStateError> {
        let found = hash_of(secret).map_or(Ok(None), |hash| self.state.session(&hash, self.now_ms()))?;
        Ok(found.inspect(|session| self.note_use(&session.id)))
    }

    /// The API token of this secret, if it counts.
    pub fn api_token(&self, secret: &str) -> Result<Option<ApiToken>, HubStateError> {
        let found = hash_of(secret).map_or(Ok(None), |hash| self.state.api_token(&hash, self.now_ms()))?;
        Ok(found.inspect(|token| self.note_use(&token.id)))
    }

    fn note_use(&self, id: &str) {
        self.used.lock().insert(id.to_owned(), self.now_ms());
    }

    /// Writes down which sessions and API tokens were used since the last time.
    pub(super) async fn note_used(&self) {
        let used: Vec<_> = self.used.lock().drain().collect();
        let state = Arc::clone(&self.state);
        let noted = tokio::task::spawn_blocking(move || state.note_used(&used)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(%error, "cannot note which sessions and API tokens were used");
        }
    }

    /// A password as it is kept. Refused if it is too short.
    pub fn password_hash(&self, password: &str) -> Result<PasswordHash, HubStateError> {
        if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
            let reason = format!("it must have at least {PASSWORD_CHARS_MIN} characters");
            return Err(HubStateError::invalid("password", reason));
        }
        let _one_at_a_time = self.hashing.lock();
        hashed(password).map_err(|error| HubStateError::Storage(error.into()))
    }

    fn begin_session(&self, act: &Act, user: &str) -> Result<(String, Session), SignInFault> {
        let (secret, hash) = new_secret().map_err(SignInFault::Failed)?;
        let expires_ms = act.now_ms + SESSION_LIFE.as_millis() as i64;
        let session = NewSession { secret: hash, user: user.to_owned(), expires_ms };
        Ok((secret, self.state.begin_session(act, &session)?))
    }
}

/// A hash that no password has, for names that nobody has.
pub(super) fn nobodys_password() -> anyhow::Result<String> {
    Ok(hashed(&new_secret()?.0)?.as_phc().to_owned())
}

fn argon2() -> anyhow::Result<Argon2<'static>> {
    let (memory, passes, lanes) = ARGON2;
    let params = Params::new(memory, passes, lanes, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hashed(password: &str) -> anyhow::Result<PasswordHash> {
    let hash = argon2()?.hash_password(password.as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(PasswordHash::from_phc(hash.to_string())?)
}

/// A secret as its holder gets it, and what is kept of it.
pub(super) fn new_secret() -> anyhow::Result<(String, SecretHash)> {
    let token = Token::random().ok_or_else(|| anyhow::anyhow!("the system gives no random numbers"))?;
    let hash = token_hash(&token);
    Ok((String::from(token), hash))
}

/// What is kept of a token.
pub(super) fn token_hash(token: &Token) -> SecretHash {
    secret_hash(token.reveal())
}

/// What is kept of a secret that somebody shows; none if it cannot be one of ours.
pub(super) fn hash_of(secret: &str) -> Option<SecretHash> {
    Token::try_from(secret.to_owned()).ok().map(|token| token_hash(&token))
}
