// What queues up on which host: runs that go on, and those that wait in their order.
import { useComputed } from "@preact/signals";
import { now } from "../api/client";
import type { Queue, Queues } from "../api/types";
import { clock, exactInstant, span } from "../format";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { hostLink, param, setParams } from "../router";
import { listQueues } from "./calls";
import { runLink } from "./links";
import { RunMark, shortId } from "./outcome";

const EVERY_MS = 2_000;
/** Waiting runs of a queue that are listed. */
const N_SHOWN_MAX = 50;

const text = param("q");

export function QueuesPage() {
  const { data, problem } = useLoaded<Queues>("queues", EVERY_MS, listQueues);
  const shown = useComputed(() => {
    const wanted = text.value.toLowerCase();
    const found = (data.value?.queues ?? []).filter((queue) => `${queue.agent} ${queue.queue} ${queue.running.concat(queue.waiting).map((run) => run.job).join(" ")}`.toLowerCase().includes(wanted));
    // The longest first.
    return found.toSorted((a, b) => b.waiting.length - a.waiting.length || (a.agent < b.agent ? -1 : a.agent > b.agent ? 1 : a.queue < b.queue ? -1 : 1));
  });
  const waiting = shown.value.reduce((n, queue) => n + queue.waiting.length, 0);
  const running = shown.value.reduce((n, queue) => n + queue.running.length, 0);
  return (
    <main>
      <div class="head">
        <h1>Queues</h1>
        <input type="search" aria-label="Filter queues" placeholder="Host, queue, job" value={text.value} onInput={(event) => setParams({ q: event.currentTarget.value })} />
        <span class="muted" role="status">
          {data.value ? `${running} running, ${waiting} waiting` : ""}
        </span>
      </div>
      <Problem text={problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking for queues" />}
      {data.value && shown.value.length === 0 && (
        <Empty title={data.value.queues.length === 0 ? "Nothing runs and nothing waits" : "No queue fits"}>
          <p>
            Jobs with the same <code>queue</code> wait for each other; others start at once, unless their host is full.
          </p>
        </Empty>
      )}
      <div class="queues">
        {shown.value.map((queue) => (
          <QueueBox key={`${queue.agent} ${queue.queue}`} queue={queue} />
        ))}
      </div>
    </main>
  );
}

function QueueBox({ queue }: { queue: Queue }) {
  const rest = queue.waiting.length - N_SHOWN_MAX;
  return (
    <section class="panel queue" aria-label={`${queue.queue || "No queue"} on ${queue.agent}`}>
      <header>
        <h2 class="cut">{queue.queue || <span class="muted">without a queue</span>}</h2>
        <a class="cut" href={hostLink(queue.agent)}>
          {queue.agent}
        </a>
        <span class="room" />
        <span class="num muted" title={queue.width == null ? "Bounded by the host alone" : `${queue.width} at a time`}>
          {queue.running.length}
          {queue.width != null && ` of ${queue.width}`} running
        </span>
        {queue.waiting.length > 0 && <span class="num late">{queue.waiting.length} waiting</span>}
      </header>
      {queue.unknown_since_ms != null && <p class="gaps">As it was at {clock(queue.unknown_since_ms)}: the host is not linked</p>}
      <ol>
        {queue.running.map((run) => (
          <Line key={run.id} run={run} place={null} />
        ))}
        {queue.waiting.slice(0, N_SHOWN_MAX).map((run, index) => (
          <Line key={run.id} run={run} place={index + 1} />
        ))}
      </ol>
      {rest > 0 && <p class="more muted">and {rest} more</p>}
    </section>
  );
}

function Line({ run, place }: { run: Queue["running"][number]; place: number | null }) {
  return (
    <li>
      <span class="num muted">{place ?? ""}</span>
      <RunMark state={run.state} />
      <a class="cut" href={runLink(run.id)}>
        {run.job || shortId(run.id)}
      </a>
      {run.priority !== 0 && (
        <span class="chip" title="Higher ones go first">
          {run.priority > 0 ? `+${run.priority}` : run.priority}
        </span>
      )}
      <span class="num muted" title={`Accepted ${exactInstant(run.created_ms)}`}>
        {span(Math.max(0, now() - run.created_ms))}
      </span>
    </li>
  );
}
