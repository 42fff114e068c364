// Jobs: what is defined at the hub and on hosts, when each runs next, how its last runs went.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { isAborted, now } from "../api/client";
import type { JobList } from "../api/types";
import { exactInstant, instant, percent, span } from "../format";
import { add } from "../keys";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { hostLink, param, params, setParams } from "../router";
import { isOperator } from "../session";
import { JobActs } from "./acts";
import { listJobs, listRuns } from "./calls";
import { definitionsOf, runsWish, type Defined } from "./definitions";
import { EditorDialog } from "./editor";
import { jobLink, runLink } from "./links";
import { FAILURES, RunMark, wordOf } from "./outcome";
import { N_BARS, Strip, successShare, type Bar } from "./strip";

const EVERY_MS = 3_000;
const AGAIN_MS = 15_000;
const LATE_MS = 30_000;
/** Rows that are drawn: more are found by the filter. */
const N_SHOWN_MAX = 300;

const text = param("q");
const which = param("which");

const CHOICES: [key: string, title: string, fits: (job: Defined) => boolean][] = [
  ["", "All", () => true],
  ["bad", "Gone wrong last", (job) => job.last != null && FAILURES.includes(job.last.state)],
  ["on", "Running now", (job) => job.active.length > 0],
  ["hub", "The hub's", (job) => job.hub !== null],
  ["hosts", "Hosts' own", (job) => job.agent !== null],
  ["off", "Disabled", (job) => job.isPaused],
];

function fits(job: Defined, wanted: string): boolean {
  const words = `${job.name} ${job.where} ${job.schedule} ${job.job.domain ?? ""}`.toLowerCase();
  return wanted.toLowerCase().split(/\s+/).every((word) => words.includes(word));
}

/** What went wrong last comes first, then by name. */
function ordered(jobs: Defined[]): Defined[] {
  const isBad = (job: Defined) => (job.last && !job.isPaused && FAILURES.includes(job.last.state) ? 0 : 1);
  return jobs.toSorted((a, b) => isBad(a) - isBad(b) || (a.name < b.name ? -1 : a.name > b.name ? 1 : a.where < b.where ? -1 : 1));
}

export function JobsPage() {
  const { data, problem, again } = useLoaded<JobList>("jobs", EVERY_MS, listJobs);
  const all = useComputed(() => (data.value ? definitionsOf(data.value) : null));
  const shown = useComputed(() => {
    const chosen = CHOICES.find(([key]) => key === which.value)?.[2] ?? (() => true);
    return ordered((all.value ?? []).filter((job) => chosen(job) && fits(job, text.value)));
  });
  useEffect(() => (isOperator.value ? add([{ keys: "n", does: "Define a job", run: () => setParams({ define: "1" }) }]) : undefined), []);
  const n = all.value?.length ?? 0;
  return (
    <main>
      <div class="head">
        <h1>Jobs</h1>
        <input type="search" aria-label="Filter jobs" placeholder="Name, host, schedule" value={text.value} onInput={(event) => setParams({ q: event.currentTarget.value })} />
        <div class="segments" role="group" aria-label="Which">
          {CHOICES.map(([key, title, is]) => {
            const count = (all.value ?? []).filter(is).length;
            if (count === 0 && key !== "" && which.value !== key) return null;
            return (
              <button key={key} type="button" aria-pressed={which.value === key} onClick={() => setParams({ which: key })}>
                {title} <span class={key === "bad" && count > 0 ? "bad num" : "muted num"}>{all.value ? count : ""}</span>
              </button>
            );
          })}
        </div>
        <span class="room" />
        {isOperator.value && (
          <button type="button" class="primary" onClick={() => setParams({ define: "1" })}>
            Define a job
          </button>
        )}
      </div>
      <Problem text={problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking for jobs" />}
      {all.value && shown.value.length === 0 && <Nothing n={n} />}
      {shown.value.length > 0 && (
        <section class="panel">
          <div class="scroll">
            <Table jobs={shown.value.slice(0, N_SHOWN_MAX)} again={again} />
          </div>
          {shown.value.length > N_SHOWN_MAX && <p class="more muted">The first {N_SHOWN_MAX} of {shown.value.length}; filter for others</p>}
        </section>
      )}
      {params.value.has("define") && (
        <EditorDialog
          of={null}
          onClose={() => {
            setParams({ define: null });
            again();
          }}
        />
      )}
    </main>
  );
}

function Nothing({ n }: { n: number }) {
  if (n > 0) {
    return (
      <Empty title="No job fits">
        <button type="button" onClick={() => setParams({ q: null, which: null })}>
          Show all {n}
        </button>
      </Empty>
    );
  }
  return (
    <Empty title="No job yet">
      <p>
        A job is what runs by itself: at its times, or always. Hosts have their own in <code>jobs.d</code>; those for many hosts are defined here.
      </p>
    </Empty>
  );
}

function Table({ jobs, again }: { jobs: Defined[]; again: () => void }) {
  return (
    <table class="list jobs">
      <thead>
        <tr>
          <th>Job</th>
          <th>Where</th>
          <th>Schedule</th>
          <th>Next</th>
          <th>Last</th>
          <th title="As high as they took long, coloured by how they ended">The last {N_BARS} runs</th>
          <th class="num">Succeeded</th>
          <th>
            <span class="hidden">What can be done</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {jobs.map((job) => (
          <Row key={`${job.agent ?? ""} ${job.name}`} job={job} again={again} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ job, again }: { job: Defined; again: () => void }) {
  const own = useRef<HTMLTableRowElement>(null);
  const runs = useStrip(own, job);
  const share = runs ? successShare(runs) : null;
  return (
    <tr ref={own} class={job.isPaused ? "paused" : ""} data-job={job.name}>
      <td class="j-name">
        <a class="job-name cut" href={jobLink(job.name, job.agent)} title={job.name}>
          {job.name}
        </a>
        {job.job.domain && <span class="chip">{job.job.domain}</span>}
      </td>
      <td class="cut job-where" title={job.where}>
        {job.agent === null ? job.where : <a href={hostLink(job.agent)}>{job.agent}</a>}
        {job.agent === null && <span class="chip">hub</span>}
      </td>
      <td class="cut mono job-schedule" title={job.schedule}>
        {job.schedule}
      </td>
      <td class="nowrap j-next">
        <Next job={job} />
      </td>
      <td class="nowrap j-last">
        <Last job={job.last ? job : { ...job, last: runs?.[0] }} />
      </td>
      <td class="j-strip">{runs ? <Strip runs={runs} nowMs={now()} /> : <span class="strip-room" />}</td>
      <td class="num j-share">
        {share === null ? <span class="muted">–</span> : <span class={share < 0.9 ? "bad" : share < 1 ? "late" : ""}>{percent(share)}</span>}
      </td>
      <td class="acts">
        <JobActs job={job} again={again} />
      </td>
    </tr>
  );
}

export function Next({ job }: { job: Defined }) {
  if (job.isPaused) return <span class="chip">disabled</span>;
  if (job.nextMs === null) return <span class="muted">–</span>;
  const ahead = job.nextMs - now();
  // Its host has not told of another one: it is away.
  if (ahead < -LATE_MS) return <span class="muted" title={`It was due ${exactInstant(job.nextMs)}`}>not known</span>;
  return <span title={exactInstant(job.nextMs)}>{ahead <= 0 ? "now" : ahead < 86_400_000 ? `in ${span(ahead)}` : instant(job.nextMs).slice(0, 16)}</span>;
}

export function Last({ job }: { job: Defined }) {
  if (!job.last) return <span class="muted">never</span>;
  return (
    <a class="last-run" href={runLink(job.last.id)} title={`${wordOf(job.last.state)}, accepted ${exactInstant(job.last.created_ms)}`}>
      <RunMark state={job.last.state} /> {wordOf(job.last.state)} <span class="muted">{span(Math.max(0, now() - job.last.created_ms))} ago</span>
    </a>
  );
}

/** Its last runs, asked for when the row comes into sight and whenever there is a newer one. */
function useStrip(own: { readonly current: HTMLElement | null }, job: Defined): Bar[] | null {
  const runs = useSignal<Bar[] | null>(null);
  const isSeen = useSignal(false);
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => (isSeen.value = entry?.isIntersecting ?? false), { rootMargin: "100px" });
    observer.observe(own.current!);
    return () => observer.disconnect();
  }, []);
  // Hosts tell of the newest run of their jobs; that of a job which nobody has is looked up from time to time.
  const turn = job.hub ? Math.floor(now() / AGAIN_MS) : 0;
  const newest = `${job.last?.id ?? ""} ${job.last?.state ?? ""} ${job.active.length} ${turn}`;
  useEffect(() => {
    if (!isSeen.value) return undefined;
    const abort = new AbortController();
    listRuns(runsWish(job, N_BARS), abort.signal).then(
      (page) => (runs.value = page.runs),
      (error: unknown) => {
        if (!isAborted(error)) runs.value = runs.peek() ?? [];
      },
    );
    return () => abort.abort();
  }, [newest, isSeen.value]);
  return runs.value;
}
