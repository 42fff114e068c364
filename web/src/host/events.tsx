// What happened to the agent: starts and stops, what was stuck, gaps, jumps of the clock.
import { get, now } from "../api/client";
import type { Agent, AgentEvent, Events } from "../api/types";
import { exactInstant, instant } from "../format";
import { List, type Shown } from "../parts/columns";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { hostLink, param, setParams } from "../router";

const SPANS: [string, string, number][] = [
  ["1d", "1 day", 1],
  ["7d", "7 days", 7],
  ["30d", "30 days", 30],
  ["400d", "All", 400],
];
const chosen = param("of", "7d");
const AROUND_MS = 300_000;

const WORDS: Record<string, [string, string]> = {
  start: ["Start", ""],
  stop: ["Stop", ""],
  unclean_stop: ["Unclean stop", "bad"],
  reload: ["Reload", ""],
  stuck: ["Stuck", "bad"],
  recovered: ["Recovered", "ok"],
  gap: ["Gap", "late"],
  clock_jump: ["Clock jump", "late"],
  store: ["Store", "late"],
  quarantine: ["Quarantine", "bad"],
};

export function EventsTab({ agent }: { agent: Agent }) {
  const days = SPANS.find(([key]) => key === chosen.value)?.[2] ?? 7;
  const { data, problem } = useLoaded(`${agent.name} ${days}`, 10_000, (abort) =>
    get<Events>(`/api/v1/agents/${encodeURIComponent(agent.name)}/events?from=${Math.floor(now() - days * 86_400_000)}`, abort),
  );
  const events = (data.value?.events ?? []).toReversed();
  return (
    <section class="panel" aria-label="Events">
      <header>
        <div class="segments" role="group" aria-label="Of the last">
          {SPANS.map(([key, title]) => (
            <button key={key} type="button" aria-pressed={chosen.value === key} onClick={() => setParams({ of: key === "7d" ? null : key })}>
              {title}
            </button>
          ))}
        </div>
        <span class="muted" role="status">
          {events.length} {events.length === 1 ? "event" : "events"}
        </span>
      </header>
      <Problem text={problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking for events" />}
      {data.value && events.length === 0 && (
        <Empty title="Nothing happened">
          <p>No start, stop, gap or stuck collector was noted in this span.</p>
        </Empty>
      )}
      {events.length > 0 && (
        <List columns={columnsOf(agent.name)} rows={events} keyOf={(event) => `${event.time_ms} ${event.kind} ${event.subject} ${event.text}`} />
      )}
    </section>
  );
}

function columnsOf(agent: string): Shown<AgentEvent>[] {
  return [
    {
      title: "When",
      class: "nowrap",
      hint: (event) => exactInstant(event.time_ms),
      show: ({ time_ms: at }) => <a href={hostLink(agent, { from: String(at - AROUND_MS), to: String(at + AROUND_MS) })}>{instant(at)}</a>,
    },
    {
      title: "What",
      class: "nowrap",
      show: ({ kind }) => {
        const [word, look] = WORDS[kind] ?? [kind, ""];
        return <span class={look}>{word}</span>;
      },
    },
    { title: "To what", show: (event) => event.subject || <span class="muted">agent</span> },
    { title: "How", class: "wide", show: (event) => told(event.text) },
  ];
}

/** Instants in words of the agent are milliseconds. */
function told(text: string): string {
  return text.replace(/until (\d{13})$/, (_, ms: string) => `until ${instant(Number(ms))}`);
}
