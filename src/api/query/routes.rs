//! The routes of Prometheus' HTTP API, the same for whoever has series: the hub and the agent.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use fieldpost_formats::Dialect;
use fieldpost_model::TimeMs;
use fieldpost_promql::{Catalogue, Engine};

use super::turns::{Asker, Turn, Turns};
use super::{Ask, Fault, Questions, Reply, federate, tree, tsdb};

/// Whoever has series to ask about.
pub trait Asked: Send + Sync + 'static {
    /// The present, by its clock.
    fn now_ms(&self) -> TimeMs;

    /// Its series, for one question. May wait for the disk when it is asked.
    fn question(&self) -> Box<dyn Catalogue + '_>;

    /// How questions are answered, and how much one may ask for.
    fn engine(&self) -> Engine {
        Engine::default()
    }

    /// The turns of those who ask it.
    fn turns(&self) -> &'static Turns;
}

type Source<A> = State<Arc<A>>;
type Answered = Result<Reply, Fault>;

/// How a route is answered, by the methods that it knows.
pub type Handler<A> = fn(MethodFilter) -> MethodRouter<Arc<A>>;

/// Every route, with its method. Questions may be asked by a form, for they may be long.
pub fn each<A: Asked>(mut add: impl FnMut(Method, &'static str, Handler<A>)) {
    for method in [Method::GET, Method::POST] {
        let forms: [(&'static str, Handler<A>); 7] = [
            ("/api/v1/query", |filter| on(filter, instant::<A>)),
            ("/api/v1/query_range", |filter| on(filter, range::<A>)),
            ("/api/v1/series", |filter| on(filter, series::<A>)),
            ("/api/v1/labels", |filter| on(filter, label_names::<A>)),
            ("/api/v1/query_exemplars", |filter| on(filter, exemplars)),
            ("/api/v1/format_query", |filter| on(filter, formatted)),
            ("/api/v1/parse_query", |filter| on(filter, parsed)),
        ];
        forms.into_iter().for_each(|(path, handler)| add(method.clone(), path, handler));
    }
    let plain: [(&'static str, Handler<A>); 7] = [
        ("/api/v1/label/{name}/values", |filter| on(filter, label_values::<A>)),
        ("/api/v1/metadata", |filter| on(filter, metadata::<A>)),
        ("/api/v1/rules", |filter| on(filter, rules)),
        ("/api/v1/alerts", |filter| on(filter, alerts)),
        ("/api/v1/status/buildinfo", |filter| on(filter, build_info)),
        ("/api/v1/status/tsdb", |filter| on(filter, tsdb::<A>)),
        ("/federate", |filter| on(filter, federate::<A>)),
    ];
    plain.into_iter().for_each(|(path, handler)| add(Method::GET, path, handler));
    add(Method::POST, "/api/v1/read", |filter| on(filter, read::<A>));
}

/// Answers, when it is the asker's turn, on a thread that may wait for the disk.
async fn answered<A: Asked>(
    source: Arc<A>,
    asker: Asker,
    work: impl FnOnce(&dyn Catalogue, TimeMs) -> Answered + Send + 'static,
) -> Answered {
    let turn: Turn = source.turns().take(asker).await?;
    let done = tokio::task::spawn_blocking(move || {
        // Held until the work is done, not only until the client has gone.
        let _turn = turn;
        let now_ms = source.now_ms();
        work(source.question().as_ref(), now_ms)
    });
    done.await.unwrap_or_else(|error| Err(Fault::internal(format!("the query broke off: {error}"))))
}

async fn instant<A: Asked>(State(source): Source<A>, asker: Asker, ask: Ask) -> Answered {
    let engine = source.engine();
    answered(source, asker, move |source, now_ms| super::instant(source, engine, &ask, now_ms)).await
}

async fn range<A: Asked>(State(source): Source<A>, asker: Asker, ask: Ask) -> Answered {
    let engine = source.engine();
    answered(source, asker, move |source, _| super::range(source, engine, &ask)).await
}

/// Many questions over one range; no route of Prometheus'.
pub async fn grouped<A: Asked>(
    State(source): Source<A>,
    asker: Asker,
    Json(asked): Json<Questions>,
) -> Answered {
    let engine = source.engine();
    let turn: Turn = source.turns().take(asker).await?;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        asked.answer(engine, &|| source.question())
    });
    done.await.unwrap_or_else(|error| Err(Fault::internal(format!("the queries broke off: {error}"))))
}

async fn series<A: Asked>(State(source): Source<A>, asker: Asker, ask: Ask) -> Answered {
    answered(source, asker, move |source, now_ms| super::series(source, &ask, now_ms)).await
}

async fn label_names<A: Asked>(State(source): Source<A>, asker: Asker, ask: Ask) -> Answered {
    answered(source, asker, move |source, now_ms| super::label_names(source, &ask, now_ms)).await
}

async fn label_values<A: Asked>(
    State(source): Source<A>,
    Path(name): Path<String>,
    asker: Asker,
    ask: Ask,
) -> Answered {
    answered(source, asker, move |source, now_ms| super::label_values(source, &ask, &name, now_ms)).await
}

async fn metadata<A: Asked>(State(source): Source<A>, asker: Asker, ask: Ask) -> Answered {
    answered(source, asker, move |source, now_ms| super::metadata(source, &ask, now_ms)).await
}

async fn tsdb<A: Asked>(State(source): Source<A>, asker: Asker, ask: Ask) -> Answered {
    answered(source, asker, move |source, now_ms| tsdb::status(source, &ask, now_ms)).await
}

async fn federate<A: Asked>(
    State(source): Source<A>,
    asker: Asker,
    headers: HeaderMap,
    ask: Ask,
) -> Result<Reply, Response> {
    let accepted: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let dialect = Dialect::negotiate(&accepted.join(","));
    let engine = source.engine();
    let page = answered(source, asker, move |source, now_ms| {
        federate::page(source, &engine, (&ask, dialect), now_ms)
    });
    page.await.map_err(Fault::plain)
}

async fn read<A: Asked>(State(source): Source<A>, asker: Asker, block: Bytes) -> Result<Reply, Response> {
    let engine = source.engine();
    let read = answered(source, asker, move |source, _| federate::remote_read(source, &engine, &block));
    read.await.map_err(Fault::plain)
}

async fn formatted(ask: Ask) -> Answered {
    tree::formatted(&ask)
}

async fn parsed(ask: Ask) -> Answered {
    tree::parsed(&ask)
}

async fn exemplars() -> Reply {
    super::nothing()
}

async fn rules() -> Reply {
    super::no_rules()
}

async fn alerts() -> Reply {
    super::no_alerts()
}

async fn build_info() -> Reply {
    super::build_info()
}
