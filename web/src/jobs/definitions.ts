// The jobs of the hub and of its hosts as one list: what is defined where, when it runs next, how it went.
import type { HostJob, HubJob, Job, JobList, Run } from "../api/types";
import { targetText } from "./target";

export interface Defined {
  name: string;
  job: Job;
  /** The host whose own it is; null: the hub's. */
  agent: string | null;
  /** For people: for whom it is meant. */
  where: string;
  schedule: string;
  isPaused: boolean;
  nextMs: number | null;
  last: HostJob["last"];
  /** Ids of runs that are not over. */
  active: string[];
  /** The hub's definition, if it is one. */
  hub: HubJob | null;
  /** The file it stands in on its host. */
  path: string | null;
  /** Hosts that have it from the hub, and what they say of it. */
  holders: { agent: string; job: HostJob }[];
}

export function definitionsOf(list: JobList): Defined[] {
  const fromHub = new Map<string, Defined["holders"]>();
  const own: Defined[] = [];
  for (const host of list.hosts) {
    for (const job of host.jobs) {
      if (job.origin.kind === "hub") {
        const holders = fromHub.get(job.job.name ?? "") ?? [];
        holders.push({ agent: host.agent, job });
        fromHub.set(job.job.name ?? "", holders);
      } else {
        own.push(ofHost(host.agent, job));
      }
    }
  }
  return [...list.hub.map((job) => ofHub(job, fromHub.get(job.job.name ?? "") ?? [])), ...own];
}

function ofHost(agent: string, it: HostJob): Defined {
  return {
    name: it.job.name ?? "",
    job: it.job,
    agent,
    where: agent,
    schedule: it.schedule,
    isPaused: it.paused || it.job.enabled === false,
    nextMs: it.next_ms ?? null,
    last: it.last,
    active: it.active,
    hub: null,
    path: it.origin.path ?? null,
    holders: [],
  };
}

function ofHub(it: HubJob, holders: Defined["holders"]): Defined {
  const nexts = holders.map(({ job }) => job.next_ms).filter((ms) => ms != null);
  const lasts = holders.map(({ job }) => job.last).filter((last) => last != null);
  return {
    name: it.job.name ?? "",
    job: it.job,
    agent: null,
    where: targetText(it.target) + (it.chosen_agent && it.target.agent == null ? ` (${it.chosen_agent})` : ""),
    schedule: it.schedule,
    isPaused: it.paused || it.job.enabled === false,
    nextMs: nexts.length > 0 ? Math.min(...nexts) : null,
    last: lasts.sort((a, b) => b.created_ms - a.created_ms)[0],
    active: holders.flatMap(({ job }) => job.active),
    hub: it,
    path: null,
    holders,
  };
}

/** Which runs are its own. */
export function runsWish(of: Pick<Defined, "name" | "agent">, limit: number): Record<string, string> {
  return { job: of.name, ...(of.agent === null ? {} : { agent: of.agent }), limit: String(limit) };
}

/** Those that are over and began. */
export function measured(runs: Run[]): Run[] {
  return runs.filter((run) => run.ended_ms != null && run.started_ms != null);
}
