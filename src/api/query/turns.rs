//! Whose turn it is: so many queries run at a time, of one asker fewer than that, and so many of one
//! asker wait. Who asks much waits for himself, and nobody else for him.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::Fault;
use crate::api::gate::Principal;
use crate::api::link::HubPrincipal;
use crate::api::server::Peer;

/// Queries of one asker that run or wait.
const N_ASKED_MAX: usize = 64;
/// The longest that a query waits for its turn.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who asks, as far as turns are concerned.
pub struct Asker(String);

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let extensions = &parts.extensions;
        let name = if let Some(principal) = extensions.get::<Principal>() {
            format!("{:?}", principal.actor())
        } else if let Some(HubPrincipal(hub)) = extensions.get() {
            format!("hub {hub}")
        } else if let Some(Peer::Local(uid)) = extensions.get() {
            format!("user {uid}")
        } else {
            String::new()
        };
        Ok(Self(name))
    }
}

/// Turns to be had.
pub struct Turns {
    all: Semaphore,
    n_each: usize,
    own: Mutex<BTreeMap<String, Own>>,
}

/// The turns of one asker.
struct Own {
    turns: Arc<Semaphore>,
    n_asked: usize,
}

/// A turn, for as long as it is held.
pub struct Turn {
    _all: SemaphorePermit<'static>,
    _own: OwnedSemaphorePermit,
    _asked: Asked,
}

/// Counts a query of an asker.
struct Asked {
    turns: &'static Turns,
    asker: String,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut own = self.turns.own.lock();
        if let Some(entry) = own.get_mut(&self.asker) {
            entry.n_asked -= 1;
            if entry.n_asked == 0 {
                own.remove(&self.asker);
            }
        }
    }
}

impl Turns {
    /// So many in all, and so many of one asker.
    pub const fn new(n_all: usize, n_each: usize) -> Self {
        Self { all: Semaphore::const_new(n_all), n_each, own: Mutex::new(BTreeMap::new()) }
    }

    /// Waits for a turn.
    pub async fn take(&'static self, asker: Asker) -> Result<Turn, Fault> {
        let (asked, turns) = self.enter(asker.0)?;
        let taken = async {
            let own = turns.acquire_owned().await.map_err(|error| Fault::internal(error.to_string()))?;
            let all = self.all.acquire().await.map_err(|error| Fault::internal(error.to_string()))?;
            Ok(Turn { _all: all, _own: own, _asked: asked })
        };
        let late = |_| {
            let seconds = PATIENCE.as_secs();
            Fault::timeout(format!(
                "the query waited for its turn for more than {seconds} s; ask fewer at a time"
            ))
        };
        tokio::time::timeout(PATIENCE, taken).await.map_err(late)?
    }

    fn enter(&'static self, asker: String) -> Result<(Asked, Arc<Semaphore>), Fault> {
        let mut own = self.own.lock();
        let fresh = || Own { turns: Arc::new(Semaphore::new(self.n_each)), n_asked: 0 };
        let entry = own.entry(asker.clone()).or_insert_with(fresh);
        if entry.n_asked >= N_ASKED_MAX {
            return Err(Fault::unavailable(format!(
                "queries of one user at a time: {} where at most {N_ASKED_MAX} are allowed; wait for their answers",
                entry.n_asked + 1
            )));
        }
        entry.n_asked += 1;
        Ok((Asked { turns: self, asker }, Arc::clone(&entry.turns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(name: &str) -> Asker {
        Asker(name.to_owned())
    }

    #[tokio::test]
    async fn who_asks_much_holds_up_nobody_else() {
        static TURNS: Turns = Turns::new(3, 2);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(TURNS.take(asker("greedy")).await.unwrap());
        }
        let greedy: Vec<_> = (2..N_ASKED_MAX).map(|_| tokio::spawn(TURNS.take(asker("greedy")))).collect();
        while TURNS.own.lock().values().any(|own| own.n_asked < N_ASKED_MAX) {
            tokio::task::yield_now().await;
        }
        assert!(TURNS.take(asker("greedy")).await.is_err(), "one too many");
        let other = tokio::time::timeout(Duration::from_secs(1), TURNS.take(asker("other"))).await;
        assert!(other.unwrap().is_ok());
        drop(held);
        for waiting in greedy {
            assert!(waiting.await.unwrap().is_ok());
        }
        assert!(TURNS.own.lock().is_empty(), "nobody is remembered");
    }
}
