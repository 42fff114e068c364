// The span of time that a view shows, as its address says it: the last so much, which goes on, or from
// one instant to another, which stays.
import { computed } from "@preact/signals";
import { params, setParams } from "../router";

export const LASTS: [name: string, ms: number][] = [
  ["5m", 300_000],
  ["15m", 900_000],
  ["1h", 3_600_000],
  ["6h", 21_600_000],
  ["24h", 86_400_000],
  ["7d", 604_800_000],
  ["30d", 2_592_000_000],
  ["90d", 7_776_000_000],
];
const USUAL = "15m";
/** Nobody looks closer than this. */
const LEAST_MS = 5_000;
/** Spans up to this are followed at each tick. */
const FOLLOWED_MS = 900_000;

export interface Span {
  /** The name of the last so much; null: from one instant to another. */
  last: string | null;
  fromMs: number;
  toMs: number;
}

export const isLast = computed(() => !(params.value.has("from") && params.value.has("to")));
export const lastName = computed(() => {
  const asked = params.value.get("last") ?? USUAL;
  return LASTS.some(([name]) => name === asked) ? asked : USUAL;
});
export const lastMs = computed(() => LASTS.find(([name]) => name === lastName.value)![1]);
/** Is each tick drawn as it comes? */
export const isFollowed = computed(() => isLast.value && lastMs.value <= FOLLOWED_MS);

/** The span, where the present is `nowMs`. */
export function spanAt(nowMs: number): Span {
  if (isLast.value) return { last: lastName.value, fromMs: nowMs - lastMs.value, toMs: nowMs };
  const [from, to] = [Number(params.value.get("from")), Number(params.value.get("to"))];
  if (!Number.isFinite(from) || !Number.isFinite(to) || to <= from) return { last: null, fromMs: nowMs - 900_000, toMs: nowMs };
  return { last: null, fromMs: from, toMs: Math.max(to, from + LEAST_MS) };
}

export function showLast(name: string): void {
  setParams({ last: name === USUAL ? null : name, from: null, to: null, at: null }, "push");
}

export function showSpan(fromMs: number, toMs: number): void {
  const [from, to] = [Math.floor(Math.min(fromMs, toMs)), Math.ceil(Math.max(fromMs, toMs))];
  setParams({ from: String(from), to: String(Math.max(to, from + LEAST_MS)), last: null }, "push");
}

/** Moves by a part of the span; or makes it wider or narrower around its middle. */
export function shift(nowMs: number, by: number): void {
  const { fromMs, toMs } = spanAt(nowMs);
  const move = (toMs - fromMs) * by;
  if (toMs + move >= nowMs && !isLast.value) showSpan(nowMs - (toMs - fromMs), nowMs);
  else if (!(isLast.value && by > 0)) showSpan(fromMs + move, toMs + move);
}

export function scale(nowMs: number, factor: number): void {
  const { fromMs, toMs } = spanAt(nowMs);
  const [middle, half] = [(fromMs + toMs) / 2, ((toMs - fromMs) / 2) * factor];
  const end = Math.min(nowMs, middle + half);
  showSpan(end - 2 * half, end);
}
