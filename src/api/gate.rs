//! The one gate: every route is entered into a table with what it needs, and nobody reaches a
//! handler without passing it. The doors say who asks; the gate says whether that is enough.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use fieldpost_model::hub_state::{Actor, Role, Scope};

use super::problem::Problem;

/// Who asks, as the door has found out. Stamped on each request by the door, never by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody that is known.
    Nobody,
    /// A local user, by number, through the Unix socket: may do everything.
    Owner(u32),
    /// A user with a session.
    User {
        /// Their name.
        name: String,
        /// What they may do.
        role: Role,
    },
    /// The holder of an API token.
    Token {
        /// Its public id.
        id: String,
        /// What it is good for.
        scope: Scope,
    },
}

impl Principal {
    /// What it may do at most; none: nothing but what everybody may.
    fn scope(&self) -> Option<Scope> {
        match self {
            Principal::Nobody => None,
            Principal::Owner(_) => Some(Scope::Role(Role::Admin)),
            Principal::User { role, .. } => Some(Scope::Role(*role)),
            Principal::Token { scope, .. } => Some(*scope),
        }
    }

    /// As whom the audit log names it.
    pub fn actor(&self) -> Actor {
        match self {
            Principal::Nobody => Actor::Stranger,
            Principal::Owner(uid) => Actor::Socket(*uid),
            Principal::User { name, .. } => Actor::User(name.clone()),
            Principal::Token { id, .. } => Actor::ApiToken(id.clone()),
        }
    }
}

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: sign-in, health, the page itself.
    Nothing,
    /// This role, or a greater one.
    Role(Role),
    /// The right to hand in measurements.
    Ingest,
}

impl Need {
    /// Is the scope enough? Handing in is a right of its own: admins have it, viewers do not.
    fn is_met(self, scope: Option<Scope>) -> bool {
        match (self, scope) {
            (Need::Nothing, _) => true,
            (Need::Role(need), Some(Scope::Role(role))) => role >= need,
            (Need::Ingest, Some(Scope::Ingest)) => true,
            (Need::Ingest, Some(Scope::Role(role))) => role == Role::Admin,
            (Need::Role(_), Some(Scope::Ingest)) | (_, None) => false,
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with `{names}`.
    pub path: &'static str,
    /// What it needs.
    pub need: Need,
}

/// A router whose every route has passed through the table.
pub struct Routes<S> {
    router: Router<S>,
    table: Vec<Route>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub fn new() -> Self {
        Self { router: Router::new(), table: Vec::new() }
    }

    /// Adds a route.
    pub fn on(
        mut self,
        method: Method,
        path: &'static str,
        need: Need,
        handler: impl FnOnce(MethodFilter) -> MethodRouter<S>,
    ) -> Self {
        let Ok(filter) = MethodFilter::try_from(method.clone()) else { return self };
        let guarded = handler(filter).route_layer(from_fn_with_state(need, check));
        self.router = self.router.route(path, guarded);
        self.table.push(Route { method, path, need });
        self
    }

    /// Every route, for tests and for the description of the API.
    pub fn table(&self) -> &[Route] {
        &self.table
    }

    /// The router, all of it guarded. What is not in the table is 404.
    pub fn into_router(self) -> Router<S> {
        self.router.fallback(nowhere).method_not_allowed_fallback(no_such_method)
    }
}

async fn no_such_method() -> Problem {
    let detail = "this address does not know this method; see /api/openapi.json";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// What is answered at addresses that are not in the table.
pub async fn nowhere() -> Problem {
    Problem::not_found("no_such_route", "there is nothing at this address; see /api/openapi.json")
}

async fn check(State(need): State<Need>, request: Request, next: Next) -> Response {
    let principal = request.extensions().get::<Principal>().unwrap_or(&Principal::Nobody);
    if need.is_met(principal.scope()) {
        return next.run(request).await;
    }
    let problem = if *principal == Principal::Nobody {
        let detail = "sign in, or send an API token: Authorization: Bearer TOKEN";
        Problem::new(StatusCode::UNAUTHORIZED, "not_signed_in", detail)
    } else {
        let detail = match need {
            Need::Role(role) => format!("this needs the role {role}"),
            _ => "this needs an API token with the scope ingest".to_owned(),
        };
        Problem::new(StatusCode::FORBIDDEN, "not_permitted", detail)
    };
    problem.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handing_in_and_reading_are_different_rights() {
        let role = |role| Some(Scope::Role(role));
        let ingest = Some(Scope::Ingest);
        assert!(Need::Nothing.is_met(None));
        assert!(Need::Ingest.is_met(ingest) && Need::Ingest.is_met(role(Role::Admin)));
        assert!(!Need::Ingest.is_met(role(Role::Operator)) && !Need::Ingest.is_met(None));
        assert!(Need::Role(Role::Viewer).is_met(role(Role::Operator)));
        assert!(!Need::Role(Role::Admin).is_met(role(Role::Operator)));
        assert!(!Need::Role(Role::Viewer).is_met(ingest) && !Need::Role(Role::Viewer).is_met(None));
    }
}
