// Log records that others pushed to the hub: of one sender, by time, level and text.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { get, now, words } from "../api/client";
import type { ApiToken, LogPage } from "../api/types";
import { exactInstant, instant } from "../format";
import { SpanBar } from "../host/span-bar";
import { spanAt } from "../host/span";
import { Empty, Problem, Waiting } from "../parts/messages";
import { useLoaded } from "../parts/loaded";
import { param, params, setParams } from "../router";
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

function look(severity: number): string {
  return severity >= 17 ? "bad" : severity >= 13 ? "late" : "muted";
}

function word(record: LogRecord): string {
  const words = ["", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
  return record.severity_text || words[Math.ceil(record.severity / 4)] || "–";
}

export function LogsPage() {
  const senders = useLoaded<ApiToken[]>("senders", 0, (abort) => (isAdmin.value ? get("/api/v1/api-tokens", abort) : Promise.resolve([])));
  const known = (senders.data.value ?? []).filter((token) => token.scope === "ingest" || token.scope === "admin");
  const records = useSignal<LogRecord[] | null>(null);
  const next = useSignal<string | null>(null);
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const chosen = source.value || (known[0] ? `push-${known[0].id}` : "");
  const load = async (after: string | null) => {
    if (!chosen) return;
    setBusy(true);
    const { fromMs, toMs } = spanAt(now());
    const ask = new URLSearchParams({ agent: chosen, from: String(Math.floor(fromMs)), to: String(Math.ceil(toMs)), ...(after ? { after } : {}) });
    try {
      const page = await get<LogPage>(`/api/v1/logs?${ask.toString()}`);
      records.value = [...(after ? (records.peek() ?? []) : []), ...page.records];
      next.value = page.next ?? null;
      setProblem("");
    } catch (error) {
      records.value = null;
      setProblem(words(error));
    }
    setBusy(false);
  };
  const span = `${params.value.get("last") ?? ""} ${params.value.get("from") ?? ""} ${params.value.get("to") ?? ""}`;
  useEffect(() => void load(null), [chosen, span]);
  const shown = useComputed(() => {
    const wanted = text.value.toLowerCase();
    const least = Number(level.value) || 0;
    return (records.value ?? []).filter((one) => one.severity >= least && `${one.body} ${one.attributes.flat().join(" ")}`.toLowerCase().includes(wanted));
  });
  return (
    <main>
      <div class="head">
        <h1>Logs</h1>
        {known.length > 0 ? (
          <select aria-label="Sender" value={chosen} onChange={(event) => setParams({ source: event.currentTarget.value })}>
            {known.map((token) => (
              <option key={token.id} value={`push-${token.id}`}>
                {token.name}
              </option>
            ))}
          </select>
        ) : (
          <input aria-label="Sender" placeholder="push-… (id of the sender's API token)" value={source.value} onChange={(event) => setParams({ source: event.currentTarget.value })} />
        )}
        <select aria-label="Level" value={level.value} onChange={(event) => setParams({ level: event.currentTarget.value === "0" ? null : event.currentTarget.value })}>
          {LEVELS.map(([least, name]) => (
            <option key={least} value={String(least)}>
              {name}
            </option>
          ))}
        </select>
        <input type="search" aria-label="Text" placeholder="Text" value={text.value} onInput={(event) => setParams({ q: event.currentTarget.value })} />
        <span class="room" />
        <button type="button" onClick={() => void load(null)}>
          Look again
        </button>
      </div>
      <div class="tools">
        <SpanBar withCompare={false} />
      </div>
      <Problem text={problem} />
      {isBusy && !records.value && <Waiting what="Asking for records" />}
      {!chosen && !isBusy && (
        <Empty title="Nobody sends logs yet">
          <p>
            Programs and collectors hand in logs by OTLP/HTTP at <code>/v1/logs</code>, with an API token of scope ingest.
          </p>
          {isAdmin.value && (
            <a class="button" href="/tokens">
              Make a token
            </a>
          )}
        </Empty>
      )}
      {records.value && shown.value.length === 0 && (
        <Empty title="No record fits">
          <p>Nothing of this level and text was sent in this span.</p>
        </Empty>
      )}
      {shown.value.length > 0 && (
        <section class="panel">
          <div class="scroll">
            <table class="list dense log">
              <thead>
                <tr>
                  <th>When</th>
                  <th>Level</th>
                  <th>Message</th>
                </tr>
              </thead>
              <tbody>
                {shown.value.map((record, index) => (
                  <tr key={index}>
                    <td class="nowrap muted" title={exactInstant(record.time_ms)}>
                      {instant(record.time_ms)}
                    </td>
                    <td class={`level ${look(record.severity)}`}>{word(record)}</td>
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
          {next.value && (
            <p class="more">
              <button type="button" disabled={isBusy} onClick={() => void load(next.value)}>
                Later records
              </button>
            </p>
          )}
        </section>
      )}
    </main>
  );
}
