// Explore: any question in PromQL, with completion, as a chart and as a table. The address holds the
// question, so that its link asks it again.
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { now, queryAt, queryRange } from "../api/client";
import type { Queried, Vector } from "../api/types";
import { Legend } from "../chart/legend";
import { Plot } from "../chart/plot";
import type { Frame } from "../chart/frame";
import { stepOf } from "../chart/history";
import { exact } from "../format";
import { SpanBar } from "../host/span-bar";
import { showSpan, spanAt } from "../host/span";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { param, params, setParams } from "../router";
import { QueryBox } from "./query-box";

const asked = param("q");
/** Lines of a chart, and rows of the table, that are drawn. */
const N_LINES_MAX = 40;
const N_ROWS_MAX = 1_000;

const EXAMPLES: [string, string][] = [
  ["The busiest groups of processes, in cores", "topk(10, sum by (instance, group) (rate(fieldpost_process_cpu_seconds_total[1m])))"],
  ["CPU that is not idle, by host", '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m]))'],
  ["Disks that are full in a day at this pace", "predict_linear(node_filesystem_avail_bytes[1h], 86400) < 0"],
  ["How far hosts are behind", "max by (instance) (fieldpost_agent_lag_seconds)"],
];

interface Answer {
  chart: Queried;
  table: Queried;
  from: number;
  to: number;
  step: number;
}

export function ExplorePage() {
  const span = `${params.value.get("last") ?? ""} ${params.value.get("from") ?? ""} ${params.value.get("to") ?? ""}`;
  const turn = useSignal(0);
  const { data, problem } = useLoaded<Answer | null>(`${asked.value}\n${span}\n${turn.value}`, 0, async (abort) => {
    if (!asked.value.trim()) return null;
    const { fromMs, toMs } = spanAt(now());
    const step = stepOf({ fromMs, toMs }, 1);
    const [chart, table] = await Promise.all([
      queryRange(asked.value, fromMs, toMs, step, Math.max(300, step), abort),
      queryAt(asked.value, toMs, abort),
    ]);
    return { chart, table, from: fromMs, to: toMs, step };
  });
  const answer = data.value;
  return (
    <main class="explore">
      <h1 class="hidden">Explore</h1>
      <QueryBox
        value={asked.value}
        onAsk={(query) => {
          if (query === asked.value) turn.value += 1;
          else setParams({ q: query }, "push");
        }}
      />
      <div class="tools">
        <SpanBar withCompare={false} />
      </div>
      <Problem text={problem.value} />
      {!asked.value && (
        <Empty title="Ask in PromQL">
          <p>Names of metrics, labels and functions are completed while you type; Ctrl+Enter asks.</p>
          {EXAMPLES.map(([title, query]) => (
            <a key={query} href={`/explore?q=${encodeURIComponent(query)}`}>
              {title}
            </a>
          ))}
        </Empty>
      )}
      {asked.value && !answer && !problem.value && <Waiting what="Asking" />}
      {answer && !problem.value && <Answered answer={answer} />}
    </main>
  );
}

function nameOf({ metric }: Vector): string {
  const { __name__: name = "", ...labels } = metric;
  const text = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return `${name}${text.length > 0 || !name ? `{${text.join(", ")}}` : ""}`;
}

/** What tells series apart: labels that all of them have alike are left out. */
function namesOf(all: Vector[]): string[] {
  const first = all[0]?.metric ?? {};
  const alike = new Set(all.length > 1 ? Object.keys(first).filter((label) => all.every(({ metric }) => metric[label] === first[label])) : []);
  const short = all.map(({ metric }) => nameOf({ metric: Object.fromEntries(Object.entries(metric).filter(([label]) => !alike.has(label))) }));
  return short.map((name) => name.replace(/^{(.*)}$/, "$1"));
}

function Answered({ answer }: { answer: Answer }) {
  const pointer = useSignal<number | null>(null);
  const frame = useMemo(() => frameOf(answer), [answer]);
  const warnings = [...new Set([...answer.chart.warnings, ...answer.table.warnings])];
  const n = answer.chart.result.length;
  return (
    <>
      {warnings.map((warning) => (
        <p key={warning} class="note">
          {warning}
        </p>
      ))}
      {n > 0 && (
        <section class="panel chart" aria-label="Chart">
          <h2 class="hidden">Chart</h2>
          <header>
            <h3>{n > N_LINES_MAX ? `The first ${N_LINES_MAX} of ${n} series` : `${n} series`}</h3>
            {n <= 12 && <Legend frame={frame} unit="count" pointer={pointer} />}
          </header>
          <Plot
            title="Answer"
            panel={{ unit: "count" }}
            frame={frame}
            fromMs={answer.from}
            toMs={answer.to}
            height={300}
            pointer={pointer}
            onZoom={showSpan}
          />
        </section>
      )}
      <Rows found={answer.table} />
    </>
  );
}

function frameOf({ chart, from, to, step }: Answer): Frame {
  const n = Math.floor((to - from) / 1000 / step) + 1;
  const start = from / 1000;
  const times = Array.from({ length: n }, (_, index) => start + index * step);
  const names = namesOf(chart.result);
  const lines = chart.result.slice(0, N_LINES_MAX).map((series, place) => {
    const values = new Array<number | null>(n).fill(null);
    for (const [time, text] of series.values ?? []) {
      const value = Number(text);
      if (Number.isFinite(value)) values[Math.round((time - start) / step)] = value;
    }
    return { name: names[place]!, color: undefined, values };
  });
  return { times, lines };
}

function Rows({ found }: { found: Queried }) {
  if (found.resultType === "scalar" || found.resultType === "string") {
    const [, value] = found.result as unknown as [number, string];
    return (
      <section class="panel">
        <p class="facts">{value}</p>
      </section>
    );
  }
  if (found.result.length === 0) {
    return (
      <Empty title="No series at the end of the span">
        <p>The names may be wrong, or nothing was measured then.</p>
      </Empty>
    );
  }
  const labels = [...new Set(found.result.flatMap((series) => Object.keys(series.metric)))].sort((a, b) => (a === "__name__" ? -1 : b === "__name__" ? 1 : a < b ? -1 : 1));
  const rows = found.result.toSorted((a, b) => Number(b.value?.[1] ?? 0) - Number(a.value?.[1] ?? 0)).slice(0, N_ROWS_MAX);
  return (
    <section class="panel" aria-label="Table">
      <div class="scroll">
        <table class="list dense">
          <thead>
            <tr>
              {labels.map((label) => (
                <th key={label}>{label === "__name__" ? "Metric" : label}</th>
              ))}
              <th class="num">Value</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((series) => (
              <tr key={nameOf(series)}>
                {labels.map((label) => (
                  <td key={label}>{series.metric[label] ?? ""}</td>
                ))}
                <td class="num" title={series.value?.[1]}>
                  {exact(Number(series.value?.[1] ?? NaN))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {found.result.length > rows.length && <p class="more muted">The largest {rows.length} of {found.result.length}</p>}
    </section>
  );
}
