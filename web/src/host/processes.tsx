// The processes of a host: as they are now, or as they were at any moment that is still kept.
import { useComputed } from "@preact/signals";
import { get, now } from "../api/client";
import type { Agent, Process, Processes } from "../api/types";
import { bytes, bytesPerSecond, exactInstant, longSpan } from "../format";
import { number, ordered, Sorted, type Column } from "../parts/columns";
import { useLoaded } from "../parts/loaded";
import { Empty, Problem, Waiting } from "../parts/messages";
import { param, setParams } from "../router";
import { Moment, momentOf } from "./moment";

/** How often the table is taken anew while it is that of now, milliseconds. */
const EVERY_MS = 2_000;
/** Rows that are drawn, unless more are asked for. */
const N_SHOWN = 200;

const text = param("p");
const sort = param("psort", "cpu");
const group = param("by");
const all = param("all");

type Row = Process & { n: number };
const COLUMNS: Column<Row>[] = [
  { key: "name", title: "Process", of: (row) => row.name.toLowerCase(), show: (row) => row.name, class: "p-name" },
  number("pid", "PID", (row) => row.pid, String),
  number("cpu", "CPU", (row) => row.cpu_cores, (cores) => `${(cores * 100).toFixed(1)} %`),
  number("rss", "Memory", (row) => row.rss_bytes, bytes),
  number("swap", "Swap", (row) => row.swap_bytes, (value) => (value === 0 ? "–" : bytes(value))),
  number("read", "Read", (row) => row.read_bytes_per_second, (value) => (value === 0 ? "–" : bytesPerSecond(value))),
  number("write", "Written", (row) => row.written_bytes_per_second, (value) => (value === 0 ? "–" : bytesPerSecond(value))),
  number("threads", "Threads", (row) => row.threads, String),
  number("files", "Files", (row) => row.open_files, String),
  { key: "state", title: "S", of: (row) => row.state, show: (row) => row.state, class: "p-state" },
  { key: "started", title: "Age", of: (row) => -row.start_ms, show: (row) => longSpan(Math.max(0, now() - row.start_ms)), class: "num", hint: (row) => exactInstant(row.start_ms) },
  { key: "unit", title: "Unit", of: (row) => row.unit, show: (row) => row.unit.split("/").at(-1) || "–", class: "p-unit", hint: (row) => row.unit },
  { key: "command", title: "Command", of: (row) => row.command, show: (row) => row.command, class: "p-command", hint: (row) => row.command },
];

function summed(rows: Process[], by: string): Row[] {
  if (by !== "group" && by !== "unit") return rows.map((row) => ({ ...row, n: 1 }));
  const groups = new Map<string, Row>();
  const plus = (a: number | null | undefined, b: number | null | undefined) => (a == null ? (b ?? null) : a + (b ?? 0));
  for (const row of rows) {
    const key = row[by] || `(no ${by})`;
    const own = groups.get(key);
    if (!own) {
      groups.set(key, { ...row, name: key, command: row.name, n: 1 });
      continue;
    }
    own.n += 1;
    own.cpu_cores = plus(own.cpu_cores, row.cpu_cores);
    own.rss_bytes += row.rss_bytes;
    own.swap_bytes = plus(own.swap_bytes, row.swap_bytes);
    own.threads += row.threads;
    own.open_files = plus(own.open_files, row.open_files);
    own.read_bytes_per_second = plus(own.read_bytes_per_second, row.read_bytes_per_second);
    own.written_bytes_per_second = plus(own.written_bytes_per_second, row.written_bytes_per_second);
    own.start_ms = Math.min(own.start_ms, row.start_ms);
    own.command = `${own.n} processes`;
  }
  return [...groups.values()];
}

function fits(row: Process, wanted: string): boolean {
  const low = wanted.toLowerCase();
  return `${row.name} ${row.command} ${row.unit} ${row.group} ${row.pid}`.toLowerCase().includes(low);
}

export function ProcessesTab({ agent }: { agent: Agent }) {
  const moment = momentOf();
  const isAway = agent.link.state !== "up";
  // Of a host that cannot be asked the last table that is stored.
  const then = moment ?? (isAway ? (agent.newest_ms ?? null) : null);
  const path = `/api/v1/agents/${encodeURIComponent(agent.name)}`;
  const { data, problem } = useLoaded(`${agent.name} ${then ?? "now"}`, then === null ? EVERY_MS : 0, (abort) =>
    get<Processes>(then === null ? `${path}/v1/processes` : `${path}/processes?at=${Math.floor(then)}`, abort),
  );
  const shown = useComputed(() => {
    const rows = (data.value?.processes ?? []).filter((row) => fits(row, text.value));
    return ordered(summed(rows, group.value), COLUMNS, sort.value, (a, b) => a.pid - b.pid);
  });
  const n = data.value?.processes.length ?? 0;
  return (
    <section class="panel processes" aria-label="Processes">
      <header>
        <Moment taken={data.value?.time_ms ?? 0} isAway={isAway} />
        <span class="room" />
        <input
          type="search"
          aria-label="Filter processes"
          placeholder="Name, command, unit, PID"
          value={text.value}
          onInput={(event) => setParams({ p: event.currentTarget.value })}
        />
        <select aria-label="Add up by" value={group.value} onChange={(event) => setParams({ by: event.currentTarget.value })}>
          <option value="">Each process</option>
          <option value="group">By group</option>
          <option value="unit">By unit</option>
        </select>
        <span class="muted num" role="status">
          {shown.value.length === n ? n : `${shown.value.length} of ${n}`}
        </span>
      </header>
      {problem.value && <Problem text={problem.value} />}
      {!data.value && !problem.value && <Waiting what="Asking for processes" />}
      {data.value && n === 0 && (
        <Empty title="No process table of that moment">
          <p>Nothing was stored then, or it is kept no longer.</p>
          <button type="button" onClick={() => setParams({ at: null })}>
            Show those of now
          </button>
        </Empty>
      )}
      {n > 0 && <Table rows={shown.value} />}
    </section>
  );
}

function Table({ rows }: { rows: Row[] }) {
  const drawn = all.value ? rows : rows.slice(0, N_SHOWN);
  return (
    <div class="scroll">
      <Sorted
        columns={COLUMNS}
        rows={drawn}
        sort={sort.value}
        onSort={(by) => setParams({ psort: by })}
        keyOf={(row) => `${row.pid} ${row.start_ms} ${row.name}`}
        rowClass={(row) => ((row.cpu_cores ?? 0) >= 0.5 ? "busy" : "")}
      />
      {drawn.length < rows.length && (
        <p class="more">
          <button type="button" onClick={() => setParams({ all: "1" })}>
            Show all {rows.length}
          </button>
        </p>
      )}
    </div>
  );
}
