//! Live: the ticks of chosen agents as they come, as server-sent events. Each agent's series are
//! described once and go by their number from then on.

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use fieldpost_model::Selector;
use futures_util::StreamExt;
use futures_util::stream::{self, SelectAll, Stream};
use serde::Serialize;
use serde_json::json;

use super::{Asker, blocking};
use crate::api::problem::Problem;
use crate::hub::{LiveNews, LiveSeries, LiveTick, LiveWatcher};

/// Agents of one stream.
const N_AGENTS_MAX: usize = 64;
/// A stream on which nothing is new says so this often.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What is asked for: `agent=a&agent=b&match={...}`.
#[derive(Debug, Default)]
struct Wish {
    agents: Vec<String>,
    selector: Option<Selector>,
}

impl Wish {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut wish = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "agent" if wish.agents.contains(&value) => {}
                "agent" => wish.agents.push(value),
                "match" => {
                    let selector = Selector::parse(&value);
                    wish.selector = Some(selector.map_err(|error| Problem::bad_request(error.to_string()))?);
                }
                _ => {
                    return Err(Problem::bad_request(
                        "there are agent=NAME, which may come again, and match={...}",
                    ));
                }
            }
        }
        if wish.agents.is_empty() || wish.agents.len() > N_AGENTS_MAX {
            let detail = format!("say which agents, at most {N_AGENTS_MAX}: agent=NAME&agent=NAME");
            return Err(Problem::bad_request(detail));
        }
        Ok(wish)
    }
}

/// The ticks of the chosen agents, for as long as somebody reads.
pub async fn live(
    State(hub): super::State,
    asker: Asker,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let wish = Wish::read(pairs)?;
    let place = hub.places.take(&asker.0.actor().to_string()).ok_or_else(|| {
        let detail = "too many streams are open; close one, or try again later";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail).retry_after(HEARTBEAT)
    })?;
    let names = wish.agents.clone();
    let agents = blocking(std::sync::Arc::clone(&hub), move |hub| {
        let find = |name: &String| hub.state.agent(name)?.ok_or_else(|| super::agents::unknown(name));
        names.iter().map(find).collect::<Result<Vec<_>, Problem>>()
    });
    let mut all = SelectAll::new();
    for agent in agents.await? {
        let watcher = hub.watch_agent(&agent.id);
        let choice = Choice::new(wish.selector.clone());
        all.push(events(Watched { watcher, choice, id: agent.id, name: agent.name }));
    }
    let events = all.map(move |event| {
        let _held_until_the_end = &place;
        Ok::<_, Infallible>(event)
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("nothing new")))
}

/// One agent of a stream.
struct Watched {
    watcher: LiveWatcher,
    choice: Choice,
    id: String,
    name: String,
}

fn events(watched: Watched) -> Pin<Box<dyn Stream<Item = Event> + Send>> {
    let news = stream::unfold(watched, |mut watched| async move {
        let news = watched.watcher.next().await?;
        let events: Vec<Event> = news.iter().map(|news| watched.event(news)).collect();
        Some((stream::iter(events), watched))
    });
    Box::pin(news.flatten())
}

/// A tick as it is sent.
#[derive(Serialize)]
struct Told<'a> {
    agent: &'a str,
    agent_id: &'a str,
    /// Forget what was said of this agent before.
    whole: bool,
    #[serde(flatten)]
    tick: &'a LiveTick,
}

impl Watched {
    fn event(&mut self, news: &LiveNews) -> Event {
        let made = match news {
            LiveNews::Link { up } => {
                let link = json!({ "agent": self.name, "agent_id": self.id, "up": up });
                Event::default().event("link").json_data(link)
            }
            LiveNews::Event(event) => {
                let event = json!({ "agent": self.name, "agent_id": self.id, "event": **event });
                Event::default().event("event").json_data(event)
            }
            LiveNews::Whole(tick) => {
                self.choice.chosen.clear();
                self.tick(tick, true)
            }
            LiveNews::Tick(tick) => self.tick(tick, false),
        };
        // It fails only for text that JSON cannot carry, of which a tick has none.
        made.unwrap_or_default()
    }

    fn tick(&mut self, tick: &LiveTick, whole: bool) -> Result<Event, axum::Error> {
        let chosen = self.choice.of(tick);
        let tick = chosen.as_ref().unwrap_or(tick);
        let told = Told { agent: &self.name, agent_id: &self.id, whole, tick };
        Event::default().event("tick").json_data(told)
    }
}

/// Which series of an agent are wanted.
struct Choice {
    selector: Option<Selector>,
    chosen: HashSet<u32>,
}

impl Choice {
    fn new(selector: Option<Selector>) -> Self {
        Self { selector, chosen: HashSet::new() }
    }

    /// What is wanted of a tick; none: all of it.
    fn of(&mut self, tick: &LiveTick) -> Option<LiveTick> {
        let selector = self.selector.as_ref()?;
        let wanted = |series: &&LiveSeries| {
            let label =
                |name: &str| series.labels.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
            selector.accepts(&series.name, label)
        };
        let series: Vec<LiveSeries> = tick.series.iter().filter(wanted).cloned().collect();
        self.chosen.extend(series.iter().map(|series| series.n));
        let chosen = &self.chosen;
        Some(LiveTick {
            time_ms: tick.time_ms,
            skipped: tick.skipped,
            series,
            values: tick.values.iter().filter(|(n, _)| chosen.contains(n)).copied().collect(),
            gone: tick.gone.iter().filter(|n| chosen.contains(n)).copied().collect(),
        })
    }
}
