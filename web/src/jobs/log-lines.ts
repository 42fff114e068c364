// The output of a run as it comes: what is there, then what is said, without a gap or a double over
// broken connections. A bounded number of rows is held.
import { signal, type Signal } from "@preact/signals";
import { isAborted, Refusal, words } from "../api/client";
import type { LogRow, Problem } from "../api/types";

/** Rows that are held: of more the oldest go, and the page says so. */
export const N_ROWS_MAX = 50_000;
/** Before the first attempt to go on after the connection broke, and the longest before one, milliseconds. */
const AGAIN_MS = 1_000;
const AGAIN_MS_MAX = 15_000;
/** Rows are shown together that came within so long, milliseconds: a flood must not draw each. */
const SHOWN_EVERY_MS = 100;

export interface Lines {
  rows: Signal<LogRow[]>;
  /** Rows that are held no longer. */
  nGone: Signal<number>;
  problem: Signal<string>;
  /** Will more come? */
  isOpen: Signal<boolean>;
  close: () => void;
}

/** Follows the output at this address; `after` is added to it. */
export function follow(path: string): Lines {
  const rows = signal<LogRow[]>([]);
  const nGone = signal(0);
  const problem = signal("");
  const isOpen = signal(true);
  const abort = new AbortController();
  let fresh: LogRow[] = [];
  let last = 0;
  const show = () => {
    if (fresh.length === 0) return;
    const all = [...rows.peek(), ...fresh];
    fresh = [];
    if (all.length > N_ROWS_MAX) nGone.value += all.length - N_ROWS_MAX;
    rows.value = all.slice(-N_ROWS_MAX);
  };
  const timer = window.setInterval(show, SHOWN_EVERY_MS);
  const take = (line: string) => {
    if (!line.trim()) return;
    const row = JSON.parse(line) as LogRow;
    if (row.seq <= last) return;
    last = row.seq;
    fresh.push(row);
  };
  const read = async () => {
    let pause = AGAIN_MS;
    while (!abort.signal.aborted) {
      try {
        await stream(`${path}${path.includes("?") ? "&" : "?"}follow=true&after=${last}`, take, abort.signal);
        problem.value = "";
        break;
      } catch (error) {
        if (isAborted(error)) break;
        problem.value = words(error);
        if (error instanceof Refusal && error.status < 500 && error.status !== 429) break;
        await new Promise((go) => window.setTimeout(go, pause));
        pause = Math.min(AGAIN_MS_MAX, pause * 2);
      }
    }
    show();
    isOpen.value = false;
    window.clearInterval(timer);
  };
  void read();
  return { rows, nGone, problem, isOpen, close: () => abort.abort() };
}

async function stream(path: string, take: (line: string) => void, abort: AbortSignal): Promise<void> {
  const answer = await fetch(path, { signal: abort });
  if (!answer.ok || !answer.body) {
    const problem = (await answer.json().catch(() => null)) as Partial<Problem> | null;
    throw new Refusal(answer.status, problem?.code ?? "refused", problem?.detail ?? `the hub answers ${answer.status}`);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(take);
  }
  take(rest);
}

/** What a row says, as text: bytes that are none are shown as such, colours of terminals are left out. */
export function textOf(row: LogRow): string {
  const text = row.text ?? (row.base64 ? decoded(row.base64) : "");
  return text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "").replace(/\r?\n$/, "");
}

function decoded(base64: string): string {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  return new TextDecoder("utf-8").decode(bytes);
}
