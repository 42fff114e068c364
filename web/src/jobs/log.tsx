// The output of a run: live, by level, searched, followed, saved. Only rows in sight are drawn.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { LogRow } from "../api/types";
import { bytes, exactInstant, instant } from "../format";
import { Problem } from "../parts/messages";
import { param, setParams } from "../router";
import { follow, textOf } from "./log-lines";

/** Height of a row, pixels: the style sheet says the same. */
const ROW = 18;
const MORE = 20;

const wanted = param("text");
const kinds = param("levels");

/** Levels under one name. */
const KINDS: [key: string, name: string, has: (level: number) => boolean][] = [
  ["out", "Output", (level) => level === 1],
  ["err", "Errors of the command", (level) => level === 2],
  ["say", "Messages", (level) => level >= 3 && level <= 6],
  ["warn", "Warnings", (level) => level >= 7 && level <= 9],
  ["more", "Statistics, results", (level) => level === 10 || level >= 20],
];

const WORDS: Record<number, [word: string, look: string]> = {
  1: ["", ""],
  2: ["err", "err"],
  3: ["public", ""],
  4: ["operator", ""],
  5: ["log", ""],
  6: ["log", ""],
  7: ["warning", "late"],
  8: ["error", "bad"],
  9: ["critical", "bad"],
  10: ["stat", "muted"],
  20: ["JSON", "muted"],
  21: ["YAML", "muted"],
  22: ["TOML", "muted"],
  23: ["HRD", "muted"],
  30: ["job", "muted"],
};

export function RunLog({ path, name }: { path: string; name: string }) {
  const lines = useMemo(() => follow(path), [path]);
  useEffect(() => () => lines.close(), [lines]);
  const isFollowed = useSignal(true);
  const shown = useComputed(() => {
    const chosen = kinds.value.split(",").filter(Boolean);
    const text = wanted.value.toLowerCase();
    const all = lines.rows.value;
    if (chosen.length === 0 && !text) return all;
    const has = KINDS.filter(([key]) => chosen.includes(key)).map(([, , is]) => is);
    return all.filter((row) => (has.length === 0 || has.some((is) => is(row.level))) && (!text || textOf(row).toLowerCase().includes(text)));
  });
  const n = lines.rows.value.length;
  return (
    <section class="panel run-log" aria-label="Log">
      <header>
        <h2>Log</h2>
        <Kinds rows={lines.rows.value} />
        <span class="room" />
        <input type="search" aria-label="Search the log" placeholder="Search" value={wanted.value} onInput={(event) => setParams({ text: event.currentTarget.value })} />
        <label class="tool">
          <input type="checkbox" checked={isFollowed.value} onChange={(event) => (isFollowed.value = event.currentTarget.checked)} /> Follow
        </label>
        <button type="button" disabled={n === 0} onClick={() => save(shown.value, name)}>
          Save
        </button>
        <span class="muted num" role="status">
          {shown.value.length === n ? `${n} lines` : `${shown.value.length} of ${n}`}
        </span>
      </header>
      {lines.nGone.value > 0 && <p class="gaps">{lines.nGone.value} older lines are not held by this page; save them by fieldpost run logs.</p>}
      <Problem text={lines.problem.value} />
      <Rows rows={shown.value} isFollowed={isFollowed} />
      {n === 0 && !lines.problem.value && <p class="muted more">{lines.isOpen.value ? "Nothing was said yet" : "It said nothing"}</p>}
    </section>
  );
}

/** Which levels there are, to choose from. */
function Kinds({ rows }: { rows: LogRow[] }) {
  const there = useMemo(() => new Set(rows.map((row) => row.level)), [rows]);
  const chosen = kinds.value.split(",").filter(Boolean);
  const some = KINDS.filter(([key, , has]) => chosen.includes(key) || [...there].some(has));
  if (some.length < 2) return null;
  const toggle = (key: string) => {
    const next = chosen.includes(key) ? chosen.filter((one) => one !== key) : [...chosen, key];
    setParams({ levels: next.join(",") });
  };
  return (
    <div class="segments" role="group" aria-label="Levels">
      {some.map(([key, name]) => (
        <button key={key} type="button" aria-pressed={chosen.includes(key)} onClick={() => toggle(key)}>
          {name}
        </button>
      ))}
    </div>
  );
}

function Rows({ rows, isFollowed }: { rows: LogRow[]; isFollowed: { value: boolean; peek: () => boolean } }) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSignal({ from: 0, to: 60 });
  const look = () => {
    const own = box.current;
    if (!own) return;
    const next = { from: Math.max(0, Math.floor(own.scrollTop / ROW) - MORE), to: Math.ceil((own.scrollTop + own.clientHeight) / ROW) + MORE };
    if (next.from !== seen.peek().from || next.to !== seen.peek().to) seen.value = next;
  };
  useLayoutEffect(() => {
    const own = box.current;
    if (own && isFollowed.value) own.scrollTop = own.scrollHeight;
    look();
  }, [rows, isFollowed.value]);
  // Who scrolls up wants to read: following ends there, and begins again at the end.
  const scrolled = () => {
    const own = box.current!;
    const isAtEnd = own.scrollHeight - own.scrollTop - own.clientHeight < ROW * 2;
    if (isAtEnd !== isFollowed.peek() && rows.length * ROW > own.clientHeight) isFollowed.value = isAtEnd;
    look();
  };
  if (rows.length === 0) return null;
  const { from, to } = seen.value;
  return (
    <div ref={box} class="log-box" role="log" aria-live="off" aria-label="Lines" tabIndex={0} onScroll={scrolled}>
      <div class="log-rows" style={{ height: `${rows.length * ROW}px` }}>
        {rows.slice(from, to).map((row, index) => {
          const [word, look] = WORDS[row.level] ?? [String(row.level), ""];
          const gone = row.missing_bytes ?? 0;
          return (
            <div key={row.seq} class={`log-row ${look}`} style={{ transform: `translateY(${(from + index) * ROW}px)` }}>
              <time title={exactInstant(row.time_ms)}>{instant(row.time_ms).slice(11)}</time>
              <i>{word}</i>
              {gone > 0 && <b class="late">{bytes(gone)} before this are not kept </b>}
              <span>{textOf(row).replaceAll("\n", " ¶ ")}</span>
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** Saves what is shown as a file of text. */
function save(rows: LogRow[], name: string): void {
  const text = rows.map((row) => `${new Date(row.time_ms).toISOString()} ${row.level} ${textOf(row)}\n`).join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = `${name.replace(/[^\w.-]+/g, "_").slice(0, 80)}.log`;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
