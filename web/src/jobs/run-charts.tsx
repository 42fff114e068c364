// What a run uses while it goes on: CPU, memory, storage, from its samples of each second.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { isAborted, now } from "../api/client";
import type { Run, RunSample } from "../api/types";
import type { Drawn, Frame } from "../chart/frame";
import { Legend } from "../chart/legend";
import type { Unit } from "../chart/panels";
import { Plot } from "../chart/plot";
import { showSpan } from "../host/span";
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
  const pointer = useSignal<number | null>(null);
  const frames = useMemo(
    () =>
      SHOWN.map(({ lines }): Frame => ({
        times: samples.map((one) => one.time_ms / 1000),
        lines: lines.map(([name, color, of]) => ({ name, color, values: samples.map((one, index) => of(one, samples[index - 1])) })),
      })),
    [samples],
  );
  if (samples.length < N_DRAWN_MIN) return isOver(run.state) ? <Past run={run} /> : null;
  const fromMs = Math.max(run.started_ms ?? 0, samples[0]!.time_ms);
  const toMs = isOver(run.state) ? samples.at(-1)!.time_ms : Math.max(now(), samples.at(-1)!.time_ms);
  return (
    <div class="run-charts">
      {SHOWN.map((one, index) => (
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

/** Each second of it is kept as long as it goes on; of its host everything is. */
function Past({ run }: { run: Run }) {
  const [from, to] = [run.started_ms ?? run.created_ms, run.ended_ms ?? now()];
  const margin = Math.max(15_000, (to - from) * 0.25);
  if (!run.agent) return null;
  return (
    <p class="gaps">
      <span>
        Its own samples went with its end; <a href={hostLink(run.agent, { from: String(Math.floor(from - margin)), to: String(Math.ceil(to + margin)) })}>the charts of {run.agent}</a>{" "}
        show what the host did meanwhile.
      </span>
    </p>
  );
}
