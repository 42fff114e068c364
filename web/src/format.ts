// Numbers and times for people: short to read, exact on hover.
import { isUtc } from "./settings";

const DASH = "–";

function trimmed(value: number, digits: number): string {
  return value.toFixed(digits);
}

/** Three figures at most, with a factor of 1000 or 1024. */
function scaled(value: number, base: number, units: string[]): string {
  const sign = value < 0 ? "−" : "";
  let rest = Math.abs(value);
  let unit = 0;
  while (rest >= base * 0.9995 && unit < units.length - 1) {
    rest /= base;
    unit += 1;
  }
  const digits = unit === 0 ? (rest < 10 && rest % 1 !== 0 ? 1 : 0) : rest < 9.995 ? 1 : 0;
  return `${sign}${trimmed(rest, digits)} ${units[unit]}`.trim();
}

export function bytes(value: number | null | undefined): string {
  return value == null ? DASH : scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
}

export function bytesPerSecond(value: number | null | undefined): string {
  return value == null ? DASH : scaled(value, 1024, ["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"]);
}

export function count(value: number | null | undefined): string {
  return value == null ? DASH : scaled(value, 1000, ["", "k", "M", "G", "T"]);
}

/** Exact, with separators. */
export function exact(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 6 });
}

/** A share of 1 in percent. */
export function percent(share: number | null | undefined, digits = 0): string {
  if (share == null || !Number.isFinite(share)) return DASH;
  const value = share * 100;
  return `${value > 0 && value < 0.1 && digits === 1 ? "<0.1" : trimmed(value, digits)} %`;
}

/** Seconds, from microseconds to days. */
export function seconds(value: number | null | undefined): string {
  if (value == null) return DASH;
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 0.001) return `${trimmed(value * 1e6, 0)} µs`;
  if (size < 1) return `${trimmed(value * 1000, size < 0.01 ? 1 : 0)} ms`;
  if (size < 10) return `${trimmed(value, 1)} s`;
  return span(value * 1000);
}

/** A span of time, in its largest unit. */
export function span(ms: number | null | undefined): string {
  if (ms == null) return DASH;
  const s = ms / 1000;
  if (s <= 0) return "0 s";
  if (s < 10) return `${trimmed(s, 1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 5940) return `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** A span to its second: "2 d 4 h". */
export function longSpan(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  const [d, h, m] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${m} min`;
  return minutes > 0 ? `${m} min` : `${Math.floor(ms / 1000)} s`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/** Year to second of an instant, in the zone of choice. */
function parts(ms: number): [string, string] {
  const date = new Date(ms);
  return isUtc.value
    ? [
        `${date.getUTCFullYear()}-${pad(date.getUTCMonth() + 1)}-${pad(date.getUTCDate())}`,
        `${pad(date.getUTCHours())}:${pad(date.getUTCMinutes())}:${pad(date.getUTCSeconds())}`,
      ]
    : [
        `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`,
        `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`,
      ];
}

/** Date and time. */
export function instant(ms: number): string {
  return parts(ms).join(" ");
}

/** The time of day; with the date if it is not today's. */
export function clock(ms: number): string {
  const [day, time] = parts(ms);
  return day === parts(Date.now())[0] ? time : `${day.slice(5)} ${time}`;
}

/** Exact, with the zone, for hovering. */
export function exactInstant(ms: number): string {
  return isUtc.value ? new Date(ms).toISOString() : `${instant(ms)} (${new Date(ms).toISOString()})`;
}

/** What somebody typed as an instant, in the zone of choice; null if it is none. */
export function readInstant(text: string): number | null {
  const found = /^\s*(?:(\d{4})-(\d{1,2})-(\d{1,2})[ T]+)?(\d{1,2}):(\d{2})(?::(\d{2}))?\s*$/.exec(text);
  if (!found) return null;
  const today = parts(Date.now())[0].split("-").map(Number);
  const [year, month, day] = found[1] ? [+found[1], +found[2]!, +found[3]!] : today;
  const [h, m, s] = [+found[4]!, +found[5]!, +(found[6] ?? 0)];
  const ms = isUtc.value
    ? Date.UTC(year!, month! - 1, day, h, m, s)
    : new Date(year!, month! - 1, day, h, m, s).getTime();
  return Number.isFinite(ms) ? ms : null;
}
