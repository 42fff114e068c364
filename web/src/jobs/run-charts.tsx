// What a run uses: CPU, memory, storage, and what it has to wait for. While it goes on from its samples of each
// second, and from what they came to over spans of the clock.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { isAborted, now } from "../api/client";
import type { Run, RunSample } from "../api/types";
import type { Drawn } from "../chart/frame";
import type { Unit } from "../chart/panels";
import { params, setParams } from "../router";
import { runSamples } from "./calls";
import { atMost, type Chart, Charts, N_DRAWN_MIN, type Shows, worthShowing } from "./charts";
import { isOver } from "./outcome";
import { PastCharts } from "./past-charts";

const EVERY_MS = 1_000;
/** Samples that the page holds. */
const N_SAMPLES_MAX = 7_200;
/** Its oldest sample is further behind its beginning: agents keep those of five minutes, and none when they start anew. */
const LATE_MS = 5_000;

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
        const last = samples.peek().at(-1)?.time_ms ?? 0;
        const found = document.hidden ? null : await runSamples(run.id, last, abort.signal);
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

const rate = (key: string) => (at: RunSample, before: RunSample | undefined) => {
  const [now, then, seconds] = [at[key], before?.[key], (at.time_ms - (before?.time_ms ?? 0)) / 1000];
  return now !== undefined && then !== undefined && seconds > 0 ? Math.max(0, now - then) / seconds : null;
};

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
  if (samples.length < N_DRAWN_MIN) return isOver(run.state) ? <PastCharts run={run} /> : null;
  const isLate = samples[0]!.time_ms - (run.started_ms ?? 0) > LATE_MS;
  const isWhole = isLate && params.value.get("charts") === "whole";
  return (
    <>
      {isLate && (
        <div class="segments" role="group" aria-label="Charts of">
          <button type="button" aria-pressed={!isWhole} onClick={() => setParams({ charts: null })}>
            The last minutes
          </button>
          <button type="button" aria-pressed={isWhole} onClick={() => setParams({ charts: "whole" })}>
            The whole run
          </button>
        </div>
      )}
      {isWhole ? <PastCharts run={run} /> : <LiveCharts run={run} samples={samples} />}
    </>
  );
}

function LiveCharts({ run, samples }: { run: Run; samples: RunSample[] }) {
  const charts = useMemo(
    () =>
      SHOWN.flatMap(({ title, unit, lines, shows }): Chart[] => {
        const all = lines.map(([name, color, of]): Drawn => ({ name, color, values: samples.map((one, index) => of(one, samples[index - 1])) }));
        const frame = worthShowing({ times: samples.map((one) => one.time_ms / 1000), lines: all }, shows);
        return frame ? [{ title, unit, frame }] : [];
      }),
    [samples],
  );
  const [first, last] = [samples[0]!.time_ms, samples.at(-1)!.time_ms];
  return <Charts charts={charts} host={run.agent} fromMs={Math.max(run.started_ms ?? 0, first)} toMs={isOver(run.state) ? last : Math.max(now(), last)} />;
}
