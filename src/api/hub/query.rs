//! Prometheus' HTTP API over the hub's record: Grafana, promtool and people ask here.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::on;
use fieldpost_model::TimeMs;
use fieldpost_promql::Catalogue;

use crate::api::gate::{Need, Routes};
use crate::api::query::{Asked, Turns, each, grouped};
use crate::hub::Hub;

/// Queries that run at the same time, and those of one asker.
static TURNS: Turns = Turns::new(4, 2);

impl Asked for Hub {
    fn now_ms(&self) -> TimeMs {
        Hub::now_ms(self)
    }

    fn question(&self) -> Box<dyn Catalogue + '_> {
        Box::new(Hub::question(self))
    }

    fn turns(&self) -> &'static Turns {
        &TURNS
    }
}

/// The routes of Prometheus' API.
pub fn routes(routes: Routes<Arc<Hub>>, need: Need) -> Routes<Arc<Hub>> {
    let mut all = Some(routes);
    each::<Hub>(|method, path, handler| {
        all = all.take().map(|routes| routes.on(method, path, need, handler));
    });
    let routes = all.unwrap_or_else(Routes::new);
    routes.on(Method::POST, "/api/v1/query_groups", need, |filter| on(filter, grouped::<Hub>))
}
