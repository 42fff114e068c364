// What happened to the agent: starts and stops, what was stuck, gaps, jumps of the clock.
import { get, now } from "../api/client";
import type { Agent, Events } from "../api/types";
import { exactInstant, instant } from "../format";
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
        <div class="scroll">
          <table class="list">
            <thead>
              <tr>
                <th>When</th>
                <th>What</th>
                <th>To what</th>
                <th>How</th>
              </tr>
            </thead>
            <tbody>
              {events.map((event, index) => {
                const [word, look] = WORDS[event.kind] ?? [event.kind, ""];
                const around = { from: String(event.time_ms - AROUND_MS), to: String(event.time_ms + AROUND_MS) };
                return (
                  <tr key={index}>
                    <td class="nowrap" title={exactInstant(event.time_ms)}>
                      <a href={hostLink(agent.name, around)}>{instant(event.time_ms)}</a>
                    </td>
                    <td class={`nowrap ${look}`}>{word}</td>
                    <td>{event.subject || <span class="muted">agent</span>}</td>
                    <td class="wide">{told(event.text)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

/** Instants in words of the agent are milliseconds. */
function told(text: string): string {
  return text.replace(/until (\d{13})$/, (_, ms: string) => `until ${instant(Number(ms))}`);
}
