// Addresses and names of jobs and runs.
import { now } from "../api/client";
import type { Job, Run } from "../api/types";

export function runLink(id: string): string {
  return `/runs/${encodeURIComponent(id)}`;
}

/** A job: one of a host's own has the host's name, one of the hub has none. */
export function jobLink(name: string, agent: string | null): string {
  return `/jobs/${encodeURIComponent(name)}${agent === null ? "" : `?agent=${encodeURIComponent(agent)}`}`;
}

/** A name as filters of runs have it that ask for just this one. */
export function whole(name: string): string {
  return `"${name}"`;
}

/** Runs, of a job and of a host as they are named. */
export function runsLink(of: { job?: string; agent?: string | null }, more: Record<string, string> = {}): string {
  const wish = new URLSearchParams(more);
  if (of.job) wish.set("job", whole(of.job));
  if (of.agent) wish.set("agent", whole(of.agent));
  return `/runs?${wish.toString()}`;
}

/** Its name, or what it runs. */
export function jobName(job: Job): string {
  return job.name || commandText(job);
}

export function commandText(job: Job): string {
  return job.shell ?? [job.command ?? "", ...(job.args ?? [])].join(" ").trim();
}

/** The span in which its host is looked at: its own, and somewhat before and after. */
export function around(run: Run): Record<string, string> {
  const from = run.started_ms ?? run.created_ms;
  const to = run.ended_ms ?? now();
  const margin = Math.max(30_000, (to - from) * 0.2);
  return { from: String(Math.floor(from - margin)), to: String(Math.ceil(Math.min(now(), to + margin))) };
}
