// The fleet as a dense grid: a cell a host, its colour how busy it is, its mark what is wrong with it.
import { useRef } from "preact/hooks";
import type { Host } from "../api/types";
import { percent } from "../format";
import { useSeen } from "../parts/seen";
import { healthOf, healthWord, isUnwell, Mark } from "../parts/state";
import { hostLink, param, setParams } from "../router";

const by = param("by", "cpu");
const MEASURES = { cpu: "CPU", memory: "Memory", disk: "Disk" };
/** Cells with names are for fleets up to this. */
const N_NAMED_MAX = 400;

function shareOf(host: Host): number | null {
  const m = host.measures;
  return (by.value === "memory" ? m?.memory : by.value === "disk" ? m?.disk?.share : m?.cpu) ?? null;
}

export function Grid({ hosts }: { hosts: Host[] }) {
  const own = useRef<HTMLDivElement>(null);
  const isNamed = hosts.length <= N_NAMED_MAX;
  const cell = isNamed ? { width: 116, height: 34 } : { width: 26, height: 26 };
  const size = useSeen(own, hosts.length, 4, () => cell.height);
  const perRow = Math.max(1, Math.floor(size.value.width / cell.width));
  const first = size.value.from * perRow;
  const seen = hosts.slice(first, size.value.to * perRow);
  return (
    <section aria-label="Hosts">
      <div class="tools">
        <div class="segments" role="group" aria-label="What colours the cells">
          {Object.entries(MEASURES).map(([key, name]) => (
            <button key={key} type="button" aria-pressed={by.value === key} onClick={() => setParams({ by: key === "cpu" ? null : key })}>
              {name}
            </button>
          ))}
        </div>
        <span class="scale muted" aria-hidden="true">
          0 % <i /> 100 %
        </span>
      </div>
      <div ref={own} class={`cells ${isNamed ? "named" : ""}`} style={{ height: `${Math.ceil(hosts.length / perRow) * cell.height}px` }}>
        {seen.map((host, index) => {
          const at = first + index;
          const [x, y] = [(at % perRow) * cell.width, Math.floor(at / perRow) * cell.height];
          const share = shareOf(host);
          const health = healthOf(host);
          const heat = share === null ? "none" : String(Math.min(9, Math.floor(share * 10)));
          return (
            <a
              key={host.id}
              href={hostLink(host.name)}
              class={`cell ${isUnwell(health) ? health : ""}`}
              data-heat={heat}
              style={{ transform: `translate(${x}px, ${y}px)` }}
              title={`${host.name}: ${healthWord(health)}, ${MEASURES[by.value as keyof typeof MEASURES] ?? "CPU"} ${percent(share)}`}
            >
              {health !== "up" && <Mark health={health} />}
              {isNamed ? (
                <>
                  <span class="cut">{host.name}</span>
                  <span class="num">{share === null ? "" : Math.round(share * 100)}</span>
                </>
              ) : (
                <span class="hidden">{host.name}</span>
              )}
            </a>
          );
        })}
      </div>
    </section>
  );
}
