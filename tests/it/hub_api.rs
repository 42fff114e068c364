//! The hub's API over its real doors: who may ask what, cell by cell; sign-in under attack; what
//! every answer has in common; and what the routes answer.

mod document;
mod stage;

use std::fmt::Write;
use std::io::Read;

use fieldpost::api::{Need, Route, hub_routes};
use fieldpost_model::hub_state::{Role, Scope};

use crate::golden::assert_golden;
use stage::{Answer, Stage};

/// Everybody who may ask, as the columns of the matrix.
const ASKERS: [&str; 8] =
    ["nobody", "viewer", "operator", "admin", "ingest", "expired-session", "expired-token", "socket"];
const PASSWORD: &str = "a long enough password";

/// What somebody may do, for the matrix' own account of it.
fn is_allowed(asker: &str, need: Need) -> bool {
    match (asker, need) {
        (_, Need::Nothing) | ("socket" | "admin", _) => true,
        ("viewer", Need::Role(role)) => role == Role::Viewer,
        ("operator", Need::Role(role)) => role != Role::Admin,
        ("ingest", need) => need == Need::Ingest,
        _ => false,
    }
}

/// Asks as one of them. What signs them in is made anew each time, for a route may end it.
fn ask_as(stage: &Stage, asker: &str, route: &Route) -> Answer {
    let path = route.path.replace("{*rest}", "status");
    let path: Vec<&str> =
        path.split('/').map(|part| if part.starts_with('{') { "nobody-has-this" } else { part }).collect();
    let (method, path) = (route.method.as_str(), path.join("/"));
    let body = if method == "POST" { "{}" } else { "" };
    let (name, value) = match asker {
        "nobody" => return stage.ask(method, &path, &[], body),
        "socket" => return stage.ask_socket(method, &path, body),
        "viewer" | "operator" | "admin" => ("Cookie", stage.cookie(asker, false)),
        "expired-session" => ("Cookie", stage.cookie("admin", true)),
        "expired-token" => ("Authorization", stage.bearer(Some("admin"), Scope::Role(Role::Admin), true)),
        _ => ("Authorization", stage.bearer(None, Scope::Ingest, false)),
    };
    stage.ask(method, &path, &[(name, &value)], body)
}

#[test]
fn every_route_lets_in_whom_the_table_says_and_nobody_else() {
    let stage = Stage::new();
    for role in Role::ALL {
        stage.add_user(role.as_str(), role, None);
    }
    let mut matrix = format!("{:<50}{}\n", "", ASKERS.join("  "));
    for route in hub_routes().table() {
        write!(matrix, "{:<50}", format!("{} {}", route.method, route.path)).unwrap();
        for asker in ASKERS {
            let answer = ask_as(&stage, asker, route);
            let cell = format!("{asker}: {} {} answers {}", route.method, route.path, answer.status);
            let is_stranger = matches!(asker, "nobody" | "expired-session" | "expired-token");
            let word = match is_allowed(asker, route.need) {
                true => {
                    assert!(!matches!(answer.status, 401 | 403), "{cell}");
                    "ok"
                }
                // These words are the gate's own: no handler has said them.
                false if is_stranger => {
                    assert_eq!((answer.status, answer.code().as_str()), (401, "not_signed_in"), "{cell}");
                    "401"
                }
                false => {
                    assert_eq!((answer.status, answer.code().as_str()), (403, "not_permitted"), "{cell}");
                    "403"
                }
            };
            write!(matrix, "{word:<width$}", width = asker.len() + 2).unwrap();
        }
        matrix.truncate(matrix.trim_end().len());
        matrix.push('\n');
    }
    assert_golden("routes.txt", &matrix);
}

#[test]
fn api_describes_itself() {
    let answer = Stage::new().ask("GET", "/api/openapi.json", &[], "");
    let text = String::from_utf8(answer.body).unwrap();
    assert_golden("openapi.json", &text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn who_guesses_passwords_is_told_to_wait() {
    let stage = Stage::new();
    stage.add_user("alice", Role::Viewer, Some(PASSWORD));
    let sign_in = |name: &str, password: &str| {
        let body = serde_json::json!({ "name": name, "password": password }).to_string();
        stage.ask("POST", "/api/v1/session", &[], &body)
    };
    for name in ["alice", "nobody-of-this-name"].into_iter().cycle().take(10) {
        let answer = sign_in(name, "a wrong password");
        assert_eq!((answer.status, answer.code().as_str()), (401, "sign_in_refused"));
    }
    let refused = sign_in("alice", PASSWORD);
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_attempts"));
    assert_eq!(refused.header("retry-after"), Some("30"));
    let noted = stage.ask_socket("GET", "/api/v1/audit?limit=1", "").json();
    assert_eq!(noted["entries"][0]["action"], "sign_in.refuse");
    let on_this_machine = format!(r#"{{"name":"alice","password":"{PASSWORD}"}}"#);
    assert_eq!(stage.ask_socket("POST", "/api/v1/session", &on_this_machine).status, 201);
}

#[test]
fn session_is_a_cookie_that_pages_of_others_cannot_use() {
    let stage = Stage::new();
    stage.add_user("alice", Role::Admin, Some(PASSWORD));
    let body = format!(r#"{{"name":"alice","password":"{PASSWORD}"}}"#);
    let answer = stage.ask("POST", "/api/v1/session", &[], &body);
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let token = r#"{"ttl_seconds":60,"uses":1}"#;
    let make = |headers: &[(&str, &str)]| {
        let headers = [&[("Cookie", cookie)], headers].concat();
        stage.ask("POST", "/api/v1/tokens", &headers, token)
    };
    for foreign in ["https://evil.example", "http://hub.evil.example", "null"] {
        let answer = make(&[("Origin", foreign)]);
        assert_eq!((answer.status, answer.code().as_str()), (403, "foreign_origin"), "{foreign}");
    }
    assert_eq!(make(&[("Sec-Fetch-Site", "cross-site")]).code(), "foreign_origin");
    for own in ["http://hub", "https://hub.example:7700"] {
        assert_eq!(make(&[("Origin", own)]).status, 201, "{own}");
    }
    let bearer = stage.bearer(None, Scope::Role(Role::Admin), false);
    let headers = [("Authorization", bearer.as_str()), ("Origin", "https://evil.example")];
    assert_eq!(stage.ask("POST", "/api/v1/tokens", &headers, token).status, 201);
    assert_eq!(stage.ask("DELETE", "/api/v1/session", &[("Cookie", cookie)], "").status, 204);
    assert_eq!(make(&[]).status, 401);
}

#[test]
fn every_answer_has_the_headers_that_browsers_heed() {
    let stage = Stage::new();
    let refusals = [("GET", "/nowhere", "no_such_route"), ("PUT", "/api/v1/agents", "method_not_allowed")];
    for (method, path) in
        [("GET", "/"), ("GET", "/api/v1/agents"), ("GET", "/nowhere"), ("PUT", "/api/v1/agents")]
    {
        let answer = stage.ask(method, path, &[], "");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{method} {path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{method} {path}");
    }
    for (method, path, code) in refusals {
        assert_eq!(stage.ask(method, path, &[], "").code(), code);
    }
}

#[test]
fn requests_that_cannot_be_read_are_refused_in_problem_documents() {
    let stage = Stage::new();
    let post = |path, body: &str| stage.ask_socket("POST", path, body);
    for body in ["{", "[]", "{}", r#"{"ttl_seconds":60,"uses":1,"more":1}"#, "\u{0}"] {
        let answer = post("/api/v1/tokens", body);
        assert!(matches!(answer.status, 400 | 422), "{body}: {}", answer.status);
        assert_eq!(answer.code(), "bad_request", "{body}");
    }
    // One byte too long: all of it is read before it is refused.
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat((1 << 20) + 1 - r#"{"name":""}"#.len()));
    assert_eq!(post("/api/v1/users", &long).code(), "too_large");
    for path in [
        "/api/v1/live",
        "/api/v1/live?agent=a&what=b",
        "/api/v1/live?agent=a&match={",
        "/api/v1/coverage",
        "/api/v1/coverage?agent=a&from=5&to=5",
        "/api/v1/coverage?agent=a&from=x",
        "/api/v1/agents?limit=x",
        "/api/v1/agents/a/processes",
        "/api/v1/agents/a/culprits?from=x",
    ] {
        let answer = stage.ask_socket("GET", path, "");
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{path}");
    }
    for path in [
        "/api/v1/live?agent=a",
        "/api/v1/coverage?agent=a",
        "/api/v1/agents/a/culprits",
        "/api/v1/agents/a/processes?at=5",
        "/api/v1/agents/a/events",
    ] {
        assert_eq!(stage.ask_socket("GET", path, "").code(), "no_such_agent", "{path}");
    }
    for rest in ["record", "record/metrics?after=0", "live", "record%2Fmetrics"] {
        let answer = stage.ask_socket("GET", &format!("/api/v1/agents/a/v1/{rest}"), "");
        assert_eq!(answer.code(), "no_such_route", "{rest}");
    }
}

#[test]
fn agents_come_in_pages_and_long_answers_compressed() {
    let stage = Stage::new();
    let names = ["a1", "B2", "c3", "d4", "e5"];
    names.iter().zip(1..).for_each(|(name, n)| stage.add_agent(n, name));
    let cookie = {
        stage.add_user("v", Role::Viewer, None);
        stage.cookie("v", false)
    };
    let (mut found, mut next) = (Vec::new(), Some("/api/v1/agents?limit=2".to_owned()));
    while let Some(path) = next {
        let answer = stage.ask("GET", &path, &[("Cookie", &cookie)], "");
        let page = answer.json();
        found.extend(page.as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap().to_owned()));
        next = answer.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned());
    }
    assert_eq!(found, names);
    let headers = [("Cookie", cookie.as_str()), ("Accept-Encoding", "gzip")];
    let (packed, plain) = (
        stage.ask("GET", "/api/v1/agents", &headers, ""),
        stage.ask("GET", "/api/v1/agents", &headers[..1], ""),
    );
    assert_eq!(
        (packed.header("content-encoding"), packed.header("vary")),
        (Some("gzip"), Some("accept-encoding"))
    );
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == plain.body && packed.body.len() < plain.body.len());
    // As browsers ask.
    let headers = [("Cookie", cookie.as_str()), ("Accept-Encoding", "gzip, deflate, br, zstd")];
    let packed = stage.ask("GET", "/api/v1/agents", &headers, "");
    assert_eq!(packed.header("content-encoding"), Some("zstd"));
    assert!(zstd::bulk::decompress(&packed.body, 1 << 20).unwrap() == plain.body);
    let short = stage.ask("GET", "/api/v1/session", &headers, "");
    assert_eq!(short.header("content-encoding"), None);
}

/// First load, as a browser counts it: what is sent of the page, its script and its style.
const FIRST_LOAD_BYTES_MAX: usize = 200_000;

#[test]
fn page_is_small_is_kept_by_browsers_and_runs_no_script_but_its_own() {
    let stage = Stage::new();
    let gzip = [("Accept-Encoding", "gzip, deflate")];
    let page = stage.ask("GET", "/hosts/a1?tab=events", &[], "");
    assert_eq!(page.body, stage.ask("GET", "/", &[], "").body);
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("data:"), "{policy}");
    let text = String::from_utf8(page.body).unwrap();
    let mut n_bytes = stage.ask("GET", "/", &gzip, "").body.len();
    for name in ["/app.js", "/app.css", "/icon.svg"] {
        let start =
            text.find(&format!("\"{name}?v=")).unwrap_or_else(|| text.find(&format!("\"{name}")).unwrap());
        let path = text[start + 1..].split('"').next().unwrap();
        let packed = stage.ask("GET", path, &gzip, "");
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
        n_bytes += packed.body.len();
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
        let plain = stage.ask("GET", name, &[], "");
        assert!(unpacked == plain.body, "{path}");
        let is_versioned = path.contains("?v=");
        assert_eq!(packed.header("cache-control").unwrap().contains("immutable"), is_versioned, "{path}");
        assert_eq!(plain.header("cache-control"), Some("no-cache"));
        let tag = plain.header("etag").unwrap();
        let known = stage.ask("GET", name, &[("If-None-Match", tag)], "");
        assert_eq!((known.status, known.body.len()), (304, 0), "{name}");
    }
    assert!(n_bytes < FIRST_LOAD_BYTES_MAX, "{n_bytes} bytes");
    assert_eq!(stage.ask("GET", "/nowhere", &[], "").code(), "no_such_route");
    // To people the page says it, whatever their browser knows already; programs are told in JSON.
    let person = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("If-None-Match", "*")];
    let lost = stage.ask("GET", "/fleet?v=1", &person, "");
    assert_eq!((lost.status, lost.header("cache-control")), (404, Some("no-store")));
    assert_eq!(lost.body, stage.ask("GET", "/", &[], "").body);
    assert_eq!(lost.header("content-security-policy"), Some(policy.as_str()));
    for (method, path) in [("GET", "/api/v1/nowhere"), ("POST", "/fleet")] {
        assert_eq!(stage.ask(method, path, &person, "").code(), "no_such_route", "{method} {path}");
    }
}

#[test]
fn fleet_lists_agents_that_sent_nothing_without_numbers() {
    let stage = Stage::new();
    stage.add_agent(1, "a1");
    let fleet = stage.ask_socket("GET", "/api/v1/fleet", "").json();
    assert_eq!((&fleet["hosts"][0]["name"], &fleet["hosts"][0]["instance"]), (&"a1".into(), &"a1".into()));
    assert!(fleet["hosts"][0]["measures"].is_null() && fleet["now_ms"].is_i64(), "{fleet}");
    let about = stage.ask_socket("GET", "/api/v1/about", "").json();
    assert_eq!((&about["n_links"], about["store"]["n_items_stored"].as_u64()), (&0.into(), Some(0)));
    assert_eq!(stage.ask_socket("GET", "/api/v1/agents/a1/culprits", "").code(), "no_tables");
    let long = "/api/v1/agents/a1/culprits?from=0&to=86400001";
    assert_eq!(stage.ask_socket("GET", long, "").code(), "bad_request");
    assert_eq!(stage.ask_socket("GET", "/api/v1/agents/a1/processes?at=5", "").json()["time_ms"], 0);
    assert_eq!(
        stage.ask_socket("GET", "/api/v1/agents/a1/events", "").json()["events"],
        serde_json::json!([])
    );
}

#[test]
fn coverage_of_an_agent_that_never_sent_anything_is_told() {
    let stage = Stage::new();
    stage.add_agent(1, "a1");
    let page = stage.ask_socket("GET", "/api/v1/coverage?agent=a1&from=1000&to=5000", "").json();
    assert_eq!((&page["agent"], &page["next"]), (&"a1".into(), &serde_json::Value::Null));
    let stretches = page["stretches"].as_array().unwrap();
    let (first, last) = (stretches.first().unwrap(), stretches.last().unwrap());
    assert_eq!((&first["from_ms"], &last["to_ms"]), (&1_000.into(), &5_000.into()));
    assert!(stretches.iter().all(|stretch| stretch["coverage"] != "whole"));
}

#[test]
fn api_token_is_told_once_and_good_for_no_more_than_its_owner() {
    let stage = Stage::new();
    stage.add_user("olga", Role::Operator, None);
    let request = r#"{"name":"grafana","scope":"admin","owner":"olga","ttl_seconds":3600}"#;
    let made = stage.ask_socket("POST", "/api/v1/api-tokens", request);
    assert_eq!(made.status, 201);
    let made = made.json();
    let (secret, id) = (made["secret"].as_str().unwrap(), made["token"]["id"].as_str().unwrap());
    let bearer = format!("Bearer {secret}");
    let get = |path| stage.ask("GET", path, &[("Authorization", &bearer)], "").status;
    assert_eq!((get("/api/v1/agents"), get("/api/v1/users")), (200, 403));
    let list = stage.ask_socket("GET", "/api/v1/api-tokens", "");
    assert!(!String::from_utf8(list.body).unwrap().contains(secret));
    let disable = stage.ask_socket("POST", "/api/v1/users/olga/disabled", r#"{"disabled":true}"#);
    assert_eq!((disable.status, get("/api/v1/agents")), (200, 401));
    stage.ask_socket("POST", "/api/v1/users/olga/disabled", r#"{"disabled":false}"#);
    assert_eq!(get("/api/v1/agents"), 200);
    assert_eq!(stage.ask_socket("DELETE", &format!("/api/v1/api-tokens/{id}"), "").status, 204);
    assert_eq!(get("/api/v1/agents"), 401);
    let wrong = r#"{"name":"x","scope":"root"}"#;
    assert_eq!(stage.ask_socket("POST", "/api/v1/api-tokens", wrong).status, 400);
}

#[test]
fn sign_in_link_is_good_once_and_a_new_password_ends_sessions() {
    let stage = Stage::new();
    stage.add_user("alice", Role::Viewer, None);
    let made = stage.ask_socket("POST", "/api/v1/users/alice/sign-in-link", "").json();
    let url = made["url"].as_str().unwrap();
    let secret = url.strip_prefix("https://hub.example:7700/#sign-in=").unwrap();
    let redeem = || stage.ask("POST", "/api/v1/session/link", &[], &format!(r#"{{"secret":"{secret}"}}"#));
    let answer = redeem();
    assert_eq!((answer.status, &answer.json()["name"]), (201, &"alice".into()));
    assert_eq!(redeem().code(), "sign_in_refused");
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
    let whoami = || stage.ask("GET", "/api/v1/session", &[("Cookie", cookie)], "").status;
    assert_eq!(whoami(), 200);
    let password = format!(r#"{{"password":"{PASSWORD}"}}"#);
    assert_eq!(stage.ask_socket("POST", "/api/v1/users/alice/password", &password).status, 204);
    assert_eq!(whoami(), 401);
    let short = stage.ask_socket("POST", "/api/v1/users/alice/password", r#"{"password":"short"}"#);
    assert_eq!(short.status, 400);
    let role = stage.ask_socket("POST", "/api/v1/users/alice/role", r#"{"role":"operator"}"#);
    assert_eq!((role.status, &role.json()["role"]), (200, &"operator".into()));
}

#[test]
fn streams_without_end_are_bounded_for_each_and_given_back() {
    let stage = Stage::new();
    stage.add_agent(1, "a1");
    let places: Vec<_> = std::iter::from_fn(|| stage.hub.places.take("socket:0")).collect();
    assert_eq!(places.len(), 16);
    let uid = rustix::process::getuid().as_raw();
    let mine: Vec<_> = std::iter::from_fn(|| stage.hub.places.take(&format!("socket:{uid}"))).collect();
    let refused = stage.ask_socket("GET", "/api/v1/live?agent=a1", "");
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_streams"));
    drop((places, mine));
    assert_eq!(stage.ask_socket("GET", "/api/v1/live?agent=a1", "").status, 200);
}
