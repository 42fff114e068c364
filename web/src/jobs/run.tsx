// One run: where it stands and how it came there, what it says, what it costs, what it may use; and what can be
// done with it.
import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { isAborted, now, Refusal, words } from "../api/client";
import type { Run, RunSample } from "../api/types";
import { bytes, clock, exact, exactInstant, instant, seconds, span } from "../format";
import { add } from "../keys";
import { Dialog } from "../parts/dialog";
import { Empty, Problem, Waiting } from "../parts/messages";
import { hostLink, params, setParams } from "../router";
import { isOperator } from "../session";
import { getRun, killRun, logPath } from "./calls";
import { around, commandText, jobLink, jobName, runLink, runsLink } from "./links";
import { RunLog } from "./log";
import { NewRunDialog } from "./new-run";
import { causeText, isOver, outcomeText, RunMark, RunStateText, shortId, Took, wordOf } from "./outcome";
import { RunCharts, useSamples } from "./run-charts";

/** How often it is asked about while it goes on, milliseconds; and where nothing is known of it. */
const EVERY_MS = 1_000;
const SLOW_MS = 5_000;

export function RunPage({ id }: { id: string }) {
  const run = useSignal<Run | null>(null);
  const [problem, setProblem] = useState("");
  const turn = useSignal(0);
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const look = async () => {
      try {
        if (!document.hidden) run.value = await getRun(id, abort.signal);
        setProblem("");
      } catch (error) {
        if (isAborted(error)) return;
        setProblem(words(error));
        if (error instanceof Refusal && error.status === 404 && run.peek() === null) return;
      }
      const known = run.peek();
      if (!known || !isOver(known.state)) timer = window.setTimeout(look, known?.unknown_since_ms ? SLOW_MS : EVERY_MS);
    };
    void look();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [id, turn.value]);
  const it = run.value;
  if (!it) {
    return (
      <main>
        {problem ? (
          <Empty title={`No run ${shortId(id)}`} isAll>
            <p class="said">{problem}</p>
            <a href="/runs">To the runs</a>
          </Empty>
        ) : (
          <Waiting what="Asking for the run" />
        )}
      </main>
    );
  }
  return (
    <main class="run">
      <Head run={it} again={() => (turn.value += 1)} />
      <Problem text={problem} />
      <Body key={id} run={it} />
    </main>
  );
}

function Body({ run: it }: { run: Run }) {
  const samples = useSamples(it);
  return (
    <>
      <div class="run-grid">
        <div>
          {it.started_ms != null && <RunCharts run={it} samples={samples} />}
          {it.delivered ? <RunLog path={logPath(it.id)} name={`${jobName(it.job)}-${shortId(it.id)}`} /> : <Undelivered run={it} />}
          {it.data && <Result data={it.data} />}
        </div>
        <aside class="aside">
          <History run={it} />
          <Cost run={it} samples={samples} />
          <Limits run={it} />
          <Definition run={it} />
        </aside>
      </div>
      {params.value.has("new") && <NewRunDialog onClose={() => setParams({ new: null, of: null })} />}
    </>
  );
}

function Head({ run, again }: { run: Run; again: () => void }) {
  const [isKilling, setKilling] = useState(false);
  const isGoingOn = !isOver(run.state);
  useEffect(
    () =>
      isOperator.value
        ? add([
            { keys: "x", does: "Kill this run", run: () => setKilling(true) },
            { keys: "r", does: "Run it again", run: () => setParams({ new: "1", of: run.id }) },
          ])
        : undefined,
    [run.id],
  );
  return (
    <>
      <div class="head">
        <h1 class="cut">{jobName(run.job)}</h1>
        <RunStateText run={run} />
        <span class="muted">
          {run.agent ? (
            <>
              on <a href={hostLink(run.agent, around(run))}>{run.agent}</a>
            </>
          ) : (
            "waits for whoever takes it"
          )}
          {" · "}
          <code title={run.id}>{shortId(run.id)}</code>
          {" · "}
          <Took run={run} nowMs={now()} />
        </span>
        <span class="room" />
        {run.job.name && <a href={runsLink({ job: run.job.name })}>All its runs</a>}
        {isOperator.value && (
          <>
            <button type="button" onClick={() => setParams({ new: "1", of: run.id })}>
              Run again…
            </button>
            {isGoingOn && (
              <button type="button" class="danger" onClick={() => setKilling(true)}>
                Kill…
              </button>
            )}
          </>
        )}
      </div>
      {run.unknown_since_ms && (
        <p class="away late">Nothing is known of this run since {clock(run.unknown_since_ms)}: its host is not linked. It goes on without the hub, and tells when it is back.</p>
      )}
      {(run.marks ?? []).map((mark) => (
        <p key={mark} class="note">
          {mark}
        </p>
      ))}
      {isKilling && (
        <KillDialog
          run={run}
          onClose={() => {
            setKilling(false);
            again();
          }}
        />
      )}
    </>
  );
}

function KillDialog({ run, onClose }: { run: Run; onClose: () => void }) {
  const [signal, setSignal] = useState("");
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    try {
      await killRun(run.id, signal || undefined);
      onClose();
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog title={`Kill ${jobName(run.job)}`} onClose={onClose}>
      <form class="fields" onSubmit={submit}>
        <p>
          {run.agent ? `Run ${shortId(run.id)} on ${run.agent}.` : `Run ${shortId(run.id)}, which nobody has taken yet, is called off.`} Without a signal of yours it is asked
          to end, and killed with all that it has started after {run.job.kill_grace ?? "its grace"}.
        </p>
        <label>
          How
          <select value={signal} onChange={(event) => setSignal(event.currentTarget.value)}>
            <option value="">Ask it to end, then kill it</option>
            {["TERM", "INT", "HUP", "USR1", "USR2", "KILL"].map((name) => (
              <option key={name} value={name}>
                Send SIG{name} only
              </option>
            ))}
          </select>
        </label>
        <Problem text={problem} />
        <div class="acts">
          <button class="primary" autofocus>
            {signal ? "Send" : "Kill"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Undelivered({ run }: { run: Run }) {
  return (
    <section class="panel">
      <Empty title={isOver(run.state) ? "It never came to a host" : "It waits"}>
        <p>{run.changes.at(-1)?.reason || "It is at the hub; no agent has it yet."}</p>
      </Empty>
    </section>
  );
}

function History({ run }: { run: Run }) {
  return (
    <section class="panel" aria-label="History">
      <header>
        <h2>How it went</h2>
      </header>
      <ol class="history">
        {run.changes.map((change, index) => {
          const before = run.changes[index - 1];
          return (
            <li key={index}>
              <RunMark state={change.state} />
              <span>
                <strong>{wordOf(change.state)}</strong>
                {change.reason && <span class="muted"> {change.reason}</span>}
              </span>
              <time class="num muted" title={exactInstant(change.time_ms)}>
                {before ? `+${span(change.time_ms - before.time_ms)}` : instant(change.time_ms).slice(5)}
              </time>
            </li>
          );
        })}
      </ol>
      <dl class="facts">
        <dt>Why</dt>
        <dd>
          {causeText(run.cause, run.asked_by)}
          {run.cause.kind === "retry" && run.cause.of && (
            <>
              , after <a href={runLink(run.cause.of)}>{shortId(run.cause.of)}</a>
            </>
          )}
        </dd>
        {run.outcome && (
          <>
            <dt>Ended by</dt>
            <dd>{outcomeText(run.outcome)}</dd>
          </>
        )}
        {run.batch && (
          <>
            <dt>Ordered with</dt>
            <dd>
              <a href={`/runs?batch=${encodeURIComponent(run.batch)}`}>others of the same order</a>
            </dd>
          </>
        )}
        {run.pid != null && !isOver(run.state) && (
          <>
            <dt>Process</dt>
            <dd>{run.pid}</dd>
          </>
        )}
      </dl>
    </section>
  );
}

function soFar({ usage }: Run, samples: RunSample[]): Run["usage"] {
  const last = samples.at(-1);
  if (!last) return usage;
  const most = (key: string, known: number) => Math.max(known, ...samples.map((one) => one[key] ?? 0));
  return {
    ...usage,
    cpu_user_seconds: last.cpu_seconds ?? 0,
    cpu_system_seconds: 0,
    memory_peak_bytes: most("memory_bytes", usage.memory_peak_bytes),
    io_read_bytes: last.io_read_bytes ?? 0,
    io_write_bytes: last.io_write_bytes ?? 0,
    processes_max: most("processes", usage.processes_max),
    threads_max: most("threads", usage.threads_max),
    files_max: most("files", usage.files_max),
    net_received_bytes: last.net_received_bytes ?? null,
    net_sent_bytes: last.net_sent_bytes ?? null,
  };
}

/** What it has used so far its samples say; its own record says so at its end. */
function Cost({ run, samples }: { run: Run; samples: RunSample[] }) {
  const { output, stats } = run;
  const isGoingOn = !isOver(run.state);
  const usage = isGoingOn ? soFar(run, samples) : run.usage;
  const rows: [string, string, string][] = [
    [
      "CPU",
      seconds(usage.cpu_user_seconds + usage.cpu_system_seconds),
      isGoingOn ? `${exact(usage.cpu_user_seconds)} s so far` : `${exact(usage.cpu_user_seconds)} s user, ${exact(usage.cpu_system_seconds)} s system`,
    ],
    ["Memory, most", bytes(usage.memory_peak_bytes), exact(usage.memory_peak_bytes)],
    ["Read, written", `${bytes(usage.io_read_bytes)} · ${bytes(usage.io_write_bytes)}`, `${exact(usage.io_read_bytes)} and ${exact(usage.io_write_bytes)} bytes`],
    // Only of runs with a network namespace to themselves.
    ...(usage.net_received_bytes == null || usage.net_sent_bytes == null
      ? []
      : [["Received, sent", `${bytes(usage.net_received_bytes)} · ${bytes(usage.net_sent_bytes)}`, `${exact(usage.net_received_bytes)} and ${exact(usage.net_sent_bytes)} bytes`] as [string, string, string]]),
    ["Processes, most", usage.processes_max > 0 ? exact(usage.processes_max) : "–", `${usage.threads_max} threads, ${usage.files_max} open files at most`],
    ["Output", isGoingOn ? "counted at its end" : `${exact(output.lines)} lines, ${bytes(output.stdout_bytes + output.stderr_bytes)}`, `${exact(output.kept_bytes)} bytes are kept, ${exact(output.dropped_bytes)} are not`],
  ];
  return (
    <section class="panel" aria-label="Cost">
      <header>
        <h2>What it used</h2>
        <span class="room" />
        <span class="muted" title="By what it was counted">
          {usage.source}
        </span>
      </header>
      <dl class="facts">
        {rows.map(([name, text, hint]) => [<dt key={name}>{name}</dt>, <dd key={`${name} `} title={hint}>{text}</dd>])}
        {usage.oom_kills > 0 && (
          <>
            <dt>Ended for memory</dt>
            <dd class="bad">{usage.oom_kills} processes</dd>
          </>
        )}
        {output.lost_bytes > 0 && (
          <>
            <dt>Output lost</dt>
            <dd class="late">{bytes(output.lost_bytes)}</dd>
          </>
        )}
        {Object.entries(stats ?? {}).map(([name, stat]) => [
          <dt key={name}>{name}</dt>,
          <dd key={`${name} `} title={`${stat.kind}: ${exact(stat.min)} to ${exact(stat.max)}, ${stat.count} values`}>
            {exact(stat.kind === "count" ? stat.sum : stat.last)}
          </dd>,
        ])}
      </dl>
    </section>
  );
}

function Limits({ run: { job, limits } }: { run: Run }) {
  const wanted = Object.entries((job.limits ?? {}) as Record<string, unknown>);
  if (wanted.length === 0 && !job.timeout) return null;
  return (
    <section class="panel" aria-label="Limits">
      <header>
        <h2>What it may use</h2>
      </header>
      <dl class="facts">
        {job.timeout && (
          <>
            <dt>Time</dt>
            <dd>{job.timeout}</dd>
          </>
        )}
        {wanted.map(([name, value]) => {
          const held = limits.find((one) => one.limit === name);
          return [
            <dt key={name}>{name.replaceAll("_", " ")}</dt>,
            <dd key={`${name} `} title={held?.reason}>
              {String(value)}{" "}
              {held && (held.by ? <span class="muted">by {held.by}</span> : <span class="late">not enforced: {held.reason}</span>)}
            </dd>,
          ];
        })}
      </dl>
    </section>
  );
}

function Definition({ run: { job, agent, secret_names = [] } }: { run: Run }) {
  return (
    <section class="panel" aria-label="Command">
      <header>
        <h2>What it runs</h2>
        <span class="room" />
        {job.name && <a href={jobLink(job.name, agent ?? null)}>The job</a>}
      </header>
      <pre class="command">{commandText(job)}</pre>
      {secret_names.length > 0 && <p class="muted more">with the secrets {secret_names.join(", ")}</p>}
    </section>
  );
}

const KINDS: Record<number, string> = { 20: "JSON", 21: "YAML", 22: "TOML", 23: "HRD", 30: "a job" };

function Result({ data }: { data: { level: number; text: string } }) {
  return (
    <section class="panel" aria-label="Result">
      <header>
        <h2>Result</h2>
        <span class="muted">{KINDS[data.level] ?? ""}</span>
      </header>
      <pre class="command">{data.text}</pre>
    </section>
  );
}
