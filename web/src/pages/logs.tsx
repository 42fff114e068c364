// Logs over all senders by time, level and text, the newest first: what others pushed to the hub, and the messages
// of runs.
import { useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, isAborted, now, words } from "../api/client";
import type { ApiToken } from "../api/types";
import { hosts } from "../fleet/store";
import { exactInstant, instant } from "../format";
import { SpanBar } from "../host/span-bar";
import { spanAt } from "../host/span";
import { runLink } from "../jobs/links";
import { Empty, Problem, Waiting } from "../parts/messages";
import { useLoaded } from "../parts/loaded";
import { hostLink, param, params, setParams } from "../router";
import { isAdmin } from "../session";
import { OF_RUNS, records, type Asked, type Page, type Told } from "./log-records";

const source = param("source");
const text = param("q");
const level = param("level", "0");

/** From this number on, in OpenTelemetry's scale. */
const LEVELS: [number, string][] = [
  [0, "All levels"],
  [5, "Debug and above"],
  [9, "Info and above"],
  [13, "Warnings and above"],
  [17, "Errors"],
];
/** Who types is not asked for every letter, milliseconds. */
const TYPING_MS = 250;
/** Hosts that are offered by name; others are reached by the link of their runs. */
const N_OFFERED_MAX = 200;

function look(severity: number): string {
  return severity >= 17 ? "bad" : severity >= 13 ? "late" : "muted";
}

/** The records that the address asks for, a page after the other. */
function useRecords() {
  const page = useSignal<(Page & { asked: Asked }) | null>(null);
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(true);
  const under = useRef<AbortController | null>(null);
  const load = async (after: string | null) => {
    under.current?.abort();
    const abort = new AbortController();
    under.current = abort;
    setBusy(true);
    const before = after ? page.peek() : null;
    const asked = before?.asked ?? { ...spanAt(now()), source: source.value, severity: Number(level.value) || 0, text: text.value };
    try {
      const found = await records(asked, after, abort.signal);
      const all = before ? [...before.records, ...found.records] : found.records;
      page.value = { ...found, asked, records: all, senders: { ...before?.senders, ...found.senders } };
      setProblem("");
    } catch (error) {
      if (isAborted(error)) return;
      page.value = null;
      setProblem(words(error));
    }
    setBusy(false);
  };
  const asked = [source.value, level.value, text.value, ...["last", "from", "to"].map((name) => params.value.get(name) ?? "")].join("\n");
  const isFirst = useRef(true);
  useEffect(() => {
    const timer = window.setTimeout(() => void load(null), isFirst.current ? 0 : TYPING_MS);
    isFirst.current = false;
    return () => window.clearTimeout(timer);
  }, [asked]);
  useEffect(() => () => under.current?.abort(), []);
  return { page, problem, isBusy, load };
}

export function LogsPage() {
  const { page, problem, isBusy, load } = useRecords();
  const found = page.value;
  const isFiltered = source.value !== "" || text.value !== "" || Number(level.value) > 0;
  return (
    <main>
      <div class="head">
        <h1>Logs</h1>
        <Sources seen={found?.senders ?? {}} />
        <select aria-label="Level" value={level.value} onChange={(event) => setParams({ level: event.currentTarget.value === "0" ? null : event.currentTarget.value })}>
          {LEVELS.map(([least, name]) => (
            <option key={least} value={String(least)}>
              {name}
            </option>
          ))}
        </select>
        <input type="search" aria-label="Text" placeholder="Text" value={text.value} onInput={(event) => setParams({ q: event.currentTarget.value })} />
        <span class="room" />
        <span class="muted" role="status">
          {found ? `${found.records.length}${found.next ? "+" : ""} records` : ""}
        </span>
        <button type="button" onClick={() => void load(null)}>
          Look again
        </button>
      </div>
      <div class="tools">
        <SpanBar withCompare={false} />
      </div>
      <Problem text={problem} />
      {found && found.missing.length > 0 && <p class="note">Without {found.missing.slice(0, 8).join(", ")}: they did not answer.</p>}
      {isBusy && !found && !problem && <Waiting what="Asking for records" />}
      {found?.records.length === 0 && <Nothing isFiltered={isFiltered} />}
      {found && found.records.length > 0 && (
        <section class="panel" aria-busy={isBusy}>
          <Records records={found.records} />
          {found.next && (
            <p class="more">
              <button type="button" disabled={isBusy} onClick={() => void load(found.next)}>
                Older records
              </button>
            </p>
          )}
        </section>
      )}
    </main>
  );
}

/** Admins know all who may push; others those who were seen here. */
function Sources({ seen }: { seen: Record<string, string> }) {
  const senders = useLoaded<ApiToken[]>("senders", 0, (abort) => (isAdmin.value ? get("/api/v1/api-tokens", abort) : Promise.resolve([])));
  const known = new Map(Object.entries(seen));
  for (const token of senders.data.value ?? []) {
    if (token.scope === "ingest" || token.scope === "admin") known.set(`push-${token.id}`, token.name);
  }
  const isOther = source.value !== "" && !source.value.startsWith(OF_RUNS) && !known.has(source.value);
  if (isOther) known.set(source.value, source.value);
  const ofHost = source.value.slice(OF_RUNS.length + 1);
  const offered = hosts.value.slice(0, N_OFFERED_MAX).map((host) => host.name);
  if (ofHost && source.value.startsWith(OF_RUNS) && !offered.includes(ofHost)) offered.unshift(ofHost);
  return (
    <select aria-label="Sender" value={source.value} onChange={(event) => setParams({ source: event.currentTarget.value })}>
      <option value="">All who push logs</option>
      {[...known].map(([id, name]) => (
        <option key={id} value={id}>
          {name}
        </option>
      ))}
      <option value={OF_RUNS}>Messages of runs, all hosts</option>
      {offered.map((name) => (
        <option key={name} value={`${OF_RUNS}:${name}`}>
          Runs on {name}
        </option>
      ))}
    </select>
  );
}

function Records({ records: shown }: { records: Told[] }) {
  return (
    <div class="scroll">
      <table class="list dense log">
        <thead>
          <tr>
            <th>When</th>
            <th>Level</th>
            <th>Who</th>
            <th>Message</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((record, index) => (
            <tr key={index}>
              <td class="nowrap muted" title={exactInstant(record.time_ms)}>
                {instant(record.time_ms)}
              </td>
              <td class={`level ${look(record.severity)}`}>{record.word}</td>
              <td class="nowrap log-who">
                <Who record={record} />
              </td>
              <td class="body">
                {record.body}{" "}
                {record.attributes.map(([name, value]) => (
                  <span key={name} class="chip">
                    {name}={value}
                  </span>
                ))}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Who({ record: { who, host, run, time_ms } }: { record: Told }) {
  const around = { from: String(time_ms - 300_000), to: String(time_ms + 300_000) };
  return (
    <>
      {run ? <a href={runLink(run)}>{who}</a> : who}
      {host !== null && (
        <>
          {" "}
          <a class="muted" href={hostLink(host, around)} title="What the host did then">
            {host}
          </a>
        </>
      )}
    </>
  );
}

function Nothing({ isFiltered }: { isFiltered: boolean }) {
  if (isFiltered) {
    return (
      <Empty title="No record fits">
        <p>Nothing of this sender, level and text was sent in this span.</p>
        <button type="button" onClick={() => setParams({ source: null, level: null, q: null })}>
          Show all
        </button>
      </Empty>
    );
  }
  return (
    <Empty title="Nothing was sent in this span">
      <p>
        Programs and collectors hand in logs by OTLP/HTTP at <code>/v1/logs</code>, with an API token of scope ingest.
      </p>
      {isAdmin.value && (
        <a class="button" href="/tokens">
          Make a token
        </a>
      )}
    </Empty>
  );
}
