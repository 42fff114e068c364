// The fleet in one line: how many hosts are in which state, and what all together use. Each number
// leads to the hosts that it counts.
import { useComputed } from "@preact/signals";
import { bytesPerSecond, percent } from "../format";
import { hostLink, params, setParams } from "../router";
import { healthOf, healthWord, isUnwell, Mark, type Health } from "../parts/state";
import { strain } from "./select";
import { hosts } from "./store";

const COUNTED: Health[] = ["down", "late", "waiting", "never", "up", "maintenance", "offline", "revoked"];

export function Totals() {
  const counts = useComputed(() => {
    const counts = new Map<Health, number>();
    for (const host of hosts.value) counts.set(healthOf(host), (counts.get(healthOf(host)) ?? 0) + 1);
    return counts;
  });
  const isChosen = (query: string) => params.value.get("q") === query;
  const choose = (query: string) => setParams({ q: isChosen(query) ? null : query });
  const strained = hosts.value.filter((host) => strain(host) > 0).length;
  const failing = hosts.value.filter((host) => (host.jobs?.n_failing ?? 0) > 0).length;
  return (
    <section class="totals" aria-label="Totals">
      <div class="states">
        {COUNTED.filter((health) => (counts.value.get(health) ?? 0) > 0 || health === "up").map((health) => (
          <button
            key={health}
            type="button"
            class={`total ${isUnwell(health) ? (health === "down" ? "down" : "late") : ""}`}
            aria-pressed={isChosen(`state:${health}`)}
            onClick={() => choose(`state:${health}`)}
          >
            <strong>{counts.value.get(health) ?? 0}</strong>
            <span class={`state ${health === "up" ? "up" : health === "down" ? "down" : isUnwell(health) ? "late" : "rest"}`}>
              <Mark health={health} /> {healthWord(health)}
            </span>
          </button>
        ))}
        {failing > 0 && (
          <button type="button" class="total" aria-pressed={isChosen("state:failing")} onClick={() => choose("state:failing")}>
            <strong>{failing}</strong>
            <span class="bad">Jobs went wrong</span>
          </button>
        )}
        {strained > 0 && (
          <button type="button" class="total" aria-pressed={isChosen("state:strained")} onClick={() => choose("state:strained")}>
            <strong>{strained}</strong>
            <span class="late">Strained</span>
          </button>
        )}
      </div>
      <Sums />
    </section>
  );
}

function Sums() {
  const sums = useComputed(() => {
    let [cores, busy, memory, n, received, sent] = [0, 0, 0, 0, 0, 0];
    let fullest: { name: string; mountpoint: string; share: number } | null = null;
    for (const host of hosts.value) {
      const m = host.measures;
      if (!m) continue;
      cores += m.cores;
      busy += (m.cpu ?? 0) * m.cores;
      if (m.memory != null) {
        memory += m.memory;
        n += 1;
      }
      received += m.received ?? 0;
      sent += m.sent ?? 0;
      if (m.disk && m.disk.share > (fullest?.share ?? -1)) fullest = { name: host.name, ...m.disk };
    }
    return { cores, busy, memory: n > 0 ? memory / n : null, received, sent, fullest };
  });
  const s = sums.value;
  return (
    <dl class="sums">
      <div>
        <dt>CPU busy</dt>
        <dd>
          {s.busy.toFixed(s.busy < 100 ? 1 : 0)} <span class="muted">of {s.cores} cores</span>
        </dd>
      </div>
      <div>
        <dt>Memory, mean</dt>
        <dd>{percent(s.memory)}</dd>
      </div>
      <div>
        <dt>Network in, out</dt>
        <dd>
          {bytesPerSecond(s.received)} <span class="muted">·</span> {bytesPerSecond(s.sent)}
        </dd>
      </div>
      {s.fullest && (
        <div>
          <dt>Fullest disk</dt>
          <dd class="cut">
            {percent(s.fullest.share)}{" "}
            <a href={hostLink(s.fullest.name)} title={`${s.fullest.name} ${s.fullest.mountpoint}`}>
              {s.fullest.name} {s.fullest.mountpoint}
            </a>
          </dd>
        </div>
      )}
    </dl>
  );
}
