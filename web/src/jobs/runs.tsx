// All runs of all hosts, the newest first, by job, host, state and time; what those that go on use right now, and
// of which time some are not known.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { isAborted, now, words } from "../api/client";
import type { Run, RunGap, RunState } from "../api/types";
import { readable } from "../chart/plot";
import { bytes, exact, instant, seconds, span } from "../format";
import { add } from "../keys";
import { Empty, Problem, Waiting } from "../parts/messages";
import { hostLink, param, params, setParams } from "../router";
import { isOperator } from "../session";
import { listRuns } from "./calls";
import { Forgotten } from "./forgotten";
import { jobName, runLink } from "./links";
import { useLiveUse, type LiveUse } from "./live-use";
import { NewRunDialog } from "./new-run";
import { beganText, causeText, FAILURES, isOver, RUN_STATES, RunStateText, shortId, Took, wordOf } from "./outcome";

const job = param("job");
const agent = param("agent");
const tag = param("tag");
const state = param("state");
const since = param("since", "7d");
const batch = param("batch");

const SINCES: [string, string, number][] = [
  ["1h", "1 hour", 3_600_000],
  ["1d", "1 day", 86_400_000],
  ["7d", "7 days", 604_800_000],
  ["all", "All", 0],
];
/** How often the newest are asked for while they are looked at, milliseconds. */
const EVERY_MS = 3_000;
const TYPING_MS = 250;
const PAGE = 100;

/** Groups of states that people ask for. */
const CHOICES: [key: string, name: string, states: RunState[]][] = [
  ["", "All states", []],
  ["active", "Going on", RUN_STATES.filter((one) => !isOver(one))],
  ["bad", "Gone wrong", FAILURES],
  ...RUN_STATES.filter(isOver).map((one): [string, string, RunState[]] => [one, wordOf(one), [one]]),
];

/** A part of a name; in quotes: the name as it is. */
function named(key: string, text: string): Record<string, string> {
  const whole = /^"(.+)"$/.exec(text.trim())?.[1];
  return whole ? { [key]: whole } : text.trim() ? { [`${key}_part`]: text.trim() } : {};
}

function wish(): Record<string, string> {
  const states = CHOICES.find(([key]) => key === state.value)?.[2] ?? [];
  const back = SINCES.find(([key]) => key === since.value)?.[2] ?? 0;
  return {
    ...named("job", job.value),
    ...named("agent", agent.value),
    ...named("tag", tag.value),
    ...(batch.value ? { batch: batch.value } : {}),
    ...(states.length > 0 ? { state: states.join(",") } : {}),
    ...(back > 0 ? { since: String(Math.floor(now() - back)) } : {}),
    limit: String(PAGE),
  };
}

/** The runs that the address asks for: the newest page again and again, older ones once. */
function useRuns() {
  const newest = useSignal<Run[] | null>(null);
  const older = useSignal<Run[]>([]);
  const next = useSignal<string | null>(null);
  const gaps = useSignal<RunGap[]>([]);
  const [problem, setProblem] = useState("");
  const asked = [job, agent, tag, state, since, batch].map((one) => one.value).join("\n");
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    older.value = [];
    const look = async () => {
      try {
        if (!document.hidden) {
          const page = await listRuns(wish(), abort.signal);
          newest.value = page.runs;
          gaps.value = page.gaps;
          if (older.peek().length === 0) next.value = page.next;
          setProblem("");
        }
      } catch (error) {
        if (isAborted(error)) return;
        setProblem(words(error));
      }
      timer = window.setTimeout(look, EVERY_MS);
    };
    timer = window.setTimeout(look, newest.peek() ? TYPING_MS : 0);
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [asked]);
  const more = async () => {
    if (!next.value) return;
    try {
      const page = await listRuns({ ...wish(), after: next.value });
      older.value = [...older.peek(), ...page.runs];
      next.value = page.next;
    } catch (error) {
      setProblem(words(error));
    }
  };
  const all = useComputed(() => {
    const first = newest.value;
    if (!first) return null;
    const known = new Set(first.map((run) => run.id + run.agent));
    return [...first, ...older.value.filter((run) => !known.has(run.id + run.agent))];
  });
  return { all, next, gaps, problem, more };
}

export function RunsPage() {
  const { all, next, gaps, problem, more } = useRuns();
  const isAsking = useComputed(() => params.value.has("new"));
  useEffect(() => (isOperator.value ? add([{ keys: "n", does: "Run something", run: () => setParams({ new: "1" }) }]) : undefined), []);
  const runs = all.value;
  return (
    <main>
      <div class="head">
        <h1>Runs</h1>
        <Filters />
        <span class="room" />
        <span class="muted" role="status">
          {runs ? `${runs.length}${next.value ? "+" : ""} runs` : ""}
        </span>
        {isOperator.value && (
          <button type="button" class="primary" onClick={() => setParams({ new: "1" })}>
            Run something
          </button>
        )}
      </div>
      <Problem text={problem} />
      <Forgotten gaps={gaps.value} />
      {!runs && !problem && <Waiting what="Asking for runs" />}
      {runs?.length === 0 && <Nothing />}
      {runs && runs.length > 0 && (
        <section class="panel">
          <RunTable runs={runs} />
          {next.value && (
            <p class="more">
              <button type="button" onClick={() => void more()}>
                Older runs
              </button>
            </p>
          )}
        </section>
      )}
      {isAsking.value && <NewRunDialog onClose={() => setParams({ new: null, of: null, on: null })} />}
    </main>
  );
}

/** What is looked for in names, as it is typed. */
const PARTS = [
  ["job", "Job", "Job or command", job],
  ["agent", "Host", "Host", agent],
  ["tag", "Tag", "Tag, name=value", tag],
] as const;

function Filters() {
  return (
    <>
      {PARTS.map(([key, name, hint, value]) => (
        <input
          key={key}
          type="search"
          class={`part-${key}`}
          aria-label={name}
          placeholder={hint}
          title={`A part of it, or "all of it" in quotes`}
          value={value.value}
          onInput={(event) => setParams({ [key]: event.currentTarget.value })}
        />
      ))}
      <select aria-label="State" value={state.value} onChange={(event) => setParams({ state: event.currentTarget.value })}>
        {CHOICES.map(([key, name]) => (
          <option key={key} value={key}>
            {name}
          </option>
        ))}
      </select>
      <div class="segments" role="group" aria-label="Of the last">
        {SINCES.map(([key, name]) => (
          <button key={key} type="button" aria-pressed={since.value === key} onClick={() => setParams({ since: key === "7d" ? null : key })}>
            {name}
          </button>
        ))}
      </div>
      {batch.value && (
        <button type="button" onClick={() => setParams({ batch: null })}>
          Ordered together ×
        </button>
      )}
    </>
  );
}

function Nothing() {
  const isFiltered = job.value || agent.value || tag.value || state.value || batch.value;
  const back = SINCES.find(([key]) => key === since.value)?.[1].toLowerCase() ?? "";
  const title = isFiltered ? "No run fits" : since.value === "all" ? "Nothing has run yet" : `Nothing ran in the last ${back.replace(/^1 /, "")}`;
  return (
    <Empty title={title}>
      <p>{isFiltered ? "Nothing of this kind ran in this span." : "Runs of every host appear here, whoever asked for them."}</p>
      {(isFiltered || since.value !== "all") && (
        <button type="button" onClick={() => setParams({ job: null, agent: null, tag: null, state: null, batch: null, since: "all" })}>
          Show all
        </button>
      )}
    </Empty>
  );
}

/** `without`: columns that say the same in every row. */
export function RunTable({ runs, without = [] }: { runs: Run[]; without?: ("job" | "host")[] }) {
  const isShown = (column: "job" | "host") => !without.includes(column);
  const box = useRef<HTMLDivElement>(null);
  const live = useLiveUse(box, runs);
  return (
    <div class="scroll" ref={box}>
      <table class="list dense runs">
        <thead>
          <tr>
            <th>Run</th>
            <th>State</th>
            {isShown("job") && <th>Job</th>}
            {isShown("host") && <th>Host</th>}
            <th>Began</th>
            <th class="num">Took</th>
            <th class="num">CPU</th>
            <th class="num">Memory, most</th>
            <th class="num">Waited</th>
            <th>Why</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <tr key={run.id + run.agent} class={isOver(run.state) || run.started_ms == null ? "" : "going-on"} data-run={run.id}>
              <td class="r-id">
                <a href={runLink(run.id)} class="mono">
                  {shortId(run.id)}
                </a>
              </td>
              <td class="run-cell">
                <RunStateText run={run} />
              </td>
              {isShown("job") && (
                <td class="p-name" title={jobName(run.job)}>
                  {jobName(run.job)}
                </td>
              )}
              {isShown("host") && <td class="nowrap cut r-host">{run.agent ? <a href={hostLink(run.agent)}>{run.agent}</a> : <span class="muted">whoever comes first</span>}</td>}
              <td class={`nowrap r-began ${run.started_ms == null ? "muted" : ""}`} title={beganText(run)}>
                {instant(run.started_ms ?? run.created_ms)}
              </td>
              <td class="num r-took">
                <Took run={run} nowMs={now()} />
              </td>
              {isOver(run.state) ? <Used run={run} /> : <UsedNow run={run} live={live} />}
              <td class="num r-waited">{run.started_ms != null ? waited(run) : isOver(run.state) ? "–" : span(now() - run.created_ms)}</td>
              <td class="muted cut run-why" title={run.asked_by}>
                {causeText(run.cause, run.asked_by)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Used({ run: { usage } }: { run: Run }) {
  const cpu = usage.cpu_user_seconds + usage.cpu_system_seconds;
  return (
    <>
      <td class="num" title={usage.source ? `${exact(cpu)} s` : undefined}>
        {usage.source ? seconds(cpu) : "–"}
      </td>
      <td class="num" title={usage.memory_peak_bytes > 0 ? `${exact(usage.memory_peak_bytes)} bytes` : undefined}>
        {usage.memory_peak_bytes > 0 ? bytes(usage.memory_peak_bytes) : "–"}
      </td>
    </>
  );
}

/** Of one that goes on: what it uses at this moment. */
function UsedNow({ run, live }: { run: Run; live: LiveUse }) {
  const use = live.of(run);
  const silence = live.silence(run);
  if (!use) {
    const why = silence ? `${run.agent} does not tell: ${silence}` : undefined;
    return (
      <>
        <td class="num" title={why}>
          –
        </td>
        <td class="num" title={why}>
          –
        </td>
      </>
    );
  }
  return (
    <>
      <td class="num" data-live="cpu" title={`${use.cpu_cores == null ? "" : `${exact(use.cpu_cores)} cores now, `}${exact(use.cpu_seconds)} s so far`}>
        {use.cpu_cores == null ? seconds(use.cpu_seconds) : <NowText text={readable("cores", use.cpu_cores)} unit={use.cpu_cores === 1 ? "core" : "cores"} />}
      </td>
      <td class="num" data-live="memory" title={`${exact(use.memory_bytes)} bytes now, ${exact(use.memory_peak_bytes)} at most so far`}>
        <NowText text={bytes(use.memory_bytes)} unit="now" />
      </td>
    </>
  );
}

function NowText({ text, unit }: { text: string; unit: string }) {
  return (
    <>
      <strong>{text}</strong> <span class="muted">{unit}</span>
    </>
  );
}

function waited(run: Run): string {
  const ms = (run.started_ms ?? 0) - Math.max(run.created_ms, run.due_ms ?? 0);
  return ms < 100 ? "–" : span(ms);
}
