//! Letting hosts in: join strings, what a host gets for one, and new certificates later.

use std::time::Duration;

use fieldpost_link::{JoinString, Token};
use fieldpost_model::hub_state::{Act, JoinToken, Labels, NewJoinToken, Roles};

use super::Hub;
use super::people::token_hash;

/// A join token as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWish {
    /// How long it is good.
    pub ttl: Duration,
    /// How many hosts may come by it.
    pub uses: u32,
    /// Roles of those hosts.
    pub roles: Roles,
    /// Labels of those hosts.
    pub labels: Labels,
    /// Has somebody to approve each of them?
    pub needs_approval: bool,
}

impl Default for TokenWish {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3_600),
            uses: 1,
            roles: Roles::new(),
            labels: Labels::new(),
            needs_approval: false,
        }
    }
}

impl Hub {
    /// Makes a token and the join string that holds it. The string is in no log and no file.
    pub fn make_join_token(&self, act: &Act, wish: TokenWish) -> anyhow::Result<(JoinToken, String)> {
        let token = Token::random().ok_or_else(|| anyhow::anyhow!("the system gives no random numbers"))?;
        let new = NewJoinToken {
            secret: token_hash(&token),
            ttl_ms: wish.ttl.as_millis() as i64,
            uses: wish.uses,
            roles: wish.roles,
            labels: wish.labels,
            needs_approval: wish.needs_approval,
            for_agent: None,
        };
        let kept = self.state.add_join_token(act, &new)?;
        let string = JoinString { urls: self.options.urls.clone(), pin: self.authority.pin(), token };
        Ok((kept, string.to_word()?))
    }
}
