// What the hub is asked about jobs and runs.
import { ask, get } from "../api/client";
import type { Defined } from "./definitions";
import type { HubJob, Job, JobCheck, JobList, JobWish, KillAnswer, LiveRuns, Matches, Queues, Run, RunList, RunsOrdered, RunStats, Target } from "../api/types";

const encoded = encodeURIComponent;

export function listRuns(wish: Record<string, string>, abort?: AbortSignal): Promise<RunList> {
  return get(`/api/v1/runs?${new URLSearchParams(wish).toString()}`, abort);
}

/** What those that go on use at this moment. */
export function liveRuns(wish: Record<string, string>, abort?: AbortSignal): Promise<LiveRuns> {
  return get(`/api/v1/runs/live?${new URLSearchParams(wish).toString()}`, abort);
}

export function getRun(id: string, abort?: AbortSignal): Promise<Run> {
  return get(`/api/v1/runs/${encoded(id)}`, abort);
}

/** What it costs: its samples behind an instant, or by spans of the clock. */
export function runSamples(id: string, afterMs: number, abort?: AbortSignal): Promise<RunStats> {
  return get(`/api/v1/runs/${encoded(id)}/stats?after=${afterMs}&intervals=0`, abort);
}

export function runStats(id: string, abort?: AbortSignal): Promise<RunStats> {
  return get(`/api/v1/runs/${encoded(id)}/stats?after=${Number.MAX_SAFE_INTEGER}`, abort);
}

export function logPath(id: string): string {
  return `/api/v1/runs/${encoded(id)}/logs`;
}

export function killRun(id: string, signal?: string): Promise<KillAnswer> {
  return ask("POST", `/api/v1/runs/${encoded(id)}/kill`, signal ? { signal } : {});
}

export function orderRun(order: { job: Job; target: Target; secrets: Record<string, string> }): Promise<RunsOrdered> {
  return ask("POST", "/api/v1/runs", order);
}

/** A run of what a host's owner has defined. */
export function orderNamed(name: string, agent: string): Promise<RunsOrdered> {
  return ask("POST", "/api/v1/runs", { named: { name }, target: { agent } });
}

export function askMatches(target: Target, abort?: AbortSignal): Promise<Matches> {
  return ask("POST", "/api/v1/targets", { target }, abort);
}

export function listJobs(abort?: AbortSignal): Promise<JobList> {
  return get("/api/v1/jobs", abort);
}

export function listQueues(abort?: AbortSignal): Promise<Queues> {
  return get("/api/v1/queues", abort);
}

export function defineJob(wish: JobWish): Promise<HubJob> {
  return ask("POST", "/api/v1/jobs", wish);
}

export function replaceJob(name: string, wish: JobWish): Promise<HubJob> {
  return ask("PUT", `/api/v1/jobs/${encoded(name)}`, wish);
}

/** What is wrong with a definition that is written in YAML; and what was read if nothing is. */
export function checkJob(text: string, abort?: AbortSignal): Promise<JobCheck> {
  return ask("POST", "/api/v1/jobs/check", text, abort);
}

export function removeJob(name: string): Promise<unknown> {
  return ask("DELETE", `/api/v1/jobs/${encoded(name)}`);
}

/** Of the hub, or of a host's own: there its definition stays as it is. */
export function pauseJob({ name, agent }: Pick<Defined, "name" | "agent">, isPaused: boolean): Promise<unknown> {
  const job = `jobs/${encoded(name)}/${isPaused ? "disable" : "enable"}`;
  return ask("POST", agent === null ? `/api/v1/${job}` : `/api/v1/agents/${encoded(agent)}/${job}`);
}

export function triggerJob(name: string): Promise<RunsOrdered> {
  return ask("POST", `/api/v1/jobs/${encoded(name)}/trigger`);
}
