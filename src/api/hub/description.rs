//! The description of the API (OpenAPI 3.1), made from the table of routes: what each needs comes
//! from there, what it is for from the list here. A route that is not on the list fails a test.

use std::sync::OnceLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use fieldpost_model::hub_state::Role;
use serde_json::{Map, Value, json};

use crate::api::gate::{Need, Route};

/// What goes into requests and answers.
const SCHEMAS: &str = include_str!("description/schemas.json");

/// The body of other protocols.
const PROTOBUF: &str = "application/x-protobuf";

/// The body of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// What may be asked of an instant.
const INSTANT: &[(&str, &str)] = &[
    ("query", "string"),
    ("time", "string"),
    ("timeout", "string"),
    ("limit", "integer"),
    ("lookback_delta", "string"),
    ("stats", "string"),
];

/// What may be asked of a range.
const RANGE: &[(&str, &str)] = &[
    ("query", "string"),
    ("start", "string"),
    ("end", "string"),
    ("step", "string"),
    ("timeout", "string"),
    ("limit", "integer"),
    ("lookback_delta", "string"),
    ("stats", "string"),
];

/// What may be asked of what there is.
const LISTED: &[(&str, &str)] =
    &[("match[]", "string"), ("start", "string"), ("end", "string"), ("limit", "integer")];

/// What may be asked of runs.
const RUNS: &[(&str, &str)] = &[
    ("agent", "string"),
    ("agent_part", "string"),
    ("job", "string"),
    ("job_part", "string"),
    ("domain", "string"),
    ("state", "string"),
    ("tag", "string"),
    ("tag_part", "string"),
    ("batch", "string"),
    ("since", "integer"),
    ("after", "string"),
    ("limit", "integer"),
];

/// What may be asked of results.
const RESULTS: &[(&str, &str)] = &[
    ("agent", "string"),
    ("job", "string"),
    ("domain", "string"),
    ("state", "string"),
    ("tag", "string"),
    ("batch", "string"),
    ("id", "string"),
    ("limit", "integer"),
    ("wait", "string"),
    ("lend", "string"),
];

/// What may be asked of the output of a run.
const LOGS: &[(&str, &str)] = &[
    ("agent", "string"),
    ("after", "integer"),
    ("limit", "integer"),
    ("levels", "string"),
    ("text", "string"),
    ("since", "integer"),
    ("until", "integer"),
    ("follow", "boolean"),
];

/// What a route is for.
struct Entry {
    route: &'static str,
    summary: &'static str,
    /// What may stand behind the `?`: names, types.
    query: &'static [(&'static str, &'static str)],
    /// The schema of the body.
    body: &'static str,
    /// The status of a good answer.
    status: u16,
    /// Its schema; with `[]` behind it a list; a media type where it is no JSON; empty for none.
    answer: &'static str,
}

impl Entry {
    const fn get(route: &'static str, summary: &'static str, answer: &'static str) -> Self {
        Self { route, summary, query: &[], body: "", status: 200, answer }
    }

    const fn asking(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    const fn with(
        route: &'static str,
        summary: &'static str,
        body: &'static str,
        answer: &'static str,
    ) -> Self {
        Self { route, summary, query: &[], body, status: if answer.is_empty() { 204 } else { 200 }, answer }
    }

    const fn making(mut self) -> Self {
        self.status = 201;
        self
    }
}

const ENTRIES: &[Entry] = &[
    Entry::get("GET /", "The page for people", "text/html"),
    Entry::get("GET /hosts/{host}", "The same: one host", "text/html"),
    Entry::get("GET /explore", "The same: questions in PromQL", "text/html"),
    Entry::get("GET /logs", "The same: log records", "text/html"),
    Entry::get("GET /agents", "The same: agents and how they join", "text/html"),
    Entry::get("GET /users", "The same: users", "text/html"),
    Entry::get("GET /tokens", "The same: API tokens", "text/html"),
    Entry::get("GET /audit", "The same: the audit log", "text/html"),
    Entry::get("GET /jobs", "The same: what is defined, when it runs next, how it went", "text/html"),
    Entry::get("GET /jobs/{job}", "The same: a job", "text/html"),
    Entry::get("GET /runs", "The same: runs of all hosts", "text/html"),
    Entry::get("GET /runs/{run}", "The same: a run", "text/html"),
    Entry::get("GET /queues", "The same: what queues up", "text/html"),
    Entry::get("GET /settings", "The same: the hub about itself", "text/html"),
    Entry::get("GET /app.js", "Its script", "text/javascript"),
    Entry::get("GET /app.css", "Its style", "text/css"),
    Entry::get("GET /icon.svg", "Its icon", "image/svg+xml"),
    Entry::get("GET /-/healthy", "The hub answers", "text/plain"),
    Entry::get("GET /-/ready", "The hub takes requests", "text/plain"),
    Entry::get("GET /api/openapi.json", "This document", "Object"),
    Entry::with(
        "POST /api/v1/first-admin",
        "Make the first admin by the one-time link, and sign in",
        "FirstAdmin",
        "Whoami",
    )
    .making(),
    Entry::with("POST /api/v1/session", "Sign in by name and password", "Credentials", "Whoami").making(),
    Entry::with("POST /api/v1/session/link", "Sign in by a one-time link", "Secret", "Whoami").making(),
    Entry::get("GET /api/v1/session", "Who asks", "Whoami"),
    Entry::with("DELETE /api/v1/session", "Sign out", "", ""),
    Entry::get("GET /api/v1/agents", "Agents by name", "Agent[]")
        .asking(&[("after", "string"), ("limit", "integer")]),
    Entry::get("GET /api/v1/agents/{agent}", "One agent", "Agent"),
    Entry::get(
        "GET /api/v1/fleet",
        "All agents with the few numbers that tell whether they are well",
        "Fleet",
    ),
    Entry::get("GET /api/v1/about", "What the hub says of itself", "About"),
    Entry::get(
        "GET /api/v1/agents/{agent}/culprits",
        "Who used the host in a span of at most a day: shares of CPU, memory growth and storage traffic",
        "Blame",
    )
    .asking(&[("from", "integer"), ("to", "integer")]),
    Entry::get("GET /api/v1/agents/{agent}/processes", "The processes of the host at a moment", "Processes")
        .asking(&[("at", "integer")]),
    Entry::get("GET /api/v1/agents/{agent}/units", "The units of the host at a moment", "Units")
        .asking(&[("at", "integer")]),
    Entry::get("GET /api/v1/agents/{agent}/events", "What the agent noted of itself", "Events")
        .asking(&[("from", "integer"), ("to", "integer")]),
    Entry::with("DELETE /api/v1/agents/{agent}", "Take an agent off the list; its data stay", "", ""),
    Entry::with("POST /api/v1/agents/{agent}/approve", "Let an agent in that waits for it", "", ""),
    Entry::with(
        "POST /api/v1/agents/{agent}/revoke",
        "End the trust in an agent for good, and its link",
        "",
        "",
    ),
    Entry::with("POST /api/v1/agents/{agent}/name", "Give an agent another name", "Name", "Agent"),
    Entry::get(
        "GET /api/v1/agents/{agent}/v1/{*rest}",
        "What the agent itself answers to GET /v1/...",
        "Object",
    ),
    Entry::with(
        "POST /api/v1/status",
        "Say whether agents are online, offline or in maintenance",
        "StatusChange",
        "Agent[]",
    ),
    Entry::get("GET /api/v1/tokens", "Join tokens, newest first", "JoinToken[]"),
    Entry::with(
        "POST /api/v1/tokens",
        "Make a join token; its string is told once",
        "TokenRequest",
        "TokenMade",
    )
    .making(),
    Entry::with("DELETE /api/v1/tokens/{token}", "Revoke a join token", "", ""),
    Entry::get("GET /api/v1/users", "Users by name", "User[]"),
    Entry::with("POST /api/v1/users", "Add a user", "UserRequest", "User").making(),
    Entry::with("DELETE /api/v1/users/{user}", "Remove a user with all by which they sign in", "", ""),
    Entry::with("POST /api/v1/users/{user}/password", "Set a password; sessions end", "NewPassword", ""),
    Entry::with("POST /api/v1/users/{user}/role", "Set a role", "NewRole", "User"),
    Entry::with("POST /api/v1/users/{user}/disabled", "Disable or enable a user", "Disabling", "User"),
    Entry::with(
        "POST /api/v1/users/{user}/sign-in-link",
        "Make a link by which a user signs in once",
        "",
        "SignInLink",
    )
    .making(),
    Entry::get("GET /api/v1/api-tokens", "API tokens, newest first", "ApiToken[]"),
    Entry::with(
        "POST /api/v1/api-tokens",
        "Make an API token; its secret is told once",
        "ApiTokenRequest",
        "ApiTokenMade",
    )
    .making(),
    Entry::with("DELETE /api/v1/api-tokens/{id}", "Revoke an API token", "", ""),
    Entry::get("GET /api/v1/audit", "The audit log, newest first", "AuditPage")
        .asking(&[("before", "integer"), ("limit", "integer")]),
    Entry::get("GET /api/v1/audit/proof", "Go through the audit log: is it as it was written?", "AuditProof"),
    Entry::get("GET /api/v1/coverage", "What the hub has of an agent's samples", "Coverage").asking(&[
        ("agent", "string"),
        ("from", "integer"),
        ("to", "integer"),
    ]),
    Entry::get("GET /api/v1/logs", "Log records that others pushed, of one sender or of all", "LogPage")
        .asking(&[
            ("agent", "string"),
            ("from", "integer"),
            ("to", "integer"),
            ("order", "string"),
            ("severity", "integer"),
            ("text", "string"),
            ("after", "string"),
            ("limit", "integer"),
        ]),
    Entry::get(
        "GET /api/v1/live",
        "Ticks of chosen agents as they come: events `tick`, `event` and `link`",
        "text/event-stream",
    )
    .asking(&[("agent", "string"), ("match", "string")]),
    Entry::with("POST /api/v1/polls", "Take an agent by its invitation and visit it", "PollRequest", "Agent")
        .making(),
    Entry::with(
        "POST /api/v1/agents/{agent}/poll",
        "Change where or how often an agent is visited",
        "PollChange",
        "Agent",
    ),
    Entry::get("GET /api/v1/runs", "Runs of all agents, newest first", "RunList").asking(RUNS),
    Entry::with(
        "POST /api/v1/runs",
        "Order a run of one agent, of any one that holds roles and labels, or (fanout) of each of them",
        "RunOrder",
        "RunsOrdered",
    )
    .making(),
    Entry::get(
        "GET /api/v1/runs/live",
        "What the runs that go on use at this moment, no more than a second old: to be asked again and again",
        "FleetRuns",
    )
    .asking(&[("agent", "string"), ("domain", "string"), ("job", "string")]),
    Entry::get("GET /api/v1/runs/{id}", "A run, by its id or enough of its beginning or end", "Run")
        .asking(&[("agent", "string")]),
    Entry::with(
        "DELETE /api/v1/runs/{id}",
        "Forget a run that is over, and its output: at its agent and here",
        "",
        "",
    )
    .asking(&[("agent", "string")]),
    Entry::get("GET /api/v1/runs/{id}/result", "The same when it is over, or after `wait`", "Run")
        .asking(&[("agent", "string"), ("wait", "string")]),
    Entry::get(
        "GET /api/v1/runs/{id}/logs",
        "What it says, a line of JSON (LogRow) each; followed until it is over",
        "application/x-ndjson",
    )
    .asking(LOGS),
    Entry::get("GET /api/v1/runs/{id}/stats", "What it costs", "RunStats").asking(&[
        ("agent", "string"),
        ("after", "integer"),
        ("intervals", "integer"),
    ]),
    Entry::with("POST /api/v1/runs/{id}/kill", "End it, or send it a signal", "KillRequest", "KillAnswer")
        .asking(&[("agent", "string")]),
    Entry::with(
        "POST /api/v1/results/pop",
        "Take results of what was ordered, those that came first, and wait for one: each is given once; with `lend` \
         again after so long, unless it is settled",
        "",
        "ResultList",
    )
    .asking(RESULTS),
    Entry::with(
        "POST /api/v1/results/settle",
        "Say that results which were lent are dealt with; answers those for which that is too late",
        "Settling",
        "Settled",
    ),
    Entry::get("GET /api/v1/agents/{agent}/ping", "How long it takes to the agent and back", "Pong"),
    Entry::with(
        "POST /api/v1/agents/{agent}/restart",
        "Have an agent start anew: at once, or as soon as it is online",
        "",
        "Object",
    ),
    Entry::with(
        "POST /api/v1/agents/{agent}/killall",
        "Have an agent end all its runs, or those of one job",
        "KillAllRequest",
        "Object",
    ),
    Entry::with(
        "POST /api/v1/agents/{agent}/jobs/{name}/enable",
        "Have an agent run a job of its own by itself again, if its owner allows jobs from outside",
        "",
        "HostJob",
    ),
    Entry::with(
        "POST /api/v1/agents/{agent}/jobs/{name}/disable",
        "Have an agent leave the slots of a job of its own out; its definition stays",
        "",
        "HostJob",
    ),
    Entry::with(
        "POST /api/v1/targets",
        "Who would get an order, and why others would not",
        "TargetQuestion",
        "Matches",
    ),
    Entry::get("GET /api/v1/queues", "What queues up at the agents", "QueueList"),
    Entry::get("GET /api/v1/jobs", "Definitions of jobs: the hub's, and those of hosts", "JobList")
        .asking(&[("agent", "string")]),
    Entry::with("POST /api/v1/jobs", "Define a job at the hub", "JobWish", "HubJob"),
    Entry::with(
        "POST /api/v1/jobs/check",
        "What is wrong with a definition, in YAML or JSON, and who would run it; changes nothing",
        "JobWish",
        "JobCheck",
    ),
    Entry::with("PUT /api/v1/jobs/{name}", "Define a job at the hub, under this name", "JobWish", "HubJob"),
    Entry::with("DELETE /api/v1/jobs/{name}", "Forget a job of the hub; its runs stay", "", ""),
    Entry::with("POST /api/v1/jobs/{name}/enable", "Have it run by itself again", "", "HubJob"),
    Entry::with("POST /api/v1/jobs/{name}/disable", "Leave its slots out", "", "HubJob"),
    Entry::with("POST /api/v1/jobs/{name}/trigger", "Have it run now", "", "RunsOrdered").making(),
    Entry::with("POST /api/v1/write", "Hand in samples by Prometheus remote write 1.0 or 2.0", PROTOBUF, ""),
    Entry::with("POST /v1/metrics", "Hand in metrics by OTLP/HTTP", PROTOBUF, PROTOBUF),
    Entry::with("POST /v1/logs", "Hand in logs by OTLP/HTTP", PROTOBUF, PROTOBUF),
    Entry::get("GET /api/v1/query", "PromQL at one instant", "Queried").asking(INSTANT),
    Entry::with("POST /api/v1/query", "The same by a form", FORM, "Queried"),
    Entry::get("GET /api/v1/query_range", "PromQL over a range", "Queried").asking(RANGE),
    Entry::with("POST /api/v1/query_range", "The same by a form", FORM, "Queried"),
    Entry::with(
        "POST /api/v1/query_groups",
        "Many questions in PromQL over one range: a column of numbers for each series",
        "Questions",
        "Columns",
    ),
    Entry::get("GET /api/v1/series", "Labels of series that a selector finds", "Queried").asking(LISTED),
    Entry::with("POST /api/v1/series", "The same by a form", FORM, "Queried"),
    Entry::get("GET /api/v1/labels", "Names of labels", "Queried").asking(LISTED),
    Entry::with("POST /api/v1/labels", "The same by a form", FORM, "Queried"),
    Entry::get("GET /api/v1/label/{name}/values", "Values of a label", "Queried").asking(LISTED),
    Entry::get("GET /api/v1/metadata", "Kind and help of metrics", "Queried")
        .asking(&[("metric", "string"), ("limit", "integer")]),
    Entry::get("GET /api/v1/query_exemplars", "None: there are no exemplars", "Queried"),
    Entry::with("POST /api/v1/query_exemplars", "The same by a form", FORM, "Queried"),
    Entry::get("GET /api/v1/format_query", "An expression as it is usually written", "Queried")
        .asking(&[("query", "string")]),
    Entry::with("POST /api/v1/format_query", "The same by a form", FORM, "Queried"),
    Entry::get("GET /api/v1/parse_query", "The tree of an expression", "Queried")
        .asking(&[("query", "string")]),
    Entry::with("POST /api/v1/parse_query", "The same by a form", FORM, "Queried"),
    Entry::get(
        "GET /api/v1/status/tsdb",
        "Of what there is most, over the series of the last hour",
        "Queried",
    )
    .asking(&[("limit", "integer")]),
    Entry::get("GET /federate", "The newest samples of chosen series as a page of metrics", "text/plain")
        .asking(&[("match[]", "string")]),
    Entry::with(
        "POST /api/v1/read",
        "Samples of chosen series by Prometheus remote read",
        PROTOBUF,
        PROTOBUF,
    ),
    Entry::get("GET /api/v1/rules", "None: there are no rules", "Queried"),
    Entry::get("GET /api/v1/alerts", "None: there are no alerts", "Queried"),
    Entry::get("GET /api/v1/status/buildinfo", "Which Prometheus clients may take this for", "Queried"),
];

/// The document.
pub async fn document() -> impl IntoResponse {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let text = DOCUMENT.get_or_init(|| describe(super::routes().table()));
    ([(CONTENT_TYPE, "application/json")], text.as_str())
}

/// Describes these routes.
fn describe(table: &[Route]) -> String {
    let mut paths: Map<String, Value> = Map::new();
    for route in table {
        let path = route.path.replace("{*", "{");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method.as_str().to_lowercase()] = operation(route);
    }
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fieldpost hub",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Instants are milliseconds since 1970 and end in `_ms`. What is refused is answered \
                with a problem document (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": super::sign_in::SESSION_COOKIE },
                "token": { "type": "http", "scheme": "bearer" },
            },
        },
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

fn entry(route: &Route) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| {
        let (method, path) = entry.route.split_once(' ').unwrap_or_default();
        method == route.method.as_str() && path == route.path
    })
}

fn operation(route: &Route) -> Value {
    let Some(entry) = entry(route) else { return json!({ "responses": {} }) };
    let mut operation = json!({
        "summary": entry.summary,
        "parameters": parameters(route, entry),
        "responses": { entry.status.to_string(): answer(entry), "default": problem() },
    });
    if !entry.body.is_empty() {
        let content = match entry.body {
            media if media.contains('/') => json!({ media: {} }),
            name => json!({ "application/json": { "schema": schema(name) } }),
        };
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    let (needs, security) = match route.need {
        Need::Nothing => ("nobody has to sign in", json!([])),
        Need::Role(role) => (needs(role), json!([{ "session": [] }, { "token": [] }])),
        Need::Ingest => ("scope ingest, or role admin", json!([{ "session": [] }, { "token": [] }])),
    };
    operation["description"] = json!(format!("Needs: {needs}."));
    operation["security"] = security;
    operation
}

fn needs(role: Role) -> &'static str {
    match role {
        Role::Viewer => "role viewer",
        Role::Operator => "role operator",
        Role::Admin => "role admin",
    }
}

fn parameters(route: &Route, entry: &Entry) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        let name = name.trim_start_matches('*');
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let in_query = entry.query.iter();
    let in_query =
        in_query.map(|(name, kind)| json!({ "name": name, "in": "query", "schema": { "type": kind } }));
    in_path.chain(in_query).collect()
}

fn answer(entry: &Entry) -> Value {
    let description = "Done";
    match entry.answer {
        "" => json!({ "description": description }),
        media if media.contains('/') => json!({ "description": description, "content": { media: {} } }),
        name => {
            let content = json!({ "application/json": { "schema": schema(name) } });
            json!({ "description": description, "content": content })
        }
    }
}

fn problem() -> Value {
    let content = json!({ "application/problem+json": { "schema": schema("Problem") } });
    json!({ "description": "Refused or failed", "content": content })
}

fn schema(name: &str) -> Value {
    match name.strip_suffix("[]") {
        Some(item) => json!({ "type": "array", "items": schema(item) }),
        None => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes = super::super::routes();
        let table = routes.table();
        let undescribed: Vec<_> = table.iter().filter(|route| entry(route).is_none()).collect();
        assert!(undescribed.is_empty(), "add to ENTRIES: {undescribed:?}");
        let known = |entry: &&Entry| {
            table.iter().any(|route| entry.route == format!("{} {}", route.method, route.path))
        };
        let gone: Vec<_> = ENTRIES.iter().filter(|entry| !known(entry)).map(|entry| entry.route).collect();
        assert!(gone.is_empty(), "no such routes any more: {gone:?}");
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let routes = super::super::routes();
        let text = describe(routes.table());
        let document: Value = serde_json::from_str(&text).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for named in text.split("#/components/schemas/").skip(1) {
            let name = named.split('"').next().unwrap_or_default();
            assert!(schemas.contains_key(name), "schema {name}");
        }
    }
}
