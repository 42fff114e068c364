// What the hub has stored, as PromQL gives it: at as many instants as there are points on the screen,
// and nothing where nothing was measured.
import { queryAt } from "../api/client";
import { columns, type Series } from "../api/columns";
import { frameOf, type Column, type Frame, type Measured } from "./frame";
import type { Panel, Source, Where } from "./panels";

export interface Range {
  fromMs: number;
  toMs: number;
}

/** How a host is asked about. */
export interface Subject {
  instance: string;
  /** Seconds from one sample to the next. */
  interval: number;
}

const N_POINTS_MAX = 600;
/** Of longer points samples are gone, or too many to look at. */
const PEAKS_STEP_MAX = 1_800;
const STEPS = [1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200];

/** Seconds between points of a span. */
export function stepOf(range: Range, interval: number): number {
  const least = Math.max(interval, (range.toMs - range.fromMs) / 1000 / N_POINTS_MAX);
  return STEPS.find((step) => step >= least) ?? 86_400;
}

export function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

function matchers(instance: string, where: Where = []): string {
  return [`instance=${quote(instance)}`, ...where.map(([label, how, pattern]) => `${label}${how}${quote(pattern)}`)].join(",");
}

/** The question of one source. Points that stand for more than a sample are means of what lies between. */
function question(source: Source, subject: Subject, step: number): string {
  const series = `${source.metric}{${matchers(subject.instance, source.where)}}`;
  const { interval } = subject;
  let inner: string;
  if (source.isRate) {
    inner = step < 3 * interval ? `irate(${series}[${ms(3 * interval)}])` : `rate(${series}[${ms(Math.max(step, 2 * interval) + interval)}])`;
  } else {
    inner = step < 3 * interval ? series : `avg_over_time(${series}[${ms(step)}])`;
  }
  return source.by ? `sum by (${source.by}) (${inner})` : `sum(${inner})`;
}

function ms(seconds: number): string {
  return `${Math.round(seconds * 1000)}ms`;
}

/** How often this host is sampled: as told by how many samples there are of a minute. */
export async function intervalOf(instance: string, atMs: number, abort?: AbortSignal): Promise<number> {
  const found = await queryAt(`max(count_over_time(node_load1{${matchers(instance)}}[1m]))`, atMs, abort);
  const n = Number(found.result[0]?.value?.[1] ?? 0);
  return n >= 2 ? Math.max(1, Math.round(60 / n)) : 1;
}

/** All of a panel over a span. */
export async function history(panel: Panel, subject: Subject, range: Range, abort?: AbortSignal): Promise<Frame> {
  const step = stepOf(range, subject.interval);
  const from = Math.ceil(range.fromMs / 1000 / step) * step;
  const to = Math.floor(range.toMs / 1000 / step) * step;
  const n = Math.max(0, Math.round((to - from) / step) + 1);
  const times = Array.from({ length: n }, (_, index) => from + index * step);
  if (n === 0) return { times, lines: [] };
  const lookback = Math.max(2, 2.5 * subject.interval);
  const sources = Object.entries(panel.sources);
  const asked = sources.map(([, source]) => question(source, subject, step));
  const peak = peaks(panel, subject, step);
  if (peak) asked.push(peak);
  const over = { start_ms: from * 1000, end_ms: to * 1000, step_ms: step * 1000, lookback_ms: lookback * 1000 };
  const about = sources.map(([, source]): [string, string] => [source.metric, matchers(subject.instance, source.where)]);
  const answers = await columns(over, { about, questions: asked }, abort);
  const measured: Measured = new Map(sources.map(([name, source], index) => [name, grouped(answers[index] ?? [], source.by, n)]));
  const frame = frameOf(panel, times, measured);
  const values = peak && frame.lines.length > 0 ? grouped(answers[sources.length] ?? [], undefined, n).get("") : null;
  if (values && panel.peak) frame.lines.push({ name: panel.peak.name, color: "ink", values, isPeak: true });
  return frame;
}

/** The largest value within each point, looked at ten times and more, if a point stands for more than it shows. */
function peaks(panel: Panel, subject: Subject, step: number): string | null {
  if (!panel.peak || step < 15 * subject.interval || step > PEAKS_STEP_MAX) return null;
  const fine = Math.max(3 * subject.interval, Math.ceil(step / 12));
  const series = (metric: string, where?: Where) => `${metric}{${matchers(subject.instance, where)}}`;
  return `max_over_time((${panel.peak.of(series, ms(fine))})[${ms(step)}:${ms(fine)}])`;
}

/** Columns by the value of a label; what is missing at their end is nothing. */
function grouped(found: Series[], by: string | undefined, n: number): Map<string, Column> {
  const groups = new Map<string, Column>();
  for (const { labels, values } of found) {
    while (values.length < n) values.push(null);
    groups.set(by ? (labels[by] ?? "") : "", values);
  }
  return groups;
}
