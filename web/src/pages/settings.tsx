// The hub about itself: what it keeps and for how long, how its store grows, what it costs, which versions
// run; and how this page looks.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { get, now, queryAt, queryRange } from "../api/client";
import type { About } from "../api/types";
import type { Frame } from "../chart/frame";
import { quote, stepOf } from "../chart/history";
import { Legend } from "../chart/legend";
import type { Unit } from "../chart/panels";
import { Plot } from "../chart/plot";
import { hosts, refreshFleet } from "../fleet/store";
import { bytes, count, exact, longSpan, percent, span } from "../format";
import { useLoaded } from "../parts/loaded";
import { Problem, Waiting } from "../parts/messages";
import { SpanBar } from "../host/span-bar";
import { showSpan, spanAt } from "../host/span";
import { params } from "../router";
import { isUtc, theme, type Theme } from "../settings";

export function SettingsPage() {
  const { data, problem } = useLoaded("about", 5_000, (abort) => get<About>("/api/v1/about", abort));
  return (
    <main class="narrow">
      <div class="head">
        <h1>Settings</h1>
      </div>
      <section class="panel" aria-label="This page">
        <header>
          <h2>This page</h2>
        </header>
        <div class="fields form-like">
          <div class="pair">
            <label class="field">
              Colours
              <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
                <option value="auto">as the system has them</option>
                <option value="light">light</option>
                <option value="dark">dark</option>
              </select>
            </label>
            <label class="field">
              Times
              <select value={isUtc.value ? "utc" : "local"} onChange={(event) => (isUtc.value = event.currentTarget.value === "utc")}>
                <option value="local">in my zone</option>
                <option value="utc">in UTC</option>
              </select>
            </label>
          </div>
        </div>
      </section>
      <Problem text={problem.value} />
      {!data.value && !problem.value && <Waiting what="Asking the hub about itself" />}
      {data.value && (
        <>
          <div class="two">
            <Hub about={data.value} />
            <Keeps about={data.value} />
            <Store about={data.value} />
            <Versions about={data.value} />
          </div>
          <Itself instance={data.value.instance} />
        </>
      )}
    </main>
  );
}

function Row({ name, title, children }: { name: string; title?: string; children: ComponentChildren }) {
  return (
    <>
      <dt>{name}</dt>
      <dd title={title}>{children}</dd>
    </>
  );
}

function Facts({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section class="panel" aria-label={title}>
      <header>
        <h2>{title}</h2>
      </header>
      <dl class="facts">{children}</dl>
    </section>
  );
}

function Hub({ about }: { about: About }) {
  return (
    <Facts title="Hub">
      <Row name="Version">{about.version}</Row>
      <Row name="Identity">
        <code>{about.hub_id}</code>
      </Row>
      <Row name="Known as">{about.urls.join(", ")}</Row>
      <Row name="Agents linked now">{about.n_links}</Row>
      <Row name="An agent is late">when nothing came for {longDays(about.late_after_ms)}</Row>
      <Row name="An agent leaves the list">after {longDays(about.forget_after_ms)} of silence; its data stay</Row>
    </Facts>
  );
}

/** By how much the store grows in a day, at the pace of the last hours; and when it is full then. */
function useGrowth(about: About): { perDay: number; seenFor: number } | null {
  const { data } = useLoaded(`growth ${about.instance}`, 60_000, async (abort) => {
    const own = `fieldpost_hub_store_bytes{instance=${quote(about.instance)}}`;
    const [slope, first] = await Promise.all([
      queryAt(`deriv(${own}[6h]) * 86400`, now(), abort),
      queryAt(`time() - min_over_time(timestamp(${own})[6h:1m])`, now(), abort),
    ]);
    const value = (found: typeof slope) => Number(found.result[0]?.value?.[1] ?? NaN);
    return { perDay: value(slope), seenFor: value(first) * 1000 };
  });
  return data.value && Number.isFinite(data.value.perDay) ? data.value : null;
}

/** Of less one cannot tell a pace. */
const PACE_MS = 600_000;

function Keeps({ about }: { about: About }) {
  const { keeps, store } = about;
  const growth = useGrowth(about);
  const isKnown = growth !== null && growth.seenFor >= PACE_MS;
  const full = isKnown && growth.perDay > 0 ? (keeps.quota_bytes - store.bytes) / growth.perDay : null;
  return (
    <Facts title="What is kept">
      <Row name="Samples as they were taken">{longDays(keeps.raw_ms)}</Row>
      <Row name="Rollups to a minute">{longDays(keeps.rollup_1m_ms)}</Row>
      <Row name="Rollups to an hour">{longDays(keeps.rollup_1h_ms)}</Row>
      <Row name="Events, audit">{longDays(keeps.events_ms)}</Row>
      <Row name="Size" title={`${exact(store.bytes)} of ${exact(keeps.quota_bytes)} bytes`}>
        {bytes(store.bytes)} of {bytes(keeps.quota_bytes)} ({percent(store.bytes / keeps.quota_bytes, 1)}), {store.n_files} {store.n_files === 1 ? "file" : "files"}
      </Row>
      <Row name="Growth" title="At the pace of the last hours; merging gives some of it back">
        {isKnown ? `${bytes(growth.perDay)} a day` : <span class="muted">not known yet</span>}
        {full !== null && full < 3_650 && <span class={full * 86_400_000 < keeps.raw_ms ? "late" : "muted"}>, full in {span(full * 86_400_000)}</span>}
      </Row>
      <Row name="Left free for others">{bytes(keeps.min_free_bytes)}</Row>
    </Facts>
  );
}

function longDays(ms: number): string {
  const days = ms / 86_400_000;
  return days >= 2 ? `${Math.round(days)} days` : longSpan(ms);
}

function Store({ about: { store } }: { about: About }) {
  return (
    <Facts title="Since the hub was started">
      <Row name="Samples stored" title={exact(store.n_samples_stored)}>
        {count(store.n_samples_stored)} in {count(store.n_items_stored)} items
      </Row>
      <Row name="Sent again and dropped" title={exact(store.n_duplicates)}>
        {count(store.n_duplicates)} items
      </Row>
      <Row name="Refused">
        <span class={store.n_refused > 0 ? "late" : ""}>{exact(store.n_refused)}</span>
      </Row>
      <Row name="Said to be lost by agents">
        <span class={store.n_lost > 0 ? "late" : ""}>{exact(store.n_lost)} items</span>
      </Row>
      <Row name="Waits to be written">{bytes(store.queue_bytes)}</Row>
      <Row name="Merging is behind by">{span(store.merge_lag_ms)}</Row>
      <Row name="Files put aside as damaged">
        <span class={store.n_quarantined > 0 ? "bad" : ""}>{exact(store.n_quarantined)}</span>
      </Row>
      {store.last_error && (
        <Row name="Last trouble">
          <span class="bad">{store.last_error}</span>
        </Row>
      )}
    </Facts>
  );
}

/** Which versions of the agent run on how many hosts. */
function Versions({ about }: { about: About }) {
  const { data } = useLoaded("versions", 30_000, async () => {
    await refreshFleet(10_000);
    const counts = new Map<string, number>();
    for (const host of hosts.peek()) counts.set(host.version, (counts.get(host.version) ?? 0) + 1);
    return [...counts].sort(([, a], [, b]) => b - a);
  });
  return (
    <Facts title="Versions of agents">
      {data.value?.length === 0 && <Row name="No agent yet">–</Row>}
      {data.value?.map(([version, n]) => (
        <Row key={version} name={version || "not known"}>
          {n} {n === 1 ? "host" : "hosts"}
          {version !== about.version && <span class="late"> other than the hub's</span>}
        </Row>
      ))}
    </Facts>
  );
}

interface Own {
  title: string;
  unit: Unit;
  query: (own: string, window: string) => string;
}

const OWN: Own[] = [
  { title: "CPU of the hub", unit: "cores", query: (own, window) => `rate(process_cpu_seconds_total{${own}}[${window}])` },
  { title: "Memory of the hub", unit: "bytes", query: (own) => `process_resident_memory_bytes{${own}}` },
  { title: "Size of the store", unit: "bytes", query: (own) => `fieldpost_hub_store_bytes{${own}}` },
  { title: "Samples stored", unit: "count/s", query: (own, window) => `rate(fieldpost_hub_samples_total{${own}}[${window}])` },
  { title: "Agents linked", unit: "count", query: (own) => `fieldpost_hub_links{${own}}` },
  { title: "Waits to be written", unit: "bytes", query: (own) => `fieldpost_hub_queue_bytes{${own}}` },
];
/** The hub notes its own numbers so often, seconds. */
const NOTED_EVERY = 10;

/** The hub's own numbers over time: it stores them as it stores those of hosts. */
function Itself({ instance }: { instance: string }) {
  const pointer = useSignal<number | null>(null);
  const asked = ["last", "from", "to"].map((name) => params.value.get(name) ?? "").join(" ");
  const { data, problem } = useLoaded(`itself ${instance} ${asked}`, 15_000, async (abort) => {
    const { fromMs, toMs } = spanAt(now());
    const step = stepOf({ fromMs, toMs }, NOTED_EVERY);
    const [from, to] = [Math.ceil(fromMs / 1000 / step) * step, Math.floor(toMs / 1000 / step) * step];
    const own = `instance=${quote(instance)},job="fieldpost-hub"`;
    const frames = OWN.map(async ({ query }): Promise<Frame> => {
      const found = await queryRange(query(own, `${Math.max(step, 3 * NOTED_EVERY)}s`), from * 1000, to * 1000, step, 3 * NOTED_EVERY, abort);
      const n = Math.max(0, Math.round((to - from) / step) + 1);
      const values = new Array<number | null>(n).fill(null);
      for (const [time, text] of found.result[0]?.values ?? []) values[Math.round((time - from) / step)] = Number(text);
      return { times: Array.from({ length: n }, (_, index) => from + index * step), lines: [{ name: "", color: "blue", values }] };
    });
    return { frames: await Promise.all(frames), fromMs, toMs };
  });
  const found = data.value;
  return (
    <section class="itself" aria-label="The hub itself">
      <div class="tools">
        <h2>The hub itself</h2>
        <span class="room" />
        <SpanBar withCompare={false} />
      </div>
      <Problem text={problem.value} />
      <div class="panels">
        {OWN.map((one, index) => (
          <section key={one.title} class="panel chart" aria-label={one.title}>
            <header>
              <h3>{one.title}</h3>
              {found && <Legend frame={found.frames[index]!} unit={one.unit} pointer={pointer} />}
            </header>
            {found && (
              <Plot
                title={one.title}
                panel={{ unit: one.unit }}
                frame={found.frames[index]!}
                fromMs={found.fromMs}
                toMs={found.toMs}
                height={120}
                pointer={pointer}
                onZoom={showSpan}
              />
            )}
          </section>
        ))}
      </div>
    </section>
  );
}
