// The units of a host: systemd's services, slices and containers, as they are now or were at any moment
// that is still kept.
import { useComputed } from "@preact/signals";
import { get, now } from "../api/client";
import type { Agent, Unit, Units } from "../api/types";
import { bytes, bytesPerSecond, exactInstant, longSpan, percent } from "../format";
import { number, ordered, Sorted, type Column } from "../parts/columns";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { param, setParams } from "../router";
import { Moment, momentOf } from "./moment";

/** How often the table is taken anew while it is that of now, milliseconds: it is stored so often. */
const EVERY_MS = 5_000;

const text = param("p");
const sort = param("usort", "cpu");

const waiting = (key: string, title: string, of: (unit: Unit) => number | null) => ({
  ...number<Unit>(key, title, of, (share) => (share < 0.001 ? "–" : percent(share, 1))),
  hint: (unit: Unit) => `Share of time in which a task of it waited: ${percent(of(unit), 2)}`,
});

const COLUMNS: Column<Unit>[] = [
  {
    key: "name",
    title: "Unit",
    of: (unit) => unit.name.toLowerCase(),
    show: (unit) => (
      <button type="button" class="as-link cut" onClick={() => setParams({ tab: "processes", p: unit.path || unit.name }, "push")}>
        {unit.name || "/"}
      </button>
    ),
    class: "p-name",
    hint: (unit) => `The processes of ${unit.path || "/"}`,
  },
  number("cpu", "CPU", (unit) => unit.cpu_cores, (cores) => `${(cores * 100).toFixed(1)} %`),
  number("memory", "Memory", (unit) => unit.memory_bytes, bytes),
  number("read", "Read", (unit) => unit.read_bytes_per_second, (value) => (value === 0 ? "–" : bytesPerSecond(value))),
  number("write", "Written", (unit) => unit.written_bytes_per_second, (value) => (value === 0 ? "–" : bytesPerSecond(value))),
  waiting("wcpu", "Waits for CPU", (unit) => unit.cpu_waiting),
  waiting("wmemory", "for memory", (unit) => unit.memory_waiting),
  waiting("wio", "for disks", (unit) => unit.io_waiting),
  number("processes", "Processes", (unit) => unit.processes, String),
  {
    key: "started",
    title: "Age",
    of: (unit) => (unit.start_ms > 0 ? -unit.start_ms : null),
    show: (unit) => (unit.start_ms > 0 ? longSpan(Math.max(0, now() - unit.start_ms)) : "–"),
    class: "num",
    hint: (unit) => (unit.start_ms > 0 ? exactInstant(unit.start_ms) : "It was there before the agent"),
  },
  { key: "path", title: "Path", of: (unit) => unit.path, show: (unit) => unit.path, class: "p-command", hint: (unit) => unit.path },
];

export function UnitsTab({ agent }: { agent: Agent }) {
  const moment = momentOf();
  const isAway = agent.link.state !== "up";
  const then = moment ?? (isAway ? (agent.newest_ms ?? null) : null);
  const { data, problem } = useLoaded(`${agent.name} ${then ?? "now"}`, then === null ? EVERY_MS : 0, (abort) =>
    get<Units>(`/api/v1/agents/${encodeURIComponent(agent.name)}/units?at=${Math.floor(then ?? now())}`, abort),
  );
  const shown = useComputed(() => {
    const wanted = text.value.toLowerCase();
    const rows = (data.value?.units ?? []).filter((unit) => unit.path.toLowerCase().includes(wanted));
    return ordered(rows, COLUMNS, sort.value, (a, b) => (a.path < b.path ? -1 : 1));
  });
  const n = data.value?.units.length ?? 0;
  return (
    <section class="panel processes" aria-label="Units">
      <header>
        <Moment taken={data.value?.time_ms ?? 0} isAway={isAway} />
        <span class="room" />
        <input type="search" aria-label="Filter units" placeholder="Path of a unit" value={text.value} onInput={(event) => setParams({ p: event.currentTarget.value })} />
        <span class="muted num" role="status">
          {shown.value.length === n ? n : `${shown.value.length} of ${n}`}
        </span>
      </header>
      <Problem text={problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking for units" />}
      {data.value && n === 0 && (
        <Empty title="No table of units of that moment">
          <p>This host has no control groups, nothing was stored then, or it is kept no longer.</p>
          {moment !== null && (
            <button type="button" onClick={() => setParams({ at: null })}>
              Show those of now
            </button>
          )}
        </Empty>
      )}
      {n > 0 && (
        <div class="scroll">
          <Sorted
            columns={COLUMNS}
            rows={shown.value}
            sort={sort.value}
            onSort={(by) => setParams({ usort: by })}
            keyOf={(unit) => unit.path}
            rowClass={(unit) => ((unit.cpu_cores ?? 0) >= 0.5 ? "busy-unit" : "")}
          />
        </div>
      )}
    </section>
  );
}
