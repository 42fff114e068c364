// What a run used from its beginning, or as far back as its host keeps that: means over spans of the clock, peaks kept.
import { useMemo } from "preact/hooks";
import type { Run, RunStats } from "../api/types";
import type { Drawn } from "../chart/frame";
import type { Unit } from "../chart/panels";
import { clock } from "../format";
import { useLoaded } from "../parts/loaded";
import { Problem } from "../parts/messages";
import { hostLink } from "../router";
import { runStats } from "./calls";
import { atMost, type Chart, Charts, N_DRAWN_MIN, type Shows, worthShowing } from "./charts";
import { around } from "./links";
import { isOver } from "./outcome";

/** Spans are a minute, or what the job says. */
const EVERY_MS = 60_000;

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

/** Lines break off where nobody measured: its agent was not there. */
function withHoles(intervals: Interval[]): Interval[] {
  const steps = intervals.slice(1).map((one, index) => one.from_ms - intervals[index]!.from_ms);
  const step = Math.min(...steps);
  return intervals.flatMap((one, index) => {
    const isBehindHole = index > 0 && steps[index - 1]! > 2.5 * step;
    return isBehindHole ? [{ ...one, from_ms: intervals[index - 1]!.from_ms + step, values: {} }, one] : [one];
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

/** Its newest spans, looked up anew while it goes on; of its host everything is there. */
export function PastCharts({ run }: { run: Run }) {
  const { data, problem } = useLoaded(`${run.id} ${isOver(run.state)}`, isOver(run.state) ? 0 : EVERY_MS, (abort) => runStats(run.id, abort));
  const charts = useMemo(() => pastCharts(withHoles(data.value?.intervals ?? [])), [data.value]);
  if (!data.value) return <Problem text={problem.value} />;
  const { intervals } = data.value;
  const [first, last] = [intervals[0]?.from_ms ?? 0, intervals.at(-1)?.from_ms ?? 0];
  if (intervals.length < N_DRAWN_MIN || charts.length === 0) {
    return isOver(run.state) ? <OfHost run={run} why="It was too short for charts of its own" /> : <OfHost run={run} why="It goes on for too short a time to be charted by spans of the clock" />;
  }
  const isCutOff = first - (run.started_ms ?? first) > (2 * (last - first)) / (intervals.length - 1);
  return (
    <>
      <Charts charts={charts} host={run.agent} fromMs={first} toMs={last} />
      {isCutOff && <OfHost run={run} why={`What it used before ${clock(first)} is no longer kept`} />}
    </>
  );
}

/** Where more is to be seen. */
function OfHost({ run, why }: { run: Run; why: string }) {
  if (!run.agent) return null;
  return (
    <p class="gaps">
      <span>
        {why}; <a href={hostLink(run.agent, around(run))}>the charts of {run.agent}</a> show what the host did meanwhile.
      </span>
    </p>
  );
}
