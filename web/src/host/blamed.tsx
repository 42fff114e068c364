// Who did it? Processes, units and jobs by their share of CPU, growth of memory and storage traffic in the
// span that is shown.
import { useMemo } from "preact/hooks";
import { get } from "../api/client";
import { afterColumns } from "../api/columns";
import type { Blame, Culprits, Run, Share } from "../api/types";
import { bytes, clock, exact, exactInstant, longSpan, percent } from "../format";
import { useLoaded } from "../parts/loaded";
import { Problem, Waiting } from "../parts/messages";
import { jobName, runsLink } from "../jobs/links";
import { go, hostOfPath, param, setParams } from "../router";
import { partWithin } from "./runs-of";
import type { Span } from "./span";

const DAY_MS = 86_400_000;
const N_SHOWN = 8;
const kind = param("who", "groups");

const USES = [
  { key: "cpu", title: "CPU" },
  { key: "memory_growth", title: "Memory, growth" },
  { key: "io", title: "Disk traffic" },
] as const;

const KINDS = [
  ["groups", "Processes"],
  ["units", "Units"],
  ["jobs", "Jobs"],
] as const;

export function Blamed({ name, span, runs, isFollowed }: { name: string; span: Span; runs: Run[]; isFollowed: boolean }) {
  const fromMs = Math.floor(Math.max(span.fromMs, span.toMs - DAY_MS));
  const toMs = Math.ceil(span.toMs);
  const where = `from=${fromMs}&to=${toMs}`;
  const { data, problem } = useLoaded(`${name} ${where}`, 0, async (abort) => {
    await afterColumns();
    abort.throwIfAborted();
    return get<Blame>(`/api/v1/agents/${encodeURIComponent(name)}/culprits?${where}`, abort);
  });
  const blame = data.value;
  const jobs = useMemo(() => (blame ? ofJobs(runs, blame) : null), [runs, blame]);
  const names = useMemo(() => new Map(runs.map((run) => [run.id, jobName(run.job)])), [runs]);
  const isCut = span.toMs - span.fromMs > DAY_MS;
  return (
    <section class="panel blamed" aria-label="Who did it?">
      <header>
        <h2>Who did it?</h2>
        <span class="room" />
        <div class="segments" role="group" aria-label="Processes, units or jobs">
          {KINDS.map(([one, title]) => (
            <button key={one} type="button" aria-pressed={kind.value === one} onClick={() => setParams({ who: one === "groups" ? null : one })}>
              {title}
            </button>
          ))}
        </div>
      </header>
      {problem.value && !blame && <Problem text={problem.value} />}
      {!blame && !problem.value && <Waiting what="Adding up" />}
      {blame && (
        <>
          <p class="muted of" title={`${exactInstant(blame.from_ms)} to ${exactInstant(blame.to_ms)}`}>
            {isFollowed ? `The last ${longSpan(blame.to_ms - blame.from_ms)}` : `${clock(blame.from_ms)} to ${clock(blame.to_ms)}`}
            {isCut ? ", the last day of the span" : ""}. Drag over a chart to ask of less.
          </p>
          {USES.map(({ key, title }) => (
            <Shares
              key={key}
              title={kind.value === "jobs" && key === "memory_growth" ? "Memory, most" : title}
              shares={(kind.value === "jobs" ? jobs! : blame[kind.value === "units" ? "units" : "groups"])[key]}
              names={names}
              isCpu={key === "cpu"}
              seconds={Math.max(1, (blame.to_ms - blame.from_ms) / 1000)}
              at={blame.to_ms}
            />
          ))}
        </>
      )}
    </section>
  );
}

/** What the runs of each job have used of it. Memory is shared by no sum: it is told as the most of one run. */
function ofJobs(runs: Run[], blame: Blame): Culprits {
  const sums = new Map<string, { cpu: number; memory: number; io: number }>();
  for (const run of runs) {
    const part = partWithin(run, blame.from_ms, blame.to_ms);
    if (part === 0) continue;
    const own = sums.get(jobName(run.job)) ?? { cpu: 0, memory: 0, io: 0 };
    own.cpu += (run.usage.cpu_user_seconds + run.usage.cpu_system_seconds) * part;
    own.memory = Math.max(own.memory, run.usage.memory_peak_bytes);
    own.io += (run.usage.io_read_bytes + run.usage.io_write_bytes) * part;
    sums.set(jobName(run.job), own);
  }
  // All that the host used is what the shares of its processes are parts of.
  const whole = (shares: Share[]) => (shares[0] && shares[0].share > 0 ? shares[0].amount / shares[0].share : 0);
  const shares = (key: "cpu" | "memory" | "io", all: number) =>
    [...sums]
      .map(([name, own]): Share => ({ name, amount: own[key], share: all > 0 ? Math.min(1, own[key] / all) : 0 }))
      .filter((share) => share.amount > 0)
      .sort((a, b) => b.amount - a.amount);
  const most = Math.max(0, ...[...sums.values()].map((own) => own.memory));
  return { cpu: shares("cpu", whole(blame.groups.cpu)), memory_growth: shares("memory", most), io: shares("io", whole(blame.groups.io)) };
}

/** The unit of a run has the run's id for a name: the job's name tells more. */
function told(name: string, names: Map<string, string>): string {
  const id = /(?:^|\/)([0-9a-f]{8}-[0-9a-f-]{27})\.\d+$/.exec(name)?.[1];
  const job = id ? names.get(id) : undefined;
  return job ? `${job} (run ${id!.slice(-8)})` : name;
}

function Shares(props: { title: string; shares: Share[]; names: Map<string, string>; isCpu: boolean; seconds: number; at: number }) {
  const { title, shares, isCpu, seconds } = props;
  const isOfJobs = kind.value === "jobs";
  const isMost = isOfJobs && title === "Memory, most";
  const open = (name: string) => setParams({ tab: "processes", p: name, at: String(Math.floor(props.at)) }, "push");
  const amount = (share: Share) => (isCpu ? `${(share.amount / seconds).toFixed(2)} cores` : bytes(share.amount));
  const hint = (share: Share) => (isCpu ? `${exact(share.amount)} s of CPU time` : `${exact(share.amount)} bytes`);
  return (
    <div class="shares" data-use={title}>
      <h3>{title}</h3>
      {shares.length === 0 && <p class="muted none">Nobody</p>}
      <ol>
        {shares.slice(0, N_SHOWN).map((share) => (
          <li key={share.name}>
            <button
              type="button"
              title={`${share.name}: ${hint(share)}. Shows its ${isOfJobs ? "runs" : "processes"}.`}
              onClick={() => (isOfJobs ? go(runsLink({ job: share.name, agent: hostOfPath.value })) : open(share.name))}
            >
              <span class="cut">{told(share.name, props.names) || "(no unit)"}</span>
              <span class="num">{amount(share)}</span>
              <b class="num">{isMost ? "" : percent(share.share)}</b>
              <span class="share-bar" style={{ width: `${(share.share * 100).toFixed(1)}%` }} />
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}
