// Asks the hub. What is refused becomes a Refusal with the hub's own words; a hub that cannot be
// reached is told to the whole page, and so is a session that has ended.
import { signal } from "@preact/signals";
import type { Problem, Queried } from "./types";

/** The hub has refused, or failed. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

/** Since when the hub does not answer; null while it does. */
export const lostSince = signal<number | null>(null);
/** Has the session ended? The shell then shows the way in. */
export const signedOut = signal(false);
/** The hub's clock less ours, milliseconds. */
let clockOffset = 0;

/** The present by the hub's clock. */
export function now(): number {
  return Date.now() + clockOffset;
}

export function learnTime(hubNow: number): void {
  clockOffset = hubNow - Date.now();
}

/** A body that is a text goes as it is: YAML, as somebody wrote it. */
export async function ask<T>(method: string, path: string, body?: unknown, abort?: AbortSignal): Promise<T> {
  const isText = typeof body === "string";
  const headers: Record<string, string> = body === undefined ? {} : { "content-type": isText ? "application/yaml" : "application/json" };
  return send<T>(path, { method, headers, body: body === undefined || isText ? body : JSON.stringify(body), signal: abort });
}

export function get<T>(path: string, abort?: AbortSignal): Promise<T> {
  return ask<T>("GET", path, undefined, abort);
}

async function send<T>(path: string, request: RequestInit): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, request);
  } catch (error) {
    if (!isAborted(error)) lostSince.value ??= Date.now();
    throw error;
  }
  lostSince.value = null;
  const json = answer.headers.get("content-type")?.includes("json") ? await answer.json() : null;
  if (answer.ok) return json as T;
  if (answer.status === 401 && path !== "/api/v1/session") signedOut.value = true;
  const problem = json as (Partial<Problem> & { error?: string; errorType?: string }) | null;
  const detail = problem?.detail ?? problem?.error ?? `the hub answers ${answer.status} ${answer.statusText}`;
  throw new Refusal(answer.status, problem?.code ?? problem?.errorType ?? "refused", detail);
}

export function isAborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** What the whole page is told by its banner. */
export const UNREACHED = "The hub cannot be reached.";

/** What went wrong, for people. */
export function words(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  if (error instanceof TypeError) return UNREACHED;
  return error instanceof Error ? error.message : String(error);
}

interface PromAnswer {
  data: { resultType: Queried["resultType"]; result: Queried["result"] };
  warnings?: string[];
}

/** Queries of this page that are under way; the hub lets a user have so many in all their pages. */
const N_UNDER_WAY_MAX = 6;
let underWay = 0;
const waiting: (() => void)[] = [];

async function prometheus(path: string, form: Record<string, string>, abort?: AbortSignal): Promise<Queried> {
  return inTurn(async () => {
    abort?.throwIfAborted();
    const answer = await send<PromAnswer>(path, { method: "POST", body: new URLSearchParams(form), signal: abort });
    return { ...answer.data, warnings: answer.warnings ?? [] };
  });
}

/** Does it when it is its turn. */
export async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (underWay >= N_UNDER_WAY_MAX) await new Promise<void>((go) => waiting.push(go));
  else underWay += 1;
  try {
    return await work();
  } finally {
    // Whoever waits longest takes this place.
    const next = waiting.shift();
    if (next) next();
    else underWay -= 1;
  }
}

/** PromQL over a range; instants in milliseconds. Nothing older than `lookback` seconds counts. */
export function queryRange(query: string, fromMs: number, toMs: number, step: number, lookback: number, abort?: AbortSignal) {
  const form = {
    query,
    start: String(fromMs / 1000),
    end: String(toMs / 1000),
    step: String(step),
    lookback_delta: String(lookback),
  };
  return prometheus("/api/v1/query_range", form, abort);
}

/** PromQL at one instant, milliseconds. */
export function queryAt(query: string, atMs: number, abort?: AbortSignal) {
  return prometheus("/api/v1/query", { query, time: String(atMs / 1000) }, abort);
}
