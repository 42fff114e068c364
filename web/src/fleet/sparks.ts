// The last half hour of CPU and memory of the hosts that are seen, a point a minute. Asked for when a
// row comes into sight, and again when what there is has grown old.
import { signal } from "@preact/signals";
import { now, queryRange } from "../api/client";
import type { Host } from "../api/types";

export interface Spark {
  at: number;
  cpu: (number | null)[];
  memory: (number | null)[];
}

export const N_POINTS = 30;
const STEP = 60;
const AGE_MS = 60_000;
/** Hosts of one question. */
const N_ASKED_MAX = 50;
/** Hosts whose points are kept. */
const N_KEPT_MAX = 2_000;

export const sparks = signal(new Map<string, Spark>());
const asked = new Map<string, number>();

function quoted(instance: string): string {
  return instance.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replaceAll("\\", "\\\\").replaceAll('"', '\\"');
}

/** Sees to it that these hosts have points that are not old. */
export function want(hosts: Host[]): void {
  const at = Date.now();
  const missing = hosts.filter((host) => host.measures && at - (asked.get(host.instance) ?? 0) > AGE_MS);
  for (let start = 0; start < missing.length; start += N_ASKED_MAX) {
    const some = missing.slice(start, start + N_ASKED_MAX);
    some.forEach((host) => asked.set(host.instance, at));
    void load(some.map((host) => host.instance)).catch(() => some.forEach((host) => asked.delete(host.instance)));
  }
}

async function load(instances: string[]): Promise<void> {
  const them = `instance=~"${instances.map(quoted).join("|")}"`;
  const to = Math.floor(now() / 1000 / STEP) * STEP;
  const from = to - (N_POINTS - 1) * STEP;
  const idle = `sum by (instance) (rate(node_cpu_seconds_total{mode=~"idle|iowait",${them}}[1m]))`;
  const all = `sum by (instance) (rate(node_cpu_seconds_total{${them}}[1m]))`;
  const free = `sum by (instance) (node_memory_MemAvailable_bytes{${them}})`;
  const total = `sum by (instance) (node_memory_MemTotal_bytes{${them}})`;
  const [cpu, memory] = await Promise.all([
    queryRange(`1 - ${idle} / ${all}`, from * 1000, to * 1000, STEP, 60),
    queryRange(`1 - ${free} / ${total}`, from * 1000, to * 1000, STEP, 60),
  ]);
  const next = new Map(sparks.peek());
  const empty = () => new Array<number | null>(N_POINTS).fill(null);
  const place = (points: (number | null)[], values: [number, string][]) => {
    for (const [time, value] of values) points[Math.round((time - from) / STEP)] = Number(value);
    return points;
  };
  for (const instance of instances) {
    next.delete(instance);
    next.set(instance, { at: to, cpu: empty(), memory: empty() });
  }
  for (const series of cpu.result) place(next.get(series.metric.instance ?? "")?.cpu ?? [], series.values ?? []);
  for (const series of memory.result) place(next.get(series.metric.instance ?? "")?.memory ?? [], series.values ?? []);
  for (const key of next.keys()) {
    if (next.size <= N_KEPT_MAX) break;
    next.delete(key);
    asked.delete(key);
  }
  sparks.value = next;
}
