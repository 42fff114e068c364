// Where the records of the Logs page come from: what others pushed to the hub, as it has stored it; and what runs
// have said above the level of plain output, as their agents tell it.
import { get } from "../api/client";
import type { LogPage } from "../api/types";
import { hosts, refreshFleet } from "../fleet/store";
import { healthOf } from "../parts/state";

/** A record of either kind. */
export interface Told {
  time_ms: number;
  /** OpenTelemetry's scale, 0 to 24. */
  severity: number;
  word: string;
  body: string;
  attributes: string[][];
  who: string;
  /** Of which host, if it is one's. */
  host: string | null;
  /** The run that said it. */
  run: string | null;
}

export interface Asked {
  fromMs: number;
  toMs: number;
  source: string;
  severity: number;
  text: string;
}

export interface Page {
  records: Told[];
  senders: Record<string, string>;
  next: string | null;
  /** Hosts that did not answer. */
  missing: string[];
}

/** Of runs on all hosts; with a colon and a name, on that one. */
export const OF_RUNS = "runs";
/** Hosts that are asked, and so many at a time. */
const N_HOSTS_MAX = 200;
const N_AT_A_TIME = 6;

const WORDS = ["", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

export async function records(asked: Asked, after: string | null, abort: AbortSignal): Promise<Page> {
  return asked.source.startsWith(OF_RUNS) ? ofRuns(asked, abort) : pushed(asked, after, abort);
}

async function pushed(asked: Asked, after: string | null, abort: AbortSignal): Promise<Page> {
  const ask = new URLSearchParams({ from: String(Math.floor(asked.fromMs)), to: String(Math.ceil(asked.toMs)), order: "newest" });
  if (asked.source) ask.set("agent", asked.source);
  if (asked.severity > 0) ask.set("severity", String(asked.severity));
  if (asked.text) ask.set("text", asked.text);
  if (after) ask.set("after", after);
  const page = await get<LogPage>(`/api/v1/logs?${ask.toString()}`, abort);
  const told = page.records.map((record): Told => {
    const sender = page.senders[record.agent_id] ?? record.agent_id;
    const service = record.resource.find(([name]) => name === "service.name")?.[1];
    return {
      time_ms: record.time_ms,
      severity: record.severity,
      word: record.severity_text || WORDS[Math.ceil(record.severity / 4)] || "–",
      body: record.body,
      attributes: record.attributes,
      who: service || sender,
      host: record.agent_id.startsWith("push-") ? null : sender,
      run: null,
    };
  });
  return { records: told, senders: page.senders, next: page.next ?? null, missing: [] };
}

interface Message {
  run: string;
  job: string;
  time_ms: number;
  level: number;
  text?: string;
}

/** Levels of runs on OpenTelemetry's scale. */
function severityOf(level: number): number {
  return level >= 9 ? 21 : level === 8 ? 17 : level === 7 ? 13 : 9;
}

const LEVELS: Record<number, string> = { 3: "public", 4: "operator", 5: "log", 6: "log", 7: "warning", 8: "error", 9: "critical" };

async function ofRuns(asked: Asked, abort: AbortSignal): Promise<Page> {
  await refreshFleet(30_000);
  const only = asked.source.slice(OF_RUNS.length + 1);
  const there = hosts.peek().filter((host) => (only ? host.name === only : healthOf(host) === "up")).slice(0, N_HOSTS_MAX);
  const where = `from=${Math.floor(asked.fromMs)}&to=${Math.ceil(asked.toMs)}&levels=3-9&limit=500`;
  const [found, missing]: [Told[], string[]] = [[], []];
  const wanted = asked.text.toLowerCase();
  const rest = there.map((host) => host.name);
  const work = async () => {
    for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
      try {
        const { messages } = await get<{ messages: Message[] }>(`/api/v1/agents/${encodeURIComponent(name)}/v1/messages?${where}`, abort);
        found.push(...messages.map((one) => told(one, name!)));
      } catch (error) {
        abort.throwIfAborted();
        missing.push(name);
      }
    }
  };
  await Promise.all(Array.from({ length: N_AT_A_TIME }, work));
  const fits = (one: Told) => one.severity >= asked.severity && `${one.body} ${one.who}`.toLowerCase().includes(wanted);
  return { records: found.filter(fits).sort((a, b) => b.time_ms - a.time_ms), senders: {}, next: null, missing };
}

function told(message: Message, host: string): Told {
  return {
    time_ms: message.time_ms,
    severity: severityOf(message.level),
    word: LEVELS[message.level] ?? String(message.level),
    body: (message.text ?? "").trimEnd(),
    attributes: [],
    who: message.job || message.run.slice(-8),
    host,
    run: message.run,
  };
}
