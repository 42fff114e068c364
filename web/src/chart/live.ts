// The ticks of a host as they come: counters become growth a second, and a point is made for each tick
// in which the processors were looked at.
import { signal } from "@preact/signals";
import { frameOf, type Frame, type Measured } from "./frame";
import { METRICS, PANELS, type Source } from "./panels";

/** Points that are kept: more than the shortest span, for what is stored takes over from them. */
const N_KEPT = 180;
/** A stream that was refused is asked for again after so long. */
const RETRY_MS = 5_000;
/** Other collectors of the same tick may follow by so much, milliseconds. */
const SETTLE_MS = 150;

interface Told {
  whole: boolean;
  time_ms: number;
  series?: { n: number; name: string; labels: [string, string][] }[];
  values?: [number, number | string][];
  gone?: number[];
}

interface Known {
  sources: { key: string; group: string; isRate: boolean }[];
  isPulse: boolean;
  value: number | null;
  before: number | null;
}

/** Sources by metric: `panel source`. */
const BY_METRIC = new Map<string, [string, Source][]>();
for (const panel of PANELS) {
  for (const [name, source] of Object.entries(panel.sources)) {
    const own = BY_METRIC.get(source.metric) ?? [];
    own.push([`${panel.id} ${name}`, source]);
    BY_METRIC.set(source.metric, own);
  }
}

function fits(source: Source, labels: Map<string, string>): boolean {
  return (source.where ?? []).every(([label, how, pattern]) => {
    const is = new RegExp(`^(?:${pattern})$`).test(labels.get(label) ?? "");
    return how === "=~" ? is : !is;
  });
}

/** Watches a host. `edge` changes with each point; `frame` gives the newest ones. */
export class Live {
  /** The newest point, seconds since 1970; 0: none yet. */
  readonly edge = signal(0);
  readonly isUp = signal(false);
  readonly events = signal(0);
  private stream: EventSource | null = null;
  private readonly address: string;
  private retry = 0;
  private readonly known = new Map<number, Known>();
  private readonly times: number[] = [];
  private readonly points = new Map<string, Map<string, (number | null)[]>>();
  private pending = 0;
  private evaluated = 0;
  private timer = 0;

  constructor(host: string) {
    const match = `{__name__=~"${METRICS.join("|")}"}`;
    this.address = `/api/v1/live?agent=${encodeURIComponent(host)}&match=${encodeURIComponent(match)}`;
    document.addEventListener("visibilitychange", this.look);
    this.look();
  }

  /** Only a page that is looked at holds a stream: browsers have few of them, and so has the hub. */
  private readonly look = (): void => {
    if (document.hidden) this.shut();
    else if (!this.stream) this.open();
  };

  private open(): void {
    const stream = new EventSource(this.address);
    this.stream = stream;
    stream.addEventListener("tick", (event) => this.take(JSON.parse((event as MessageEvent<string>).data) as Told));
    stream.addEventListener("link", (event) => {
      this.isUp.value = (JSON.parse((event as MessageEvent<string>).data) as { up: boolean }).up;
    });
    stream.addEventListener("event", () => (this.events.value += 1));
    stream.addEventListener("error", () => {
      this.isUp.value = false;
      // A lost connection the browser opens again by itself, a refused one it does not.
      if (stream.readyState !== EventSource.CLOSED) return;
      this.shut();
      this.retry = window.setTimeout(this.look, RETRY_MS);
    });
  }

  private shut(): void {
    window.clearTimeout(this.retry);
    this.stream?.close();
    this.stream = null;
    this.isUp.value = false;
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.look);
    window.clearTimeout(this.timer);
    this.shut();
  }

  private take(told: Told): void {
    if (told.whole) {
      this.known.clear();
      this.evaluated = 0;
    }
    if (this.pending > 0 && told.time_ms > this.pending) this.settle();
    for (const series of told.series ?? []) this.meet(series);
    let isPulse = false;
    for (const [n, value] of told.values ?? []) {
      const series = this.known.get(n);
      if (!series) continue;
      series.value = Number(value);
      isPulse ||= series.isPulse;
    }
    for (const n of told.gone ?? []) {
      const series = this.known.get(n);
      if (series) series.value = null;
    }
    if (!isPulse || told.time_ms === 0) return;
    this.pending = told.time_ms;
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.settle(), SETTLE_MS);
  }

  private meet(series: { n: number; name: string; labels: [string, string][] }): void {
    const labels = new Map(series.labels);
    const sources = (BY_METRIC.get(series.name) ?? []).filter(([, source]) => fits(source, labels));
    this.known.set(series.n, {
      sources: sources.map(([key, source]) => ({ key, group: source.by ? (labels.get(source.by) ?? "") : "", isRate: !!source.isRate })),
      isPulse: series.name === "node_cpu_seconds_total",
      value: null,
      before: null,
    });
  }

  /** Makes a point of what is known at the pending instant. */
  private settle(): void {
    const at = this.pending;
    this.pending = 0;
    if (at <= this.evaluated) return;
    const span = this.evaluated > 0 ? (at - this.evaluated) / 1000 : 0;
    const sums = new Map<string, Map<string, number>>();
    for (const series of this.known.values()) {
      if (series.value === null || !Number.isFinite(series.value)) continue;
      const growth = series.before === null || span === 0 ? null : Math.max(0, series.value - series.before) / span;
      for (const { key, group, isRate } of series.sources) {
        const value = isRate ? growth : series.value;
        if (value === null) continue;
        const groups = sums.get(key) ?? new Map<string, number>();
        groups.set(group, (groups.get(group) ?? 0) + value);
        sums.set(key, groups);
      }
    }
    for (const series of this.known.values()) series.before = series.value;
    this.evaluated = at;
    if (span > 0) this.push(at / 1000, sums);
  }

  private push(time: number, sums: Map<string, Map<string, number>>): void {
    const n = this.times.push(time);
    for (const [key, groups] of sums) {
      const own = this.points.get(key) ?? new Map<string, (number | null)[]>();
      this.points.set(key, own);
      for (const [group, value] of groups) {
        const column = own.get(group) ?? [];
        own.set(group, column);
        while (column.length < n - 1) column.push(null);
        column.push(value);
      }
    }
    if (n > N_KEPT) this.trim();
    this.edge.value = time;
  }

  private trim(): void {
    this.times.shift();
    for (const own of this.points.values()) {
      for (const [group, column] of own) {
        column.shift();
        if (column.every((value) => value === null)) own.delete(group);
      }
    }
  }

  /** The newest points of a panel. */
  frame(id: string): Frame {
    const panel = PANELS.find((one) => one.id === id);
    if (!panel) return { times: [], lines: [] };
    const measured: Measured = new Map();
    for (const name of Object.keys(panel.sources)) measured.set(name, this.points.get(`${id} ${name}`) ?? new Map());
    return frameOf(panel, [...this.times], measured);
  }
}
