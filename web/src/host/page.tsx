// One host: what it does now and did, who did it, its processes, what happened to it, what it is.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { get, now, queryAt, Refusal, words } from "../api/client";
import type { Agent } from "../api/types";
import { quote } from "../chart/history";
import { clock, bytes, exactInstant, longSpan, percent, span } from "../format";
import { StatusDialog, type Status } from "../fleet/bulk";
import { hosts, refreshFleet } from "../fleet/store";
import { add } from "../keys";
import { useLoaded } from "../parts/loaded";
import { Empty, Waiting } from "../parts/messages";
import { State } from "../parts/state";
import { param, setParams } from "../router";
import { isOperator } from "../session";
import { Charts } from "./charts";
import { EventsTab } from "./events";
import { Facts } from "./facts";
import { ProcessesTab } from "./processes";
import { UnitsTab } from "./units";

const TABS = [
  ["", "Charts"],
  ["processes", "Processes"],
  ["units", "Units"],
  ["events", "Events"],
  ["facts", "Facts"],
] as const;
const EVERY_MS = 5_000;
const tab = param("tab");

export function HostPage({ name }: { name: string }) {
  // The fleet may have it already: then the page is drawn at once.
  const agent = useSignal<Agent | null>(hosts.peek().find((host) => host.name === name) ?? null);
  const instance = useComputed(() => hosts.value.find((host) => host.name === name)?.instance ?? null);
  const problem = useSignal("");
  useEffect(() => {
    let timer = 0;
    const look = async () => {
      try {
        if (!document.hidden) agent.value = await get<Agent>(`/api/v1/agents/${encodeURIComponent(name)}`);
        problem.value = "";
      } catch (error) {
        if (error instanceof Refusal && error.status === 404) agent.value = null;
        problem.value = words(error);
      }
      timer = window.setTimeout(look, EVERY_MS);
    };
    void look();
    if (!hosts.peek().some((host) => host.name === name)) void refreshFleet();
    return () => window.clearTimeout(timer);
  }, [name]);
  useEffect(
    () => add(TABS.map(([key, title], index) => ({ keys: String(index + 1), does: title, run: () => setParams({ tab: key }, "push") }))),
    [],
  );
  const it = agent.value;
  if (!it) {
    return (
      <main>
        {problem.value ? (
          <Empty title={`No host ${name}`} isAll>
            <p class="said">{problem.value}</p>
            <a href="/">To the fleet</a>
          </Empty>
        ) : (
          <Waiting what={`Asking for ${name}`} />
        )}
      </main>
    );
  }
  return (
    <main class="host">
      <Head agent={it} instance={instance.value ?? it.name} />
      <nav class="tabs" aria-label="About this host">
        {TABS.map(([key, title]) => (
          <button key={key} type="button" aria-current={tab.value === key ? "true" : undefined} onClick={() => setParams({ tab: key }, "push")}>
            {title}
          </button>
        ))}
      </nav>
      <Body agent={it} instance={instance.value ?? it.name} />
    </main>
  );
}

function Body({ agent, instance }: { agent: Agent; instance: string }) {
  switch (tab.value) {
    case "processes":
      return <ProcessesTab agent={agent} />;
    case "units":
      return <UnitsTab agent={agent} />;
    case "events":
      return <EventsTab agent={agent} />;
    case "facts":
      return <Facts agent={agent} instance={instance} />;
    default:
      return <Charts agent={agent} instance={instance} />;
  }
}

/** What the host is, in a line. */
function Gist({ agent, instance }: { agent: Agent; instance: string }) {
  const { data } = useLoaded(`${instance} ${agent.link.state}`, 0, async (abort) => {
    const own = `instance=${quote(instance)}`;
    const when = agent.link.state === "up" ? now() : (agent.newest_ms ?? now());
    const asked = `{__name__=~"node_os_info|node_memory_MemTotal_bytes|node_boot_time_seconds",${own}}`;
    const [found, cores] = await Promise.all([
      queryAt(asked, when, abort),
      queryAt(`count(node_cpu_seconds_total{mode="idle",${own}})`, when, abort),
    ]);
    const named = (name: string) => found.result.find((series) => series.metric.__name__ === name);
    const boot = Number(named("node_boot_time_seconds")?.value?.[1] ?? 0) * 1000;
    const n = Number(cores.result[0]?.value?.[1] ?? 0);
    return [
      named("node_os_info")?.metric.pretty_name,
      n > 0 && `${n} ${n === 1 ? "core" : "cores"}`,
      named("node_memory_MemTotal_bytes") && bytes(Number(named("node_memory_MemTotal_bytes")?.value?.[1])),
      boot > 0 && `up ${longSpan(when - boot)}`,
    ];
  });
  return <p class="gist muted cut">{(data.value ?? []).filter(Boolean).join(" · ") || "\u00a0"}</p>;
}

function Head({ agent, instance }: { agent: Agent; instance: string }) {
  const [status, setStatus] = useState<Status | null>(null);
  const { share, of_ms } = agent.coverage;
  const isAway = agent.link.state === "down" || agent.link.state === "late";
  return (
    <>
      <div class="head">
        <h1>{agent.name}</h1>
        <State agent={agent} />
        <span class="cut">
          {agent.roles.map((role) => (
            <a key={role} class="chip" href={`/?q=${encodeURIComponent(`role:${role}`)}`}>
              {role}
            </a>
          ))}
          {Object.entries(agent.labels).map(([label, value]) => (
            <a key={label} class="chip" href={`/?q=${encodeURIComponent(`${label}=${value}`)}`}>
              {label}={value}
            </a>
          ))}
        </span>
        <span class="room" />
        <span class="muted" title={agent.newest_ms ? `Stored up to ${exactInstant(agent.newest_ms)}` : undefined}>
          Lag {span(agent.lag_ms)} · covered {of_ms ? `${Math.floor(share * 1000) / 10} % of ${span(of_ms)}` : percent(null)} · {agent.version}
        </span>
        {isOperator.value && (
          <a class="button" href={`/runs?new=1&on=${encodeURIComponent(agent.name)}`}>
            Run something…
          </a>
        )}
        {isOperator.value && (
          <select
            aria-label="What people say of this host"
            value={agent.status}
            onChange={(event) => {
              const wanted = event.currentTarget.value as Status;
              event.currentTarget.value = agent.status;
              setStatus(wanted);
            }}
          >
            <option value="online">Online</option>
            <option value="maintenance">Maintenance</option>
            <option value="offline">Offline</option>
          </select>
        )}
      </div>
      <Gist agent={agent} instance={instance} />
      {isAway && agent.status === "online" && (
        <p class={`away ${agent.link.state}`} role="alert">
          {agent.link.state === "down" ? "There is no link to this host" : "Nothing has come from this host"} since{" "}
          <span title={exactInstant(agent.link.since_ms ?? now())}>
            {clock(agent.link.since_ms ?? now())} ({span(now() - (agent.link.since_ms ?? now()))})
          </span>
          . Its agent keeps what it measures meanwhile and sends it
          afterwards; what is shown ends{agent.newest_ms ? ` at ${clock(agent.newest_ms)}` : " with the last sample"}.
        </p>
      )}
      {status && <StatusDialog agents={[agent.id]} names={[agent.name]} status={status} onClose={() => setStatus(null)} />}
    </>
  );
}
