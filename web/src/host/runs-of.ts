// The runs of a host in a span: those that began in it, and those that went on from before.
import { useRef } from "preact/hooks";
import { get, now } from "../api/client";
import type { Run, RunList, RunStats } from "../api/types";
import { isOver } from "../jobs/outcome";
import { useLoaded } from "../parts/loaded";
import type { Span } from "./span";

/** The most of them: of more only the newest are shown. */
const N_RUNS_MAX = 400;
/** A run that began longer before the span than the span is long is found only if it still goes on; and in any
 * case one that began so long before. */
const BEFORE_MS_MAX = 6 * 3_600_000;
/** While a span goes on only what was accepted since the newest known run is asked for, and so much before it. */
const AGAIN_MS = 30_000;
/** Going on, of which it is asked what they have used so far, or what became of them. */
const N_ASKED_MAX = 8;

export interface RunsOf {
  runs: Run[];
  /** There were more than are here. */
  isCut: boolean;
}

export function useRunsOf(agent: string, asked: Span): RunsOf {
  const known = useRef<{ of: string; runs: Map<string, Run>; isCut: boolean }>({ of: "", runs: new Map(), isCut: false });
  const [from, to] = [Math.floor(asked.fromMs), Math.ceil(asked.toMs)];
  const of = `${agent} ${asked.last ?? `${from} ${to}`}`;
  const { data } = useLoaded<RunsOf>(`runs ${agent} ${from} ${to}`, 0, async (abort) => {
    const before = known.current.of === of ? known.current : { of, runs: new Map<string, Run>(), isCut: false };
    const newest = Math.max(0, ...[...before.runs.values()].map((run) => run.created_ms));
    const since = newest > 0 ? newest - AGAIN_MS : from - Math.min(BEFORE_MS_MAX, to - from);
    const wish = new URLSearchParams({ agent, since: String(since), limit: String(N_RUNS_MAX) });
    // Behind this place of the list lies what was accepted before the end of the span.
    if (to < now() - 60_000) wish.set("after", `${to}-0`);
    const going = new URLSearchParams({ agent, state: "running,stopping,starting", limit: "100" });
    const [page, active] = await Promise.all([
      get<RunList>(`/api/v1/runs?${wish.toString()}`, abort),
      get<RunList>(`/api/v1/runs?${going.toString()}`, abort),
    ]);
    const fresh = new Map([...page.runs, ...active.runs].map((run) => [run.id, run]));
    const ended = [...before.runs.values()].filter((run) => !isOver(run.state) && !fresh.has(run.id)).slice(0, N_ASKED_MAX);
    for (const run of await Promise.all(ended.map((run) => get<Run>(`/api/v1/runs/${encodeURIComponent(run.id)}`, abort)))) fresh.set(run.id, run);
    const all = new Map([...before.runs, ...fresh]);
    for (const [id, run] of all) if (run.started_ms == null || run.started_ms >= to || (run.ended_ms ?? now()) <= from) all.delete(id);
    await Promise.all([...all.values()].filter((run) => !isOver(run.state)).slice(0, N_ASKED_MAX).map((run) => soFar(run, abort)));
    const isCut = before.isCut || (page.next != null && (page.runs.at(-1)?.created_ms ?? 0) > from);
    known.current = { of, runs: all, isCut };
    return { runs: [...all.values()], isCut };
  });
  return data.value ?? { runs: [], isCut: false };
}

/** What it has used so far: its record says so at its end only. */
async function soFar(run: Run, abort: AbortSignal): Promise<void> {
  const stats = await get<RunStats>(`/api/v1/runs/${encodeURIComponent(run.id)}/stats`, abort).catch(() => null);
  const last = stats?.samples.at(-1);
  if (!last) return;
  run.usage = {
    ...run.usage,
    cpu_user_seconds: last.cpu_seconds ?? 0,
    cpu_system_seconds: 0,
    memory_peak_bytes: Math.max(...stats!.samples.map((one) => one.memory_bytes ?? 0)),
    io_read_bytes: last.io_read_bytes ?? 0,
    io_write_bytes: last.io_write_bytes ?? 0,
  };
}

/** The part of a run that lies in a span, 0 to 1. */
export function partWithin(run: Run, fromMs: number, toMs: number): number {
  const [began, ended] = [run.started_ms ?? 0, run.ended_ms ?? now()];
  if (ended <= began) return began >= fromMs && began < toMs ? 1 : 0;
  return Math.max(0, Math.min(ended, toMs) - Math.max(began, fromMs)) / (ended - began);
}
