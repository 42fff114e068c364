// All hosts, a row each. Only rows that are seen are drawn, however many there are.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Host } from "../api/types";
import { bytesPerSecond, exactInstant, percent, span } from "../format";
import { add } from "../keys";
import { Meter, Sparkline } from "../parts/meters";
import { useSeen } from "../parts/seen";
import { healthOf, isUnwell, Mark, State } from "../parts/state";
import { hostLink, params, setParams } from "../router";
import { isOperator } from "../session";
import { chosen, toggle } from "./bulk";
import { strain, type Line, type Sort } from "./select";
import { sparks, want } from "./sparks";

/** Heights of a row, pixels: the style sheet says the same. */
const ROW = 34;
const ROW_PHONE = 70;
/** Of a younger host a gap of seconds would be told as if it were much. */
const YOUNG_MS = 900_000;
/** Rows drawn beyond those that are seen. */
const MORE = 8;

const isPhone = window.matchMedia("(max-width: 760px)");

const COLUMNS: { sort: Sort | null; title: string; class: string; hint?: string }[] = [
  { sort: "name", title: "Host", class: "c-name" },
  { sort: "state", title: "State", class: "c-state" },
  { sort: "lag", title: "Lag", class: "c-lag num", hint: "Age of the newest stored sample" },
  { sort: "cpu", title: "CPU", class: "c-cpu" },
  { sort: null, title: "30 min", class: "c-spark" },
  { sort: "memory", title: "Memory", class: "c-memory" },
  { sort: null, title: "30 min", class: "c-spark c-spark-memory" },
  { sort: "disk", title: "Disk, fullest", class: "c-disk" },
  { sort: "network", title: "Network in, out", class: "c-network num" },
  { sort: "load", title: "Load", class: "c-load num", hint: "Load of the last minute; sorted by load per core" },
  { sort: "pressure", title: "Waiting", class: "c-pressure", hint: "Largest share of time that tasks waited for CPU, memory or disks (PSI)" },
  { sort: "top", title: "Busiest process", class: "c-top", hint: "Group of processes that uses most CPU now" },
  { sort: "jobs", title: "Jobs", class: "c-jobs num", hint: "Jobs whose newest run went wrong; of how many there are" },
  { sort: "coverage", title: "Covered", class: "c-coverage num", hint: "What the hub has of the last 24 hours" },
];

export function FleetTable({ lines }: { lines: Line[] }) {
  const own = useRef<HTMLDivElement>(null);
  const active = useSignal(-1);
  const n = lines.length;
  const seen = useSeen(own, n, MORE, () => (isPhone.matches ? ROW_PHONE : ROW));
  const { from, to, height } = seen.value;
  const slice = lines.slice(from, to);
  useEffect(() => {
    const timer = window.setTimeout(() => want(slice.flatMap((line) => ("host" in line ? [line.host] : []))), 120);
    return () => window.clearTimeout(timer);
  }, [from, to, lines]);
  const latest = useRef(lines);
  latest.current = lines;
  useEffect(() => {
    const step = (by: number) => () => {
      let next = active.peek() + by;
      while (latest.current[next] && !("host" in latest.current[next]!)) next += by;
      if (!latest.current[next]) return;
      active.value = next;
      const top = (own.current?.getBoundingClientRect().top ?? 0) + next * seen.peek().height;
      if (top < 100 || top > window.innerHeight - 80) window.scrollBy({ top: top - window.innerHeight / 2 });
      requestAnimationFrame(() => own.current?.querySelector<HTMLElement>(`[data-row="${next}"] a`)?.focus());
    };
    return add([
      { keys: "j", does: "Next host (Enter opens it)", run: step(1) },
      { keys: "k", does: "Previous host", run: step(-1) },
    ]);
  }, []);
  return (
    <div class="hosts" role="table" aria-label="Hosts" aria-rowcount={n + 1}>
      <Head />
      <div ref={own} role="rowgroup" class="rows" style={{ height: `${n * height}px` }}>
        {slice.map((line, index) => {
          const at = from + index;
          const style = { transform: `translateY(${at * height}px)` };
          return "host" in line ? (
            <Row key={`${line.host.id}-${at}`} host={line.host} at={at} style={style} />
          ) : (
            <div key={`group ${line.title}`} class="group" role="row" aria-rowindex={at + 2} style={style}>
              <span role="cell">
                <strong>{line.title}</strong> <span class="muted">{line.count}</span>
              </span>
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Head() {
  const sort = params.value.get("sort") ?? "need";
  const isUp = params.value.has("up");
  return (
    <div class="row head-row" role="row" aria-rowindex={1}>
      {COLUMNS.map((column, index) => (
        <span
          key={index}
          role="columnheader"
          class={column.class}
          aria-sort={column.sort === sort ? (isUp === (sort !== "name") ? "ascending" : "descending") : undefined}
        >
          {column.sort ? (
            <button
              type="button"
              title={column.hint}
              onClick={() => setParams({ sort: column.sort, up: column.sort === sort && !isUp ? "1" : null })}
            >
              {column.title}
              {column.sort === sort && <span aria-hidden="true">{isUp ? " ↑" : " ↓"}</span>}
            </button>
          ) : (
            <span class="muted">{column.title}</span>
          )}
        </span>
      ))}
    </div>
  );
}

function Row({ host, at, style }: { host: Host; at: number; style: { transform: string } }) {
  const m = host.measures;
  const health = healthOf(host);
  const spark = useComputed(() => sparks.value.get(host.instance));
  const isChosen = useComputed(() => chosen.value.has(host.id));
  const trouble = isUnwell(health) ? health : strain(host) > 0 && health === "up" ? "strained" : "";
  return (
    <div class={`row ${trouble}`} role="row" aria-rowindex={at + 2} data-row={at} data-host={host.name} style={style}>
      <span role="cell" class="c-name">
        {isOperator.value && (
          <input
            type="checkbox"
            aria-label={`Choose ${host.name}`}
            checked={isChosen.value}
            onChange={(event) => toggle(host.id, event.currentTarget.checked)}
          />
        )}
        <a class="cover cut" href={hostLink(host.name)} title={host.name}>
          {host.name}
        </a>
        <span class="chips cut">
          {host.roles.map((role) => (
            <span key={role} class="chip">
              {role}
            </span>
          ))}
        </span>
      </span>
      <span role="cell" class="c-state">
        <State agent={host} />
      </span>
      <span role="cell" class="c-lag num" title={host.newest_ms ? `Stored up to ${exactInstant(host.newest_ms)}` : "Nothing is stored yet"}>
        <span class={(host.lag_ms ?? 0) > 60_000 ? "late" : "muted"}>{span(host.lag_ms)}</span>
      </span>
      <span role="cell" class="c-cpu">
        <Meter share={m?.cpu} title={m ? `CPU busy: ${percent(m.cpu, 1)} of ${m.cores} cores` : undefined} />
      </span>
      <span role="cell" class="c-spark">
        <Sparkline points={spark.value?.cpu} title="CPU of the last 30 minutes" />
      </span>
      <span role="cell" class="c-memory">
        <Meter share={m?.memory} title={`Memory that is not available: ${percent(m?.memory, 1)}`} />
      </span>
      <span role="cell" class="c-spark c-spark-memory">
        <Sparkline points={spark.value?.memory} title="Memory of the last 30 minutes" />
      </span>
      <span role="cell" class="c-disk">
        <Meter share={m?.disk?.share} label={m?.disk?.mountpoint} title={m?.disk ? `${m.disk.mountpoint} is used to ${percent(m.disk.share, 1)}` : undefined} />
      </span>
      <span role="cell" class="c-network num">
        {m ? (
          <>
            {bytesPerSecond(m.received)} <span class="muted">·</span> {bytesPerSecond(m.sent)}
          </>
        ) : (
          <span class="muted">–</span>
        )}
      </span>
      <span role="cell" class="c-load num" title={m ? `${m.cores} cores` : undefined}>
        {m?.load != null ? m.load.toFixed(2) : <span class="muted">–</span>}
      </span>
      <span role="cell" class="c-pressure">
        {m?.pressure && m.pressure.share >= 0.01 ? (
          <span class={m.pressure.share >= 0.4 ? "bad" : m.pressure.share >= 0.1 ? "late" : ""} title={`Some task waited for ${m.pressure.of} ${percent(m.pressure.share, 1)} of the time`}>
            {m.pressure.of} {percent(m.pressure.share)}
          </span>
        ) : (
          <span class="muted">–</span>
        )}
      </span>
      <span role="cell" class="c-top cut">
        {m?.top && m.top.cores >= 0.01 ? (
          <span title={`${m.top.group} keeps ${m.top.cores.toFixed(2)} cores busy`}>
            {m.top.group} <span class="muted num">{m.top.cores.toFixed(m.top.cores < 10 ? 2 : 0)}</span>
          </span>
        ) : (
          <span class="muted">–</span>
        )}
      </span>
      <span role="cell" class="c-jobs num">
        <Jobs host={host} />
      </span>
      <span role="cell" class="c-coverage num">
        <Covered host={host} />
      </span>
    </div>
  );
}

function Jobs({ host: { name, jobs } }: { host: Host }) {
  if (!jobs) return <span class="muted">–</span>;
  if (jobs.n_failing === 0) {
    return <span class="muted" title={`${jobs.n} jobs, ${jobs.n_active} running; none went wrong last`}>{jobs.n}</span>;
  }
  const names = jobs.failing.join(", ") + (jobs.n_failing > jobs.failing.length ? ", …" : "");
  return (
    <a class="over bad" href={`/jobs?which=bad&q=${encodeURIComponent(name)}`} title={`Went wrong last: ${names}`}>
      <Mark health="down" /> {jobs.n_failing} <span class="hidden">went wrong</span>
    </a>
  );
}

function Covered({ host }: { host: Host }) {
  const { share, of_ms } = host.coverage;
  if (!of_ms) return <span class="muted">–</span>;
  // Rounded down: 100 % is said only of what is whole.
  const text = `${Math.floor(share * 1000) / 10} %`;
  const of = of_ms < 86_000_000 ? ` of the ${span(of_ms)} since its first sample` : " of the last 24 h";
  return (
    <span class={share < 0.99 && of_ms > YOUNG_MS ? "late" : "muted"} title={`${text}${of}`}>
      {text}
    </span>
  );
}
