// From what was measured to lines: the same for what is stored and for what has just come.
import type { Line, Panel } from "./panels";

/** Values of each source, by its label's value; "" for those without one. */
export type Column = (number | null)[];
export type Measured = Map<string, Map<string, Column>>;

export interface Drawn {
  name: string;
  color: Line["color"];
  values: Column;
  /** The largest of what each point stands for: never part of a stack. */
  isPeak?: boolean;
}

/** Lines over the same instants, seconds since 1970. */
export interface Frame {
  times: number[];
  lines: Drawn[];
}

/** The sums of all groups. */
function sums(groups: Map<string, Column>): Column {
  const all: Column = [];
  for (const column of groups.values()) {
    column.forEach((value, at) => {
      if (value !== null) all[at] = (all[at] ?? 0) + value;
    });
  }
  return all;
}

/** The values of a source; `source/group` names a group whichever the line is for, `source/*` is all of them. */
function columnOf(measured: Measured, group: string, source: string): Column {
  const [name, own] = source.split("/", 2) as [string, string?];
  const groups: Map<string, Column> = measured.get(name) ?? new Map();
  if (own === "*") return sums(groups);
  return groups.get(own ?? group) ?? (own === undefined ? groups.get("") : undefined) ?? [];
}

function drawn(line: Line, group: string, measured: Measured, n: number): Drawn {
  const values = new Array<number | null>(n);
  // What is asked for at every place is looked up once.
  const known = new Map<string, Column>();
  let at = 0;
  const of = (source: string): number | null => {
    let column = known.get(source);
    if (!column) known.set(source, (column = columnOf(measured, group, source)));
    return column[at] ?? null;
  };
  for (; at < n; at += 1) values[at] = line.value(of);
  const name = [group, line.name].filter(Boolean).join(" ");
  return { name, color: line.color, values };
}

export function frameOf(panel: Panel, times: number[], measured: Measured): Frame {
  const lines: Drawn[] = [];
  for (const line of panel.lines) {
    const groups = line.per ? [...(measured.get(line.per)?.keys() ?? [])].sort(inOrder) : [""];
    for (const group of groups) {
      const made = drawn(line, group, measured, times.length);
      if (made.values.some((value) => value !== null)) lines.push(made);
    }
  }
  return { times, lines: largest(lines, panel.most) };
}

/** `cpu10` after `cpu9`. */
function inOrder(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

function largest(lines: Drawn[], most = 12): Drawn[] {
  if (lines.length <= most) return lines;
  const peak = (line: Drawn) => line.values.reduce<number>((max, value) => (value !== null && value > max ? value : max), 0);
  const kept = new Set(lines.toSorted((a, b) => peak(b) - peak(a)).slice(0, most));
  return lines.filter((line) => kept.has(line));
}

/** The one after the other, from where the second begins; lines go by their names. */
export function joined(before: Frame, after: Frame): Frame {
  const start = after.times[0];
  if (start === undefined) return before;
  let n = before.times.length;
  while (n > 0 && before.times[n - 1]! >= start) n -= 1;
  const times = [...before.times.slice(0, n), ...after.times];
  const nothing = (length: number) => new Array<number | null>(length).fill(null);
  const later = new Map(after.lines.map((line) => [line.name, line]));
  const lines = before.lines.map((line) => {
    const more = later.get(line.name)?.values ?? nothing(after.times.length);
    later.delete(line.name);
    return { ...line, values: [...line.values.slice(0, n), ...more] };
  });
  for (const line of later.values()) lines.push({ ...line, values: [...nothing(n), ...line.values] });
  return { times, lines };
}

/** What lies in a span, and the points next to it. */
export function within(frame: Frame, from: number, to: number): Frame {
  let first = frame.times.findIndex((time) => time >= from);
  if (first < 0) first = frame.times.length;
  first = Math.max(0, first - 1);
  let last = frame.times.length;
  while (last > first && frame.times[last - 1]! > to) last -= 1;
  if (first === 0 && last === frame.times.length) return frame;
  return {
    times: frame.times.slice(first, last + 1),
    lines: frame.lines.map((line) => ({ ...line, values: line.values.slice(first, last + 1) })),
  };
}

/** What is no later than this. */
export function upTo(frame: Frame, last: number): Frame {
  let n = frame.times.length;
  while (n > 0 && frame.times[n - 1]! > last) n -= 1;
  return { times: frame.times.slice(0, n), lines: frame.lines.map((line) => ({ ...line, values: line.values.slice(0, n) })) };
}
