// Which span of time is shown: the last so much, or from one instant to another; earlier, later, wider.
import { useEffect, useState } from "preact/hooks";
import { now } from "../api/client";
import { exactInstant, instant, longSpan, readInstant } from "../format";
import { add } from "../keys";
import { params, setParams } from "../router";
import { isLast, lastName, LASTS, scale, shift, showLast, showSpan, spanAt } from "./span";

export const COMPARED: [value: string, name: string, ms: number][] = [
  ["", "Compare…", 0],
  ["1d", "with yesterday", 86_400_000],
  ["7d", "with last week", 604_800_000],
];

export function SpanBar({ withCompare = true }: { withCompare?: boolean }) {
  const [isOpen, setOpen] = useState(false);
  useEffect(
    () =>
      add([
        { keys: "[", does: "Earlier", run: () => shift(now(), -0.5) },
        { keys: "]", does: "Later", run: () => shift(now(), 0.5) },
        { keys: "-", does: "Wider span", run: () => scale(now(), 2) },
        { keys: "+", does: "Narrower span", run: () => scale(now(), 0.5) },
        { keys: "0", does: "The last 15 minutes, live", run: () => showLast("15m") },
      ]),
    [],
  );
  const span = spanAt(now());
  return (
    <div class="span-bar">
      <div class="segments" role="group" aria-label="Span">
        {LASTS.map(([name]) => (
          <button key={name} type="button" aria-pressed={isLast.value && lastName.value === name} onClick={() => showLast(name)}>
            {name}
          </button>
        ))}
      </div>
      <button type="button" aria-expanded={isOpen} aria-pressed={!isLast.value} onClick={() => setOpen(!isOpen)} title="From one instant to another">
        {isLast.value ? "Absolute…" : `${instant(span.fromMs)} + ${longSpan(span.toMs - span.fromMs)}`}
      </button>
      <div class="segments" role="group" aria-label="Move">
        <button type="button" aria-label="Earlier" title="Earlier  [" onClick={() => shift(now(), -0.5)}>
          ←
        </button>
        <button type="button" aria-label="Wider" title="Wider  -" onClick={() => scale(now(), 2)}>
          −
        </button>
        <button type="button" aria-label="Narrower" title="Narrower  +" onClick={() => scale(now(), 0.5)}>
          +
        </button>
        <button type="button" aria-label="Later" title="Later  ]" disabled={isLast.value} onClick={() => shift(now(), 0.5)}>
          →
        </button>
      </div>
      {withCompare && (
        <select aria-label="Compare" value={params.value.get("compare") ?? ""} onChange={(event) => setParams({ compare: event.currentTarget.value })}>
          {COMPARED.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      )}
      {isOpen && <Absolute onDone={() => setOpen(false)} />}
    </div>
  );
}

function Absolute({ onDone }: { onDone: () => void }) {
  const span = spanAt(now());
  const [problem, setProblem] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const [from, to] = ["from", "to"].map((name) => readInstant(String(form.get(name))));
    if (from == null || to == null) setProblem("Write 2026-11-21 03:12:00, or 03:12 for today");
    else if (from >= to) setProblem("The beginning is not before the end");
    else {
      showSpan(from, to);
      onDone();
    }
  };
  return (
    <form class="absolute" onSubmit={submit}>
      <label>
        From <input name="from" value={instant(span.fromMs)} title={exactInstant(span.fromMs)} autofocus />
      </label>
      <label>
        to <input name="to" value={instant(span.toMs)} title={exactInstant(span.toMs)} />
      </label>
      <button class="primary">Show</button>
      {problem && (
        <span class="bad" role="alert">
          {problem}
        </span>
      )}
    </form>
  );
}
