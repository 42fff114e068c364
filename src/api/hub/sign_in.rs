//! Signing in: the first admin by the one-time link, everybody by name and password, and the
//! session that a browser then holds in a cookie.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::{Extension, Json};
use fieldpost_model::hub_state::{Role, Scope, Session};
use serde::{Deserialize, Serialize};

use super::{Asker, DONE, Doer, blocking};
use crate::api::gate::Principal;
use crate::api::problem::Problem;
use crate::api::server::Peer;
use crate::hub::{SESSION_LIFE, SignInFault};

/// Name of the cookie.
pub const SESSION_COOKIE: &str = "fieldpost_session";

/// Makes the first admin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstAdmin {
    /// What stood in the link.
    secret: String,
    name: String,
    password: String,
}

/// Who signs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    name: String,
    password: String,
}

/// Who somebody is to the hub.
#[derive(Debug, Serialize)]
pub struct Whoami {
    name: String,
    role: Role,
}

type SignedIn = (StatusCode, [(HeaderName, String); 1], Json<Whoami>);

/// Makes the first admin and signs them in. The secret is good once, and there is no way here as
/// soon as there is an admin.
pub async fn first_admin(
    State(hub): super::State,
    Doer(act): Doer,
    peer: Option<Extension<Peer>>,
    Json(wish): Json<FirstAdmin>,
) -> Result<SignedIn, Problem> {
    let secure = is_secure(peer);
    blocking(hub, move |hub| {
        let (secret, session) = hub.claim_first_admin(&act, &wish.secret, &wish.name, &wish.password)?;
        Ok(signed_in(&secret, session, secure))
    })
    .await
}

/// Begins a session.
pub async fn begin(
    State(hub): super::State,
    Doer(act): Doer,
    peer: Option<Extension<Peer>>,
    Json(who): Json<Credentials>,
) -> Result<SignedIn, Problem> {
    let secure = is_secure(peer);
    blocking(hub, move |hub| {
        let (secret, session) = hub.sign_in(&act, &who.name, &who.password)?;
        Ok(signed_in(&secret, session, secure))
    })
    .await
}

/// The secret of a sign-in link.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redeemed {
    secret: String,
}

/// Begins a session by a one-time link.
pub async fn redeem(
    State(hub): super::State,
    Doer(act): Doer,
    peer: Option<Extension<Peer>>,
    Json(link): Json<Redeemed>,
) -> Result<SignedIn, Problem> {
    let secure = is_secure(peer);
    blocking(hub, move |hub| {
        let (secret, session) = hub.redeem_sign_in(&act, &link.secret)?;
        Ok(signed_in(&secret, session, secure))
    })
    .await
}

/// Ends the session that asks.
pub async fn end(
    State(hub): super::State,
    Doer(act): Doer,
    headers: HeaderMap,
) -> Result<(StatusCode, [(HeaderName, String); 1]), Problem> {
    let secret = session_secret(&headers).unwrap_or_default();
    blocking(hub, move |hub| {
        hub.sign_out(&act, &secret)?;
        Ok((DONE, [(SET_COOKIE, format!("{SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"))]))
    })
    .await
}

/// Who asks.
pub async fn whoami(asker: Asker) -> Json<Whoami> {
    Json(match asker.0 {
        Principal::User { name, role } => Whoami { name, role },
        Principal::Token { id, scope: Scope::Role(role) } => Whoami { name: id, role },
        // The gate lets no other token come so far.
        Principal::Token { id, scope: _ } => Whoami { name: id, role: Role::Viewer },
        Principal::Owner(uid) => Whoami { name: format!("uid {uid}"), role: Role::Admin },
        Principal::Nobody => Whoami { name: String::new(), role: Role::Viewer },
    })
}

/// The secret in the session's cookie.
pub fn session_secret(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == SESSION_COOKIE).map(|(_, secret)| secret.to_owned())
}

fn signed_in(secret: &str, session: Session, secure: bool) -> SignedIn {
    let life = SESSION_LIFE.as_secs();
    let secure = if secure { "; Secure" } else { "" };
    let cookie =
        format!("{SESSION_COOKIE}={secret}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}");
    (StatusCode::CREATED, [(SET_COOKIE, cookie)], Json(Whoami { name: session.user, role: session.role }))
}

/// Did the browser come by TLS? Then the cookie must never leave without.
fn is_secure(peer: Option<Extension<Peer>>) -> bool {
    matches!(peer, Some(Extension(Peer::Network { tls: true, .. })))
}

impl From<SignInFault> for Problem {
    fn from(fault: SignInFault) -> Self {
        match fault {
            SignInFault::Refused(text) => Problem::new(StatusCode::UNAUTHORIZED, "sign_in_refused", text),
            SignInFault::Invalid(text) => Problem::bad_request(text),
            SignInFault::TooMany(wait) => {
                let detail = "too many attempts to sign in have failed; wait, and try again";
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail).retry_after(wait)
            }
            SignInFault::Failed(error) => Problem::failed(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(session_secret(&headers), None);
        headers.append("cookie", "a=b; fieldpost_session=s3; c".parse().unwrap());
        assert_eq!(session_secret(&headers).as_deref(), Some("s3"));
    }
}
