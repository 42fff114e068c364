// The last runs of a job as bars: as high as they took long, coloured by how they ended.
import type { Run } from "../api/types";
import { instant, percent, seconds } from "../format";
import { isOver, lookOf, tookMs, wordOf } from "./outcome";
import { runLink } from "./links";

/** What a bar needs to know of a run. */
export type Bar = Pick<Run, "id" | "state" | "created_ms" | "started_ms" | "ended_ms" | "took_ms">;

export const N_BARS = 30;
const STEP = 6;
const WIDTH = 4;

/** Shares of succeeded runs among those that are over. */
export function successShare(runs: Bar[]): number | null {
  const over = runs.filter((run) => isOver(run.state) && run.state !== "cancelled");
  return over.length === 0 ? null : over.filter((run) => run.state === "succeeded").length / over.length;
}

function told(runs: Bar[]): string {
  const share = successShare(runs);
  const [last] = runs;
  return `The last ${runs.length} runs: ${share === null ? "none is over" : `${percent(share)} succeeded`}${last ? `, the newest ${wordOf(last.state).toLowerCase()}` : ""}`;
}

/** `runs`: the newest first. With links each bar leads to its run. */
export function Strip({ runs, nowMs, height = 22, withLinks = false, step = STEP }: { runs: Bar[]; nowMs: number; height?: number; withLinks?: boolean; step?: number }) {
  const shown = runs.slice(0, Math.max(N_BARS, withLinks ? runs.length : 0)).toReversed();
  const longest = Math.max(1, ...shown.map((run) => tookMs(run, nowMs) ?? 0));
  const n = withLinks ? shown.length : N_BARS;
  const width = n * step;
  const bars = shown.map((run, index) => {
    const took = tookMs(run, nowMs);
    // By the root, so that short runs are seen beside long ones.
    const high = took === null ? 2 : Math.max(3, Math.sqrt(took / longest) * height);
    const x = (n - shown.length + index) * step;
    const look = lookOf(run.state);
    const title = `${instant(run.started_ms ?? run.created_ms)}: ${wordOf(run.state)}${took === null ? "" : `, ${seconds(took / 1000)}`}`;
    const bar = (
      <g class={`bar ${look}`}>
        <title>{title}</title>
        <rect class="track" x={x} y={0} width={WIDTH + step - STEP} height={height} />
        <rect x={x} y={height - high} width={WIDTH + step - STEP} height={high} rx="1" />
      </g>
    );
    if (!withLinks) return bar;
    return (
      <a key={run.id} href={runLink(run.id)} aria-label={title}>
        {bar}
      </a>
    );
  });
  return (
    <svg class="strip" width={width} height={height} viewBox={`0 0 ${width} ${height}`} role={withLinks ? "group" : "img"} aria-label={told(runs)}>
      {bars}
    </svg>
  );
}
