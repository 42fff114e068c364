// What a run uses: CPU, memory, storage, and what it has to wait for. While it goes on from its samples of each second, afterwards from what
// they came to over each span of the clock, peaks kept.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { isAborted, now } from "../api/client";
import type { Run, RunSample, RunStats } from "../api/types";
import type { Drawn, Frame } from "../chart/frame";
import { Legend } from "../chart/legend";
import type { Unit } from "../chart/panels";
import { Plot } from "../chart/plot";
import { showSpan } from "../host/span";
import { useLoaded } from "../parts/loaded";
import { hostLink } from "../router";
import { runStats } from "./calls";
import { isOver } from "./outcome";

const EVERY_MS = 1_000;
/** Samples that the page holds. */
const N_SAMPLES_MAX = 7_200;
/** Of fewer a line cannot be drawn. */
const N_DRAWN_MIN = 3;

/** Its samples: what the agent still has, and those that come. */
export function useSamples(run: Run): RunSample[] {
  const samples = useSignal<RunSample[]>([]);
  const isGoingOn = useRef(true);
  isGoingOn.current = !isOver(run.state);
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const look = async () => {
      const wasGoingOn = isGoingOn.current;
      try {
        const found = document.hidden ? null : await runStats(run.id, abort.signal);
        const last = samples.peek().at(-1)?.time_ms ?? 0;
        const fresh = (found?.samples ?? []).filter((one) => one.time_ms > last);
        if (fresh.length > 0) samples.value = [...samples.peek(), ...fresh].slice(-N_SAMPLES_MAX);
      } catch (error) {
        if (isAborted(error)) return;
      }
      if (wasGoingOn) timer = window.setTimeout(look, EVERY_MS);
    };
    void look();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [run.id]);
  return samples.value;
}

interface Shown {
  title: string;
  unit: Unit;
  lines: [name: string, color: Drawn["color"], of: (at: RunSample, before: RunSample | undefined) => number | null][];
  shows?: Shows;
}

/** A chart that is there only if something of it is known, or only if that is more than nothing. */
type Shows = "known" | "used";

/** Whether there is a chart for them; lines of which nothing is known are left out. */
function worthShowing({ times, lines }: Frame, shows: Shows | undefined): Frame | null {
  if (!shows) return { times, lines };
  const known = lines.filter((line) => line.values.some((value) => (shows === "used" ? (value ?? 0) > 0 : value !== null)));
  return known.length > 0 ? { times, lines: known } : null;
}

const rate = (key: string) => (at: RunSample, before: RunSample | undefined) => {
  const [now, then, seconds] = [at[key], before?.[key], (at.time_ms - (before?.time_ms ?? 0)) / 1000];
  return now !== undefined && then !== undefined && seconds > 0 ? Math.max(0, now - then) / seconds : null;
};
/** What seems to be more than all of the time is the jitter of two clocks. */
const atMost = (unit: Unit, value: number) => (unit === "share" ? Math.min(1, value) : value);

const share = (key: string) => (at: RunSample, before: RunSample | undefined) => {
  const found = rate(key)(at, before);
  return found === null ? null : atMost("share", found);
};

const SHOWN: Shown[] = [
  { title: "CPU", unit: "cores", lines: [["", "blue", rate("cpu_seconds")]] },
  { title: "Memory", unit: "bytes", lines: [["", "teal", (at) => at.memory_bytes ?? null]] },
  { title: "Disk traffic", unit: "bytes/s", lines: [["read", "blue", rate("io_read_bytes")], ["written", "orange", rate("io_write_bytes")]] },
  {
    title: "Network",
    unit: "bytes/s",
    lines: [["in", "blue", rate("net_received_bytes")], ["out", "orange", rate("net_sent_bytes")]],
    shows: "known",
  },
  { title: "Processes", unit: "count", lines: [["processes", "blue", (at) => at.processes ?? null], ["threads", "green", (at) => at.threads ?? null]] },
  {
    title: "Waiting (PSI)",
    unit: "share",
    lines: [["CPU", "blue", share("cpu_stalled_seconds")], ["memory", "purple", share("memory_stalled_seconds")], ["disks", "orange", share("io_stalled_seconds")]],
    shows: "known",
  },
  { title: "Swap", unit: "bytes", lines: [["", "purple", (at) => at.swap_bytes ?? null]], shows: "used" },
];

export function RunCharts({ run, samples }: { run: Run; samples: RunSample[] }) {
  const drawn = useMemo(
    () =>
      SHOWN.flatMap(({ title, unit, lines, shows }): Chart[] => {
        const all = lines.map(([name, color, of]): Drawn => ({ name, color, values: samples.map((one, index) => of(one, samples[index - 1])) }));
        const frame = worthShowing({ times: samples.map((one) => one.time_ms / 1000), lines: all }, shows);
        return frame ? [{ title, unit, frame }] : [];
      }),
    [samples],
  );
  if (samples.length < N_DRAWN_MIN) return isOver(run.state) ? <Past run={run} /> : null;
  return <Charts charts={drawn} fromMs={Math.max(run.started_ms ?? 0, samples[0]!.time_ms)} toMs={isOver(run.state) ? samples.at(-1)!.time_ms : Math.max(now(), samples.at(-1)!.time_ms)} />;
}

interface Chart {
  title: string;
  unit: Unit;
  frame: Frame;
}

function Charts({ charts, fromMs, toMs }: { charts: Chart[]; fromMs: number; toMs: number }) {
  const pointer = useSignal<number | null>(null);
  return (
    <div class={`run-charts ${charts.length > 4 ? "many" : ""}`}>
      {charts.map(({ title, unit, frame }) => (
        <section key={title} class="panel chart" aria-label={title}>
          <header>
            <h3>{title}</h3>
            <Legend frame={frame} unit={unit} pointer={pointer} />
          </header>
          <Plot
            title={title}
            panel={{ unit }}
            frame={frame}
            fromMs={fromMs}
            toMs={toMs}
            height={96}
            pointer={pointer}
            onZoom={showSpan}
          />
        </section>
      ))}
    </div>
  );
}

/** By what keys its spans tell the same. */
const KEYS: { title: string; unit: Unit; keys: [key: string, name: string, color: Drawn["color"]][]; shows: Shows }[] = [
  { title: "CPU", unit: "cores", keys: [["cpu_cores", "mean", "blue"]], shows: "known" },
  { title: "Memory", unit: "bytes", keys: [["memory_bytes", "mean", "teal"]], shows: "known" },
  { title: "Disk traffic", unit: "bytes/s", keys: [["read_bytes_per_second", "read", "blue"], ["written_bytes_per_second", "written", "orange"]], shows: "known" },
  { title: "Network", unit: "bytes/s", keys: [["received_bytes_per_second", "in", "blue"], ["sent_bytes_per_second", "out", "orange"]], shows: "known" },
  { title: "Processes", unit: "count", keys: [["processes", "processes", "blue"], ["threads", "threads", "green"]], shows: "known" },
  {
    title: "Waiting (PSI)",
    unit: "share",
    keys: [["cpu_stalled_share", "CPU", "blue"], ["memory_stalled_share", "memory", "purple"], ["io_stalled_share", "disks", "orange"]],
    shows: "known",
  },
  { title: "Swap", unit: "bytes", keys: [["swap_bytes", "mean", "purple"]], shows: "used" },
];

type Interval = RunStats["intervals"][number];
type Stat = Interval["values"][string];

function columnOf(intervals: Interval[], keys: string[], pick: (stat: Stat) => number): (number | null)[] {
  return intervals.map(({ values }) => {
    const found = keys.map((key) => values[key]).filter((stat) => stat !== undefined && stat.count > 0) as Stat[];
    return found.length > 0 ? Math.max(...found.map(pick)) : null;
  });
}

/** What its spans came to: means, and of those of a chart the highest within each span. */
function pastCharts(intervals: Interval[]): Chart[] {
  const times = intervals.map((one) => one.from_ms / 1000);
  return KEYS.flatMap(({ title, unit, keys, shows }): Chart[] => {
    const means = keys.map(([key, name, color]): Drawn => ({ name, color, values: columnOf(intervals, [key], (stat) => atMost(unit, stat.sum / stat.count)) }));
    const frame = worthShowing({ times, lines: means }, shows);
    if (!frame) return [];
    const highest = columnOf(intervals, keys.map(([key]) => key), (stat) => atMost(unit, stat.max));
    return [{ title, unit, frame: { times, lines: [...frame.lines, { name: "highest", color: "ink", values: highest, isPeak: true }] } }];
  });
}


/** Of a run that is over: what its samples came to, a span after the other; of its host everything is there. */
function Past({ run }: { run: Run }) {
  const { data } = useLoaded(run.id, 0, (abort) => runStats(run.id, abort));
  const [from, to] = [run.started_ms ?? run.created_ms, run.ended_ms ?? now()];
  const margin = Math.max(15_000, (to - from) * 0.25);
  const intervals = data.value?.intervals ?? [];
  const charts = useMemo(() => pastCharts(intervals), [data.value]);
  if (!data.value) return null;
  if (intervals.length >= N_DRAWN_MIN && charts.length > 0) {
    return <Charts charts={charts} fromMs={intervals[0]!.from_ms} toMs={intervals.at(-1)!.from_ms} />;
  }
  if (!run.agent) return null;
  return (
    <p class="gaps">
      <span>
        It was too short for charts of its own; <a href={hostLink(run.agent, { from: String(Math.floor(from - margin)), to: String(Math.ceil(to + margin)) })}>the charts of {run.agent}</a>{" "}
        show what the host did meanwhile.
      </span>
    </p>
  );
}
