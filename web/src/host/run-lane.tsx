// The runs of a host as bars over the same time as its charts: how each ended by colour, how long by length.
import type { Signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { now } from "../api/client";
import type { Run } from "../api/types";
import { clock, seconds } from "../format";
import { jobName, runLink, runsLink } from "../jobs/links";
import { isOver, lookOf, tookMs, wordOf } from "../jobs/outcome";
import type { RunsOf } from "./runs-of";
import type { Span } from "./span";

/** Rows of bars: what finds no room in them is drawn over the last. */
const N_ROWS_MAX = 5;
/** A bar is at least so much of the span, that it is seen and can be clicked. */
const LEAST_SHARE = 0.004;
/** Bars with names are at least so much of it. */
const NAMED_SHARE = 0.05;

interface Placed {
  run: Run;
  row: number;
  left: number;
  width: number;
}

/** Each run in the first row where there is room. */
function placed(runs: Run[], fromMs: number, toMs: number): Placed[] {
  const ends: number[] = [];
  const all = toMs - fromMs;
  return runs
    .toSorted((a, b) => (a.started_ms ?? 0) - (b.started_ms ?? 0))
    .map((run) => {
      const begin = Math.max(0, ((run.started_ms ?? 0) - fromMs) / all);
      const end = Math.min(1, ((run.ended_ms ?? now()) - fromMs) / all);
      const width = Math.max(LEAST_SHARE, end - begin);
      const left = Math.min(begin, 1 - width);
      const free = ends.findIndex((last) => last <= left);
      const row = free >= 0 ? free : Math.min(ends.length, N_ROWS_MAX - 1);
      ends[row] = left + width;
      return { run, row, left, width };
    });
}

export function RunLane({ name, of, span, pointer }: { name: string; of: RunsOf; span: Span; pointer: Signal<number | null> }) {
  const { runs, isCut } = of;
  const bars = useMemo(() => placed(runs, span.fromMs, span.toMs), [runs, Math.floor(span.fromMs / 1000), Math.floor(span.toMs / 1000)]);
  if (bars.length === 0) return null;
  const n = Math.max(...bars.map((bar) => bar.row)) + 1;
  const at = pointer.value === null ? null : (pointer.value * 1000 - span.fromMs) / (span.toMs - span.fromMs);
  return (
    <section class="panel run-lane" aria-label="Runs on this host">
      <h3>
        Runs{" "}
        <span class="muted num">
          {runs.length}
          {isCut && "+"}
        </span>
        <a href={runsLink({ agent: name }, { since: "all" })}>All of this host</a>
      </h3>
      <div class="lane" style={{ height: `${n * 17}px` }}>
        {bars.map(({ run, row, left, width }) => {
          const took = tookMs(run, now());
          const text = `${jobName(run.job)}: ${wordOf(run.state)}${took === null ? "" : ` after ${seconds(took / 1000)}`}, began ${clock(run.started_ms ?? 0)}`;
          return (
            <a
              key={run.id}
              href={runLink(run.id)}
              class={`lane-bar ${lookOf(run.state)} ${isOver(run.state) ? "" : "open"}`}
              style={{ left: `${(left * 100).toFixed(3)}%`, width: `${(width * 100).toFixed(3)}%`, top: `${row * 17}px` }}
              title={text}
              aria-label={text}
            >
              {width >= NAMED_SHARE && jobName(run.job)}
            </a>
          );
        })}
        {at !== null && at >= 0 && at <= 1 && <i class="lane-at" style={{ left: `${at * 100}%` }} />}
      </div>
    </section>
  );
}
