// One job: its definition, who runs it, its last runs, and how their time, CPU and memory are spread.
import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { now } from "../api/client";
import type { JobList, RunList } from "../api/types";
import { bytes, exactInstant, instant, percent, seconds } from "../format";
import { List, type Shown } from "../parts/columns";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { hostLink, param, params, setParams } from "../router";
import { JobActs } from "./acts";
import { listJobs, listRuns } from "./calls";
import { definitionsOf, measured, runsWish, type Defined } from "./definitions";
import { EditorDialog } from "./editor";
import { Forgotten } from "./forgotten";
import { runsLink } from "./links";
import { personOf } from "./outcome";
import { Last, Next } from "./page";
import { RunTable } from "./runs";
import { SpreadChart } from "./spread";
import { Strip, successShare } from "./strip";
import { withoutUsual, yamlOf } from "./yaml";

const EVERY_MS = 3_000;
/** Runs that are looked at for how they are spread; bars that are drawn; rows that are listed. */
const N_SPREAD = 300;
const N_DRAWN = 120;
const N_LISTED = 25;

const agent = param("agent");

export function JobPage({ name }: { name: string }) {
  const { data, problem, again } = useLoaded<JobList>(`job ${name}`, EVERY_MS, listJobs);
  const job = useComputed(() => (data.value ? definitionsOf(data.value).find((one) => one.name === name && (one.agent ?? "") === agent.value) : undefined));
  const it = job.value;
  if (!it) {
    return (
      <main>
        <Problem text={problem.value} />
        {data.value ? <Gone name={name} list={data.value} /> : !problem.value && <Waiting what={`Asking for ${name}`} />}
      </main>
    );
  }
  return (
    <main class="job">
      <div class="head">
        <h1 class="cut">{it.name}</h1>
        {it.isPaused && <span class="chip">disabled</span>}
        <span class="muted">
          {it.agent === null ? it.where : <a href={hostLink(it.agent)}>{it.agent}</a>} · <span class="mono">{it.schedule}</span>
          {!it.isPaused && it.nextMs !== null && (
            <>
              {" "}
              · next <Next job={it} />
            </>
          )}
        </span>
        <span class="room" />
        <JobActs job={it} again={again} isWhole />
      </div>
      <Problem text={problem.value} />
      <Runs job={it} />
      <div class="two">
        <Definition job={it} />
        {it.hub && <Holders job={it} />}
      </div>
      {params.value.has("edit") && it.hub && (
        <EditorDialog
          of={it.hub}
          onClose={() => {
            setParams({ edit: null });
            again();
          }}
        />
      )}
    </main>
  );
}

/** Of this name there may be others. */
function Gone({ name, list }: { name: string; list: JobList }) {
  const others = definitionsOf(list).filter((one) => one.name === name);
  return (
    <Empty title={`No job ${name}${agent.value ? ` on ${agent.value}` : " at the hub"}`} isAll>
      {others.map((one) => (
        <a key={one.agent} href={`/jobs/${encodeURIComponent(name)}${one.agent ? `?agent=${encodeURIComponent(one.agent)}` : ""}`}>
          {one.agent ? `That of ${one.agent}` : "That of the hub"}
        </a>
      ))}
      <a href={runsLink({ job: name })}>Runs of this name</a>
    </Empty>
  );
}

function Runs({ job }: { job: Defined }) {
  // All of them are asked for when there is a newer one.
  const first = useLoaded<RunList>(`${job.name} ${job.agent ?? ""}`, EVERY_MS, (abort) => listRuns(runsWish(job, 1), abort));
  const last = first.data.value?.runs[0];
  const newest = `${job.name} ${job.agent ?? ""} ${last?.id ?? ""} ${last?.state ?? ""}`;
  const { data, problem } = useLoaded<RunList>(newest, 0, (abort) => listRuns(runsWish(job, N_SPREAD), abort));
  const runs = data.value?.runs;
  const over = useMemo(() => measured(runs ?? []), [runs]);
  const took = useMemo(() => over.map((run) => (run.took_ms ?? run.ended_ms! - run.started_ms!) / 1000), [over]);
  const cpu = useMemo(() => over.filter((run) => run.usage.source).map((run) => run.usage.cpu_user_seconds + run.usage.cpu_system_seconds), [over]);
  const memory = useMemo(() => over.map((run) => run.usage.memory_peak_bytes).filter((peak) => peak > 0), [over]);
  if (!runs) return problem.value ? <Problem text={problem.value} /> : <Waiting what="Asking for its runs" />;
  // Of the time before those that are looked at nothing is said.
  const gaps = (data.value?.gaps ?? []).filter((gap) => runs.length < N_SPREAD || gap.to_ms >= runs.at(-1)!.created_ms);
  if (runs.length === 0) {
    return (
      <section class="panel">
        <Empty title="It has not run yet" />
      </section>
    );
  }
  const share = successShare(runs);
  return (
    <>
      <section class="panel" aria-label="Last runs">
        <header>
          <h2>Last runs</h2>
          <span class="muted">
            {share === null ? "none is over" : `${percent(share, share > 0.99 && share < 1 ? 1 : 0)} of ${runs.length} succeeded`} · last <Last job={{ ...job, last: runs[0] }} />
          </span>
          <span class="room" />
          <a href={runsLink({ job: job.name, agent: job.agent }, { since: "all" })}>All its runs</a>
        </header>
        <div class="strip-box">
          <Strip runs={runs.slice(0, N_DRAWN)} nowMs={now()} height={56} step={9} withLinks />
        </div>
        <div class="spreads">
          <SpreadChart title="How long they took" values={took} show={seconds} />
          <SpreadChart title="CPU time" values={cpu} show={seconds} />
          <SpreadChart title="Memory, most" values={memory} show={bytes} />
        </div>
      </section>
      <Forgotten gaps={gaps} />
      <section class="panel" aria-label="Runs">
        <RunTable runs={runs.slice(0, N_LISTED)} without={job.agent === null ? ["job"] : ["job", "host"]} />
      </section>
    </>
  );
}

function Definition({ job }: { job: Defined }) {
  const text = yamlOf(job.hub ? { target: job.hub.target, job: withoutUsual(job.job) } : withoutUsual(job.job));
  return (
    <section class="panel" aria-label="Definition">
      <header>
        <h2>Definition</h2>
        <span class="room" />
        <span class="muted cut" title={job.path ?? undefined}>
          {job.hub ? `by ${personOf(job.hub.by)}, ${instant(job.hub.changed_ms).slice(0, 16)}` : job.path ? `in ${job.path} of its host; changed there` : "defined on its host"}
        </span>
      </header>
      <pre class="command">{text}</pre>
    </section>
  );
}

function Holders({ job }: { job: Defined }) {
  const columns: Shown<Defined["holders"][number]>[] = [
    { title: "Host", show: ({ agent: name }) => <a href={hostLink(name)}>{name}</a> },
    {
      title: "Next",
      class: "muted nowrap",
      hint: ({ job: own }) => (own.next_ms ? exactInstant(own.next_ms) : undefined),
      show: ({ job: own }) => (own.paused ? "disabled" : own.next_ms ? instant(own.next_ms).slice(5) : "–"),
    },
    { title: "Last", class: "nowrap", show: ({ job: own }) => <Last job={{ ...job, last: own.last }} /> },
  ];
  return (
    <section class="panel" aria-label="Who runs it">
      <header>
        <h2>Who runs it</h2>
        <span class="muted">{job.holders.length === 0 ? "no host has it yet" : `${job.holders.length} ${job.holders.length === 1 ? "host" : "hosts"}`}</span>
      </header>
      <List columns={columns} rows={job.holders} keyOf={(holder) => holder.agent} isDense />
    </section>
  );
}
