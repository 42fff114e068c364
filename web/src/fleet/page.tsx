// The fleet: which hosts are unwell, what is strained, who is to blame, and what the data do not cover.
import { useComputed } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { add } from "../keys";
import { Empty, Problem, Waiting } from "../parts/messages";
import { param, params, setParams } from "../router";
import { isAdmin } from "../session";
import { Bulk } from "./bulk";
import { Grid } from "./grid";
import { grouped, groupings, matches, sorted, type Sort } from "./select";
import { fleetProblem, hosts, refreshFleet, toldAt } from "./store";
import { FleetTable } from "./table";
import { Totals } from "./totals";

/** How often the fleet is asked for while it is looked at, milliseconds: large ones less often. */
function pause(): number {
  const n = hosts.peek().length;
  return n <= 1_000 ? 4_000 : n <= 4_000 ? 8_000 : 15_000;
}

const grouping = param("group");
const view = param("view", "table");
const sort = param("sort", "need");

export function FleetPage() {
  useEffect(() => {
    let timer = 0;
    const look = async () => {
      if (!document.hidden) await refreshFleet();
      timer = window.setTimeout(look, pause());
    };
    void look();
    return () => window.clearTimeout(timer);
  }, []);
  useEffect(
    () => add([{ keys: "v", does: "Table or grid", run: () => setParams({ view: view.value === "grid" ? null : "grid" }) }]),
    [],
  );
  const shown = useComputed(() => {
    const text = params.value.get("q") ?? "";
    const found = text ? hosts.value.filter((host) => matches(host, text)) : hosts.value;
    return sorted(found, sort.value as Sort, params.value.has("up"));
  });
  const lines = useComputed(() => grouped(shown.value, grouping.value));
  if (toldAt.value === 0) {
    return (
      <main>
        <h1 class="hidden">Fleet</h1>
        {fleetProblem.value ? <Problem text={fleetProblem.value} /> : <Waiting what="Asking for the fleet" />}
      </main>
    );
  }
  return (
    <main class="fleet">
      <h1 class="hidden">Fleet</h1>
      {hosts.value.length > 0 && <Totals />}
      {hosts.value.length === 0 ? (
        <Nobody />
      ) : (
        <>
          <Tools n={shown.value.length} />
          {view.value === "grid" ? <Grid hosts={shown.value} /> : <FleetTable lines={lines.value} />}
          {shown.value.length === 0 && (
            <Empty title="No host fits">
              <p>
                Nothing has all of the words <code>{params.value.get("q")}</code>.
              </p>
              <button type="button" onClick={() => setParams({ q: null })}>
                Show all {hosts.value.length}
              </button>
            </Empty>
          )}
        </>
      )}
      <Bulk />
    </main>
  );
}

function Tools({ n }: { n: number }) {
  const all = hosts.value.length;
  return (
    <div class="tools">
      <span class="muted" role="status">
        {n === all ? `${all} ${all === 1 ? "host" : "hosts"}` : `${n} of ${all} hosts`}
      </span>
      {sort.value !== "need" && (
        <button type="button" class="plain" onClick={() => setParams({ sort: null, up: null })}>
          Unwell first
        </button>
      )}
      <span class="room" />
      {view.value !== "grid" && (
        <label class="tool">
          <span class="muted">Group</span>
          <select value={grouping.value} onChange={(event) => setParams({ group: event.currentTarget.value })}>
            <option value="">None</option>
            {groupings(hosts.value).map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
      )}
      <div class="segments" role="group" aria-label="Table or grid">
        {["table", "grid"].map((one) => (
          <button key={one} type="button" aria-pressed={view.value === one} onClick={() => setParams({ view: one === "table" ? null : one })}>
            {one === "table" ? "Table" : "Grid"}
          </button>
        ))}
      </div>
    </div>
  );
}

function Nobody() {
  return (
    <Empty title="No host yet">
      <p>A host joins with one line: its agent makes a key, the hub signs it, and from then on every sample counts.</p>
      {isAdmin.value ? (
        <a class="button primary" href="/agents?add=1">
          Add a host
        </a>
      ) : (
        <p>Ask an admin for a join string.</p>
      )}
    </Empty>
  );
}
