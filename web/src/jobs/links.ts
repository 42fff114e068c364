// Addresses and names of jobs and runs.
import type { Job } from "../api/types";

export function runLink(id: string): string {
  return `/runs/${encodeURIComponent(id)}`;
}

/** A job: one of a host's own has the host's name, one of the hub has none. */
export function jobLink(name: string, agent: string | null): string {
  return `/jobs/${encodeURIComponent(name)}${agent === null ? "" : `?agent=${encodeURIComponent(agent)}`}`;
}

/** Its name, or what it runs. */
export function jobName(job: Job): string {
  return job.name || commandText(job);
}

export function commandText(job: Job): string {
  return job.shell ?? [job.command ?? "", ...(job.args ?? [])].join(" ").trim();
}
