// What a run uses: CPU, memory, storage. While it goes on from its samples of each second, afterwards from what
// they came to over each span of the clock, peaks kept.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { isAborted, now } from "../api/client";
import type { Run, RunSample } from "../api/types";
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
}

const rate = (key: string) => (at: RunSample, before: RunSample | undefined) => {
  if (!before) return null;
  const [now, then, seconds] = [at[key] ?? 0, before[key] ?? 0, (at.time_ms - before.time_ms) / 1000];
  return seconds > 0 ? Math.max(0, now - then) / seconds : null;
};

const SHOWN: Shown[] = [
  { title: "CPU", unit: "cores", lines: [["", "blue", rate("cpu_seconds")]] },
  { title: "Memory", unit: "bytes", lines: [["", "teal", (at) => at.memory_bytes ?? null]] },
  { title: "Disk traffic", unit: "bytes/s", lines: [["read", "blue", rate("io_read_bytes")], ["written", "orange", rate("io_write_bytes")]] },
  { title: "Processes", unit: "count", lines: [["processes", "blue", (at) => at.processes ?? null], ["threads", "green", (at) => at.threads ?? null]] },
];

export function RunCharts({ run, samples }: { run: Run; samples: RunSample[] }) {
  const frames = useMemo(
    () =>
      SHOWN.map(({ lines }): Frame => ({
        times: samples.map((one) => one.time_ms / 1000),
        lines: lines.map(([name, color, of]) => ({ name, color, values: samples.map((one, index) => of(one, samples[index - 1])) })),
      })),
    [samples],
  );
  if (samples.length < N_DRAWN_MIN) return isOver(run.state) ? <Past run={run} /> : null;
  return <Charts frames={frames} shown={SHOWN} fromMs={Math.max(run.started_ms ?? 0, samples[0]!.time_ms)} toMs={isOver(run.state) ? samples.at(-1)!.time_ms : Math.max(now(), samples.at(-1)!.time_ms)} />;
}

function Charts({ frames, shown, fromMs, toMs }: { frames: Frame[]; shown: { title: string; unit: Unit }[]; fromMs: number; toMs: number }) {
  const pointer = useSignal<number | null>(null);
  return (
    <div class="run-charts">
      {shown.map((one, index) => (
        <section key={one.title} class="panel chart" aria-label={one.title}>
          <header>
            <h3>{one.title}</h3>
            <Legend frame={frames[index]!} unit={one.unit} pointer={pointer} />
          </header>
          <Plot
            title={one.title}
            panel={{ unit: one.unit }}
            frame={frames[index]!}
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
const KEYS: { title: string; unit: Unit; keys: [key: string, name: string, color: Drawn["color"]][] }[] = [
  { title: "CPU", unit: "cores", keys: [["cpu_cores", "mean", "blue"]] },
  { title: "Memory", unit: "bytes", keys: [["memory_bytes", "mean", "teal"]] },
  { title: "Disk traffic", unit: "bytes/s", keys: [["read_bytes_per_second", "read", "blue"], ["written_bytes_per_second", "written", "orange"]] },
  { title: "Processes", unit: "count", keys: [["processes", "processes", "blue"], ["threads", "threads", "green"]] },
];

/** Of a run that is over: what its samples came to, a span after the other; of its host everything is there. */
function Past({ run }: { run: Run }) {
  const { data } = useLoaded(run.id, 0, (abort) => runStats(run.id, abort));
  const [from, to] = [run.started_ms ?? run.created_ms, run.ended_ms ?? now()];
  const margin = Math.max(15_000, (to - from) * 0.25);
  const intervals = data.value?.intervals ?? [];
  const shown = KEYS.filter(({ keys }) => intervals.some((one) => keys.some(([key]) => one.values[key] !== undefined)));
  if (intervals.length >= N_DRAWN_MIN && shown.length > 0) {
    const frames = shown.map(({ keys }): Frame => {
      const of = (key: string, pick: (stat: { sum: number; count: number; max: number }) => number) =>
        intervals.map((one) => {
          const stat = one.values[key];
          return stat && stat.count > 0 ? pick(stat) : null;
        });
      const means = keys.map(([key, name, color]): Drawn => ({ name, color, values: of(key, (stat) => stat.sum / stat.count) }));
      const [only, ...others] = keys;
      const peak = only && others.length === 0 ? [{ name: "highest", color: "ink" as const, values: of(only[0], (stat) => stat.max), isPeak: true }] : [];
      return { times: intervals.map((one) => one.from_ms / 1000), lines: [...means, ...peak] };
    });
    return <Charts frames={frames} shown={shown} fromMs={intervals[0]!.from_ms} toMs={intervals.at(-1)!.from_ms} />;
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
