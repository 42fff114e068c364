// Where a run stands and how it ended: as a mark, a shape and a word, never by colour alone.
import type { Cause, Outcome, Run, RunState } from "../api/types";
import { exactInstant, instant, seconds } from "../format";

/** How a state looks. */
type Look = "good" | "bad" | "warn" | "rest" | "busy" | "due";

const LOOKS: Record<RunState, [look: Look, word: string]> = {
  scheduled: ["due", "Scheduled"],
  queued: ["due", "Queued"],
  starting: ["busy", "Starting"],
  running: ["busy", "Running"],
  stopping: ["busy", "Stopping"],
  succeeded: ["good", "Succeeded"],
  failed: ["bad", "Failed"],
  timed_out: ["bad", "Timed out"],
  killed: ["warn", "Killed"],
  cancelled: ["rest", "Cancelled"],
  lost: ["bad", "Lost"],
  interrupted_by_reboot: ["warn", "Cut off by a reboot"],
  refused: ["warn", "Refused"],
};

export const RUN_STATES = Object.keys(LOOKS) as RunState[];
export const FAILURES: RunState[] = ["failed", "timed_out", "lost", "killed", "interrupted_by_reboot", "refused"];

export function lookOf(state: RunState): Look {
  return LOOKS[state]?.[0] ?? "rest";
}

export function wordOf(state: RunState): string {
  return LOOKS[state]?.[1] ?? state;
}

export function isOver(state: RunState): boolean {
  return !["scheduled", "queued", "starting", "running", "stopping"].includes(state);
}

export function RunMark({ state }: { state: RunState }) {
  const look = lookOf(state);
  return (
    <svg class={`run-mark ${look}`} width="10" height="10" viewBox="0 0 10 10" fill="currentColor" aria-hidden="true">
      {look === "good" && <path d="M3.9 8.6 0.4 5.1 1.8 3.7 3.9 5.8 8.2 1.4 9.6 2.8Z" />}
      {look === "bad" && <path d="M1.6 0 5 3.4 8.4 0 10 1.6 6.6 5 10 8.4 8.4 10 5 6.6 1.6 10 0 8.4 3.4 5 0 1.6Z" />}
      {look === "warn" && <path d="M1 1h8v8H1Z" />}
      {look === "rest" && <path d="M1 1h3v8H1zM6 1h3v8H6z" />}
      {look === "busy" && <path d="M1.5 0.5 9.5 5 1.5 9.5Z" />}
      {look === "due" && <path d="M5 0.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 0 1 0-9M5 2a3 3 0 1 0 0 6a3 3 0 0 0 0-6" />}
    </svg>
  );
}

export function RunStateText({ run }: { run: Pick<Run, "state" | "outcome" | "changes"> }) {
  const why = run.changes.at(-1)?.reason ?? "";
  return (
    <span class={`state run-state ${lookOf(run.state)}`} title={why || undefined}>
      <RunMark state={run.state} />
      <span class="cut">
        {wordOf(run.state)}
        {run.outcome && run.state !== "succeeded" && <span class="muted"> {outcomeText(run.outcome)}</span>}
      </span>
    </span>
  );
}

export function outcomeText(outcome: Outcome): string {
  switch (outcome.kind) {
    case "exited":
      return `exit ${outcome.code ?? "?"}`;
    case "signalled":
      return SIGNALS[outcome.signal ?? 0] ?? `signal ${outcome.signal ?? "?"}`;
    default:
      return outcome.error ?? "it never began";
  }
}

const SIGNALS: Record<number, string> = { 1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM" };

/** Who it was, of `user:ada` and `hub 6e3f… for user:ada`. */
export function personOf(text: string): string {
  return /(?:^|for )(?:user:)?([^ ]+)$/.exec(text)?.[1] ?? text;
}

/** Why there is this run. */
export function causeText(cause: Cause, askedBy: string | undefined): string {
  switch (cause.kind) {
    case "slot":
      return `schedule, ${cause.late ? "made up for " : ""}${instant(cause.slot_ms ?? 0).slice(11)}`;
    case "kept":
      return "kept running";
    case "retry":
      return `try ${(cause.number ?? 0) + 1}`;
    default:
      return askedBy ? `asked by ${personOf(askedBy)}` : "asked for";
  }
}

/** How long its command took, or has taken so far; null before it began. */
export function tookMs(run: Pick<Run, "started_ms" | "ended_ms" | "took_ms">, nowMs: number): number | null {
  if (run.took_ms != null) return run.took_ms;
  if (run.started_ms == null) return null;
  return Math.max(0, (run.ended_ms ?? nowMs) - run.started_ms);
}

export function Took({ run, nowMs }: { run: Pick<Run, "started_ms" | "ended_ms" | "took_ms">; nowMs: number }) {
  const took = tookMs(run, nowMs);
  return <span title={took === null ? undefined : `${(took / 1000).toFixed(3)} s`}>{took === null ? "–" : seconds(took / 1000)}</span>;
}

/** The end of an id, by which people know it. */
export function shortId(id: string): string {
  return id.slice(-8);
}

export function beganText(run: Pick<Run, "created_ms" | "started_ms">): string {
  const at = run.started_ms ?? run.created_ms;
  return run.started_ms == null ? `Accepted ${exactInstant(run.created_ms)}` : `Began ${exactInstant(at)}`;
}
