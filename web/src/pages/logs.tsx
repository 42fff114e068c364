// Log records that others pushed to the hub: of all senders or of one, by time, level and text, the newest
// first.
import { useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, isAborted, now, words } from "../api/client";
import type { ApiToken, LogPage } from "../api/types";
import { exactInstant, instant } from "../format";
import { SpanBar } from "../host/span-bar";
import { spanAt } from "../host/span";
import { Empty, Problem, Waiting } from "../parts/messages";
import { useLoaded } from "../parts/loaded";
import { hostLink, param, params, setParams } from "../router";
import { isAdmin } from "../session";

type LogRecord = LogPage["records"][number];

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

function look(severity: number): string {
  return severity >= 17 ? "bad" : severity >= 13 ? "late" : "muted";
}

function word(record: LogRecord): string {
  const words = ["", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
  return record.severity_text || words[Math.ceil(record.severity / 4)] || "–";
}

/** Who says so: its service, else whoever sent it. */
function speaker(record: LogRecord, senders: Record<string, string>): string {
  const own = record.resource.find(([name]) => name === "service.name")?.[1];
  return own || senders[record.agent_id] || record.agent_id;
}

/** The records that the address asks for, a page after the other. */
function useRecords() {
  const page = useSignal<LogPage | null>(null);
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(true);
  const under = useRef<AbortController | null>(null);
  const load = async (after: string | null) => {
    under.current?.abort();
    const abort = new AbortController();
    under.current = abort;
    setBusy(true);
    const { fromMs, toMs } = spanAt(now());
    const before = after ? page.peek() : null;
    const ask = new URLSearchParams({ from: String(Math.floor(before?.from_ms ?? fromMs)), to: String(Math.ceil(before?.to_ms ?? toMs)), order: "newest" });
    if (source.value) ask.set("agent", source.value);
    if (Number(level.value) > 0) ask.set("severity", level.value);
    if (text.value) ask.set("text", text.value);
    if (after) ask.set("after", after);
    try {
      const found = await get<LogPage>(`/api/v1/logs?${ask.toString()}`, abort.signal);
      page.value = before ? { ...found, records: [...before.records, ...found.records], senders: { ...before.senders, ...found.senders } } : found;
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
  const senders = useLoaded<ApiToken[]>("senders", 0, (abort) => (isAdmin.value ? get("/api/v1/api-tokens", abort) : Promise.resolve([])));
  const { page, problem, isBusy, load } = useRecords();
  const found = page.value;
  // Admins know all who may send; others those who were seen here.
  const known = new Map(Object.entries(found?.senders ?? {}));
  for (const token of senders.data.value ?? []) {
    if (token.scope === "ingest" || token.scope === "admin") known.set(`push-${token.id}`, token.name);
  }
  if (source.value && !known.has(source.value)) known.set(source.value, source.value);
  const isFiltered = source.value !== "" || text.value !== "" || Number(level.value) > 0;
  return (
    <main>
      <div class="head">
        <h1>Logs</h1>
        <select aria-label="Sender" value={source.value} onChange={(event) => setParams({ source: event.currentTarget.value })}>
          <option value="">All senders</option>
          {[...known].map(([id, name]) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
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
      {isBusy && !found && !problem && <Waiting what="Asking for records" />}
      {found?.records.length === 0 && <Nothing isFiltered={isFiltered} />}
      {found && found.records.length > 0 && (
        <section class="panel" aria-busy={isBusy}>
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
                {found.records.map((record, index) => (
                  <Line key={index} record={record} senders={found.senders} />
                ))}
              </tbody>
            </table>
          </div>
          {found.next && (
            <p class="more">
              <button type="button" disabled={isBusy} onClick={() => void load(found.next ?? null)}>
                Older records
              </button>
            </p>
          )}
        </section>
      )}
    </main>
  );
}

function Line({ record, senders }: { record: LogRecord; senders: Record<string, string> }) {
  const who = speaker(record, senders);
  const isAgent = !record.agent_id.startsWith("push-");
  const around = { from: String(record.time_ms - 300_000), to: String(record.time_ms + 300_000) };
  return (
    <tr>
      <td class="nowrap muted" title={exactInstant(record.time_ms)}>
        {instant(record.time_ms)}
      </td>
      <td class={`level ${look(record.severity)}`}>{word(record)}</td>
      <td class="nowrap log-who" title={`sent by ${senders[record.agent_id] ?? record.agent_id}`}>
        {isAgent ? <a href={hostLink(who, around)}>{who}</a> : who}
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
