// Which hosts are shown, and in which order: pure functions of the fleet and of what was asked.
import type { Host } from "../api/types";
import { HEALTHS, healthOf, healthWord, isUnwell } from "../parts/state";

/** A share from which something is worth a look, and from which it is bad. */
export const WARM = 0.75;
export const HOT = 0.9;
/** Tasks that wait for so much of the time. */
const PRESSED = 0.4;

function words(host: Host): string {
  const labels = Object.entries(host.labels).map(([name, value]) => `${name}=${value}`);
  return [host.name, ...host.roles, ...labels, host.comment, healthWord(healthOf(host))].join(" ").toLowerCase();
}

function matchesWord(host: Host, word: string): boolean {
  const role = /^role:(.*)$/.exec(word)?.[1];
  if (role !== undefined) return host.roles.some((own) => own.toLowerCase() === role);
  const state = /^state:(.*)$/.exec(word)?.[1];
  if (state !== undefined) {
    const health = healthOf(host);
    if (state === "unwell") return isUnwell(health);
    if (state === "failing") return (host.jobs?.n_failing ?? 0) > 0;
    return state === "strained" ? strain(host) > 0 : health === state;
  }
  return words(host).includes(word);
}

/** Has the host all of these words? */
export function matches(host: Host, text: string): boolean {
  return text.toLowerCase().split(/\s+/).filter(Boolean).every((word) => matchesWord(host, word));
}

/** How much is at its limit: CPU, memory, disk, waiting. In whole numbers, so that rows rarely change places. */
export function strain(host: Host): number {
  const m = host.measures;
  if (!m) return 0;
  const over = [m.cpu, m.memory, m.disk?.share].filter((share) => (share ?? 0) >= HOT).length;
  return over + ((m.pressure?.share ?? 0) >= PRESSED ? 1 : 0);
}

export type Sort =
  | "need" | "name" | "state" | "lag" | "cpu" | "memory" | "disk" | "network" | "load" | "pressure" | "top" | "jobs" | "coverage";

type Weigh = (host: Host) => number | string;

/** By what a column sorts; numbers fall, words rise. What is unknown comes last. */
const WEIGHTS: Record<Exclude<Sort, "need">, Weigh> = {
  name: (host) => host.name.toLowerCase(),
  state: (host) => -HEALTHS.indexOf(healthOf(host)),
  lag: (host) => host.lag_ms ?? -1,
  cpu: (host) => host.measures?.cpu ?? -1,
  memory: (host) => host.measures?.memory ?? -1,
  disk: (host) => host.measures?.disk?.share ?? -1,
  network: (host) => (host.measures ? (host.measures.received ?? 0) + (host.measures.sent ?? 0) : -1),
  load: (host) => (host.measures?.load ?? -1) / Math.max(1, host.measures?.cores ?? 1),
  pressure: (host) => host.measures?.pressure?.share ?? -1,
  top: (host) => host.measures?.top?.cores ?? -1,
  jobs: (host) => (host.jobs ? host.jobs.n_failing + host.jobs.n / 1e6 : -1),
  coverage: (host) => (host.coverage.of_ms ? -host.coverage.share : -2),
};

export function sorted(hosts: Host[], sort: Sort, isReversed: boolean): Host[] {
  const byName = (a: Host, b: Host) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  const byNeed = (a: Host, b: Host) => HEALTHS.indexOf(healthOf(a)) - HEALTHS.indexOf(healthOf(b)) || strain(b) - strain(a);
  const weigh = sort === "need" ? null : WEIGHTS[sort];
  const compare = (a: Host, b: Host) => {
    if (!weigh) return byNeed(a, b);
    const [x, y] = [weigh(a), weigh(b)];
    return typeof x === "string" ? (x < y ? -1 : x > y ? 1 : 0) : (y as number) - x;
  };
  const turn = isReversed ? -1 : 1;
  return hosts.toSorted((a, b) => turn * compare(a, b) || byName(a, b));
}

/** A line of the list: a host, or the title of those that follow. */
export type Line = { host: Host } | { title: string; count: number };

/** By what the fleet can be grouped: state, role, and every label that there is. */
export function groupings(hosts: Host[]): string[] {
  const labels = new Set(hosts.flatMap((host) => Object.keys(host.labels)));
  return ["state", ...(hosts.some((host) => host.roles.length > 0) ? ["role"] : []), ...[...labels].sort()];
}

export function grouped(hosts: Host[], by: string): Line[] {
  if (!by) return hosts.map((host) => ({ host }));
  const groups = new Map<string, Host[]>();
  for (const host of hosts) {
    for (const title of titles(host, by)) {
      const own = groups.get(title);
      if (own) own.push(host);
      else groups.set(title, [host]);
    }
  }
  const order = by === "state" ? [...groups] : [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
  return order.flatMap(([title, own]) => [{ title, count: own.length }, ...own.map((host) => ({ host }))]);
}

function titles(host: Host, by: string): string[] {
  if (by === "state") return [healthWord(healthOf(host))];
  if (by === "role") return host.roles.length > 0 ? host.roles : ["no role"];
  return [host.labels[by] ?? `no ${by}`];
}
