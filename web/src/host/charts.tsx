// All charts of a host over one span, and beside them who did it.
import { useSignal, type Signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { get, isAborted, now, UNREACHED, words } from "../api/client";
import type { Agent, Coverage, Events } from "../api/types";
import { clock, exactInstant, span as spanText } from "../format";
import { joined, upTo, within, type Frame } from "../chart/frame";
import { history, intervalOf, stepOf, type Subject } from "../chart/history";
import { Legend } from "../chart/legend";
import { Live } from "../chart/live";
import { PANELS, type Panel } from "../chart/panels";
import { Plot, type Stretch } from "../chart/plot";
import { useLoaded } from "../parts/loaded";
import { Problem } from "../parts/messages";
import { params, setParams } from "../router";
import { Blamed } from "./blamed";
import { RunLane } from "./run-lane";
import { useRunsOf } from "./runs-of";
import { COMPARED, SpanBar } from "./span-bar";
import { isFollowed, showSpan, spanAt, type Span } from "./span";

/** What is stored is asked for again so often while the span goes on, milliseconds; less often where each
 * tick is drawn as it comes, and of long spans. */
const AGAIN_MS = 10_000;
const AGAIN_FOLLOWED_MS = 30_000;
const AGAIN_PARTS = 300;
/** Who did it is added up anew less often: it goes through all tables of the span. */
const BLAME_AGAIN_PARTS = 90;
/** What was sampled since then is on its way: a window of ten seconds is sealed first. */
const ON_THE_WAY_MS = 25_000;

/** The span of which the list of agents tells the coverage; a younger agent says how long it is there. */
const DAY_MS = 86_000_000;
/** What it says may be off by so much. */
const BEGUN_MS = 60_000;

export function Charts({ agent, instance }: { agent: Agent; instance: string }) {
  const live = useMemo(() => new Live(agent.name), [agent.name]);
  useEffect(() => () => live.close(), [live]);
  const pointer = useSignal<number | null>(null);
  const interval = useSignal<number | null>(null);
  // The right edge of a span that goes on: the newest tick, or the clock where there are none.
  const edge = useSignal(now());
  useEffect(() => {
    const abort = new AbortController();
    const at = spanAt(now()).toMs;
    intervalOf(instance, Math.min(at, agent.newest_ms ?? at), abort.signal).then(
      (found) => (interval.value = found),
      (error: unknown) => {
        if (!isAborted(error)) interval.value = 1;
      },
    );
    const timer = window.setInterval(() => {
      if (document.hidden) return;
      const newest = live.edge.peek() * 1000;
      if (now() - newest > 3_000) edge.value = now();
    }, 1_000);
    const unwatch = live.edge.subscribe((at) => {
      if (at > 0) edge.value = at * 1000;
    });
    return () => {
      abort.abort();
      window.clearInterval(timer);
      unwatch();
    };
  }, [live, instance]);
  const span = spanAt(edge.value);
  const width = span.toMs - span.fromMs;
  const again = Math.max(isFollowed.value ? AGAIN_FOLLOWED_MS : AGAIN_MS, width / AGAIN_PARTS);
  const asked = useAsked(span, useTurns(span.last, again));
  const blamed = useAsked(span, useTurns(span.last, Math.max(isFollowed.value ? AGAIN_FOLLOWED_MS : AGAIN_MS, width / BLAME_AGAIN_PARTS)));
  const runs = useRunsOf(agent.name, useAsked(span, useTurns(span.last, Math.max(AGAIN_MS, width / AGAIN_PARTS))));
  const notes = useNotes(agent, useAsked(span, useTurns(span.last, Math.max(AGAIN_MS, width / AGAIN_PARTS))));
  return (
    <div class="host-grid">
      <section class="charts" aria-label="Charts">
        <h2 class="hidden">Charts</h2>
        <div class="charts-bar">
          <SpanBar />
          <Moment />
          <Where span={span} pointer={pointer} live={live} />
        </div>
        <Gaps stretches={notes.stretches} />
        <RunLane name={agent.name} of={runs} span={span} pointer={pointer} />
        <div class="panels">
          {PANELS.map((panel) => (
            <PanelBox
              key={panel.id}
              panel={panel}
              subject={{ instance, interval: interval.value ?? 0 }}
              span={span}
              asked={asked}
              live={live}
              pointer={pointer}
              stretches={notes.stretches}
              marks={notes.marks}
            />
          ))}
        </div>
      </section>
      <aside class="aside">
        <Blamed name={agent.name} span={blamed} runs={runs.runs} isFollowed={span.last !== null} />
      </aside>
    </div>
  );
}

/** Counts while a span goes on and is looked at: early once, for the ticks before the page was opened are
 * stored by then, and every so many milliseconds from then on. */
function useTurns(last: string | null, every: number): number {
  const turn = useSignal(0);
  useEffect(() => {
    if (last === null) return undefined;
    const count = () => {
      if (!document.hidden) turn.value += 1;
    };
    const early = window.setTimeout(count, AGAIN_MS);
    const timer = window.setInterval(count, every);
    return () => {
      window.clearTimeout(early);
      window.clearInterval(timer);
    };
  }, [last, every]);
  return turn.value;
}

/** The span as it is asked for: of one that goes on it changes with each turn only. */
function useAsked(span: Span, turn: number): Span {
  const key = span.last === null ? `${span.fromMs} ${span.toMs}` : `${span.last} ${turn}`;
  return useMemo(() => (span.last === null ? span : { ...spanAt(now()) }), [key]);
}

/** Gaps in what is stored, and what happened to the agent. */
function useNotes({ name, coverage: known }: Agent, asked: Span): { stretches: Stretch[]; marks: number[] } {
  const width = asked.toMs - asked.fromMs;
  const from = Math.floor(asked.fromMs - width * 0.02);
  const to = Math.ceil(asked.toMs);
  const { data } = useLoaded(`${name} ${from} ${to}`, 0, async (abort) => {
    const where = `from=${from}&to=${to}`;
    const [coverage, events] = await Promise.all([
      get<Coverage>(`/api/v1/coverage?agent=${encodeURIComponent(name)}&${where}`, abort),
      get<Events>(`/api/v1/agents/${encodeURIComponent(name)}/events?${where}`, abort),
    ]);
    const fresh = now() - ON_THE_WAY_MS;
    // Before its first sample nothing is missing: there was no agent.
    const begun = known.of_ms < DAY_MS ? now() - ON_THE_WAY_MS - known.of_ms : 0;
    const [first] = coverage.stretches;
    const isBefore = first !== undefined && Math.abs(first.to_ms - begun) < BEGUN_MS;
    const isGap = (one: Coverage["stretches"][number]) =>
      one.coverage !== "whole" && !(one.coverage === "unknown" && one.from_ms > fresh) && !(isBefore && one === first);
    const stretches = coverage.stretches.filter(isGap);
    const marks = events.events.filter((event) => event.kind !== "gap").map((event) => event.time_ms);
    return { stretches: stretches as Stretch[], marks };
  });
  return data.value ?? { stretches: [], marks: [] };
}

/** The moment that was clicked at leads to the processes of then. */
function Moment() {
  const at = Number(params.value.get("at")) || 0;
  if (at === 0) return null;
  return (
    <span class="segments">
      <button type="button" title={exactInstant(at)} onClick={() => setParams({ tab: "processes" }, "push")}>
        Processes at {clock(at)}
      </button>
      <button type="button" aria-label="No moment" onClick={() => setParams({ at: null })}>
        ×
      </button>
    </span>
  );
}

/** Where the pointer is; whether ticks come. */
function Where({ span, pointer, live }: { span: Span; pointer: Signal<number | null>; live: Live }) {
  const isLive = span.last !== null && live.isUp.value && live.edge.value > 0;
  return (
    <span class="where num" role="status">
      {pointer.value !== null ? (
        <span title={exactInstant(pointer.value * 1000)}>{clock(pointer.value * 1000)}</span>
      ) : isLive ? (
        <span class="ok">● Live</span>
      ) : (
        <span class="muted">{span.last === null ? "Stays" : "No ticks come"}</span>
      )}
    </span>
  );
}

function Gaps({ stretches }: { stretches: Stretch[] }) {
  const missing = stretches.filter((one) => one.coverage === "missing");
  const unknown = stretches.filter((one) => one.coverage === "unknown");
  const sum = (some: Stretch[]) => spanText(some.reduce((all, one) => all + one.to_ms - one.from_ms, 0));
  if (missing.length + unknown.length === 0) return null;
  return (
    <p class="gaps" data-missing={missing.length} data-unknown={unknown.length}>
      {missing.length > 0 && (
        <span>
          <i class="hatch missing" /> {sum(missing)} missing: nothing was measured, and nothing will come
        </span>
      )}
      {unknown.length > 0 && (
        <span>
          <i class="hatch unknown" /> {sum(unknown)} unknown: the agent may still send it
        </span>
      )}
    </p>
  );
}

interface BoxProps {
  panel: Panel;
  subject: Subject;
  span: Span;
  asked: Span;
  live: Live;
  pointer: Signal<number | null>;
  stretches: Stretch[];
  marks: number[];
}

const NOTHING: Frame = { times: [], lines: [] };

function PanelBox(props: BoxProps) {
  const { panel, subject, span, asked, live, pointer } = props;
  const own = useRef<HTMLElement>(null);
  const isSeen = useSignal(false);
  const stored = useSignal<Frame | null>(null);
  const problem = useSignal("");
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => (isSeen.value = entry?.isIntersecting ?? false), { rootMargin: "200px" });
    observer.observe(own.current!);
    return () => observer.disconnect();
  }, []);
  const width = asked.toMs - asked.fromMs;
  // Another span, not its going on: what was asked for before is of no use.
  const key = `${subject.instance} ${subject.interval} ${asked.last ?? `${asked.fromMs} ${asked.toMs}`}`;
  const keyOfStored = useRef("");
  // At once, and not after the frame that shows the new span: it takes a while to be answered.
  useLayoutEffect(() => {
    if (!isSeen.value || subject.interval === 0) return;
    const isOther = keyOfStored.current !== key;
    const abort = new AbortController();
    const known = isOther ? null : stored.peek();
    const step = stepOf(asked, subject.interval);
    // Only what is new, and some of what was there: stored samples come late.
    const fromMs = known && known.times.length > 0 ? Math.max(asked.fromMs, known.times.at(-1)! * 1000 - Math.max(60_000, 5 * step * 1000)) : asked.fromMs;
    history(panel, subject, { fromMs, toMs: fromMs === asked.fromMs ? asked.toMs : fromMs + Math.max(width, 1) }, abort.signal).then(
      (frame) => {
        const upTo = asked.toMs / 1000;
        const fresh = within(frame, 0, upTo);
        const whole = known ? joined(known, fresh) : fresh;
        stored.value = within(whole, asked.fromMs / 1000, upTo);
        keyOfStored.current = key;
        problem.value = "";
      },
      (error: unknown) => {
        if (!isAborted(error)) problem.value = words(error);
      },
    );
    return () => abort.abort();
  }, [key, asked, isSeen.value]);
  const other = useOther(panel, subject, asked, isSeen.value);
  const frame = useShown(stored.value, span, live, panel);
  const isEmpty = stored.value !== null && frame.lines.length === 0;
  return (
    <section ref={own} class={`panel chart ${isEmpty ? "without" : ""}`} data-panel={panel.id} aria-label={panel.title}>
      <header>
        <h3>{panel.title}</h3>
        <Legend frame={frame} unit={panel.unit} pointer={pointer} other={other ? `${other.lines.length > 0 ? "" : "nothing "}${comparedWith()}` : undefined} />
      </header>
      {problem.value && !(problem.value === UNREACHED && (stored.value || frame.times.length > 0)) ? (
        <Problem text={problem.value} />
      ) : isEmpty ? (
        <p class="nothing muted">Not measured on this host in this span</p>
      ) : (
        <Plot
          title={panel.title}
          panel={panel}
          frame={frame}
          other={other}
          fromMs={span.fromMs}
          toMs={span.toMs}
          stretches={props.stretches}
          marks={props.marks}
          moment={Number(params.value.get("at")) || null}
          pointer={pointer}
          onZoom={showSpan}
          onMoment={(at) => setParams({ at: String(at) })}
        />
      )}
    </section>
  );
}

/** What is stored, and after it the ticks that came since. */
function useShown(stored: Frame | null, span: Span, live: Live, panel: Panel): Frame {
  const edge = span.last !== null && isFollowed.value ? live.edge.value : 0;
  return useMemo(() => {
    const base = stored ?? NOTHING;
    if (edge === 0) return base;
    const ticks = live.frame(panel.id);
    const known = lastOf(base);
    const after = within({ times: ticks.times, lines: ticks.lines }, known + 0.001, Infinity);
    const begins = after.times.findIndex((time) => time > known);
    if (begins < 0) return within(base, span.fromMs / 1000, span.toMs / 1000);
    const tail = { times: after.times.slice(begins), lines: after.lines.map((line) => ({ ...line, values: line.values.slice(begins) })) };
    // What was measured before the page was opened is on its way to the store; until it is there the line
    // goes straight over these few seconds.
    const isOnItsWay = tail.times[0]! - known <= ON_THE_WAY_MS / 1000;
    return within(joined(isOnItsWay ? upTo(base, known) : base, tail), span.fromMs / 1000, span.toMs / 1000);
  }, [stored, edge, span.last === null ? span.fromMs : 0, span.last]);
}

/** The last instant of which all is stored that still comes: sources are asked one after the other, and a
 * window may have come between two of them. */
function lastOf(frame: Frame): number {
  const lasts = frame.lines.filter((line) => !line.isPeak).map((line) => frame.times[line.values.findLastIndex((value) => value !== null)] ?? 0);
  const newest = Math.max(0, ...lasts);
  return Math.min(newest, ...lasts.filter((last) => last >= newest - ON_THE_WAY_MS / 1000));
}

/** What the dashed lines are. */
function comparedWith(): string {
  return params.value.get("compare") === "7d" ? "last week" : "yesterday";
}

/** The same span of yesterday or last week, moved here. */
function useOther(panel: Panel, subject: Subject, asked: Span, isSeen: boolean): Frame | null {
  const compared = COMPARED.find(([value]) => value === (params.value.get("compare") ?? ""));
  const back = compared?.[2] ?? 0;
  const key = back && isSeen && subject.interval > 0 ? `${back} ${asked.fromMs}` : "";
  const { data } = useLoaded<Frame | null>(`${panel.id} ${subject.instance} ${key}`, 0, async (abort) => {
    if (!key) return null;
    const frame = await history(panel, subject, { fromMs: asked.fromMs - back, toMs: asked.toMs - back }, abort);
    return { times: frame.times.map((time) => time + back / 1000), lines: frame.lines };
  });
  return back ? data.value : null;
}
