// The box for PromQL: completes names of metrics, labels, their values, and functions.
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api/client";
import { add } from "../keys";

const FUNCTIONS =
  "abs absent absent_over_time avg avg_over_time bottomk by ceil changes clamp clamp_max clamp_min count count_over_time count_values " +
  "delta deriv exp floor group histogram_quantile idelta increase irate label_join label_replace last_over_time ln log10 log2 max " +
  "max_over_time min min_over_time offset on predict_linear quantile quantile_over_time rate resets round scalar sort sort_desc sqrt " +
  "stddev stddev_over_time sum sum_over_time time topk vector without";
const N_SHOWN = 12;

interface Choice {
  text: string;
  kind: string;
}

const kept = new Map<string, Promise<string[]>>();

/** Names that the hub knows: asked for once. */
function names(path: string): Promise<string[]> {
  const known = kept.get(path);
  if (known) return known;
  const asked = get<{ data: string[] }>(path).then(
    (answer) => answer.data,
    () => {
      kept.delete(path);
      return [];
    },
  );
  kept.set(path, asked);
  return asked;
}

/** The word before the cursor, and what may stand there. */
function place(before: string): { word: string; kind: "value" | "label" | "name"; label: string } {
  const value = /([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"([^"]*)$/.exec(before);
  if (value) return { word: value[2]!, kind: "value", label: value[1]! };
  const word = /[a-zA-Z_:][\w:]*$/.exec(before)?.[0] ?? "";
  const rest = before.slice(0, before.length - word.length);
  const inBraces = rest.lastIndexOf("{") > rest.lastIndexOf("}");
  const inBy = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*$/.test(rest);
  return { word, kind: inBraces || inBy ? "label" : "name", label: "" };
}

async function choices(before: string): Promise<Choice[]> {
  const { word, kind, label } = place(before);
  const low = word.toLowerCase();
  const pick = (all: string[], what: string): Choice[] => {
    const starts = all.filter((text) => text.toLowerCase().startsWith(low));
    const holds = all.filter((text) => !text.toLowerCase().startsWith(low) && text.toLowerCase().includes(low));
    return [...starts, ...holds].filter((text) => text !== word).map((text) => ({ text, kind: what }));
  };
  if (kind === "value") return pick(await names(`/api/v1/label/${encodeURIComponent(label)}/values`), label).slice(0, N_SHOWN);
  if (kind === "label") return pick(await names("/api/v1/labels"), "label").slice(0, N_SHOWN);
  if (word.length < 2) return [];
  return [...pick(FUNCTIONS.split(" "), "function").slice(0, 5), ...pick(await names("/api/v1/label/__name__/values"), "metric")].slice(0, N_SHOWN);
}

export function QueryBox({ value, onAsk }: { value: string; onAsk: (query: string) => void }) {
  const box = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(value);
  const [found, setFound] = useState<Choice[]>([]);
  const [at, setAt] = useState(0);
  const turn = useRef(0);
  useEffect(() => setText(value), [value]);
  useEffect(() => add([{ keys: "e", does: "Edit the question", run: () => box.current?.focus() }]), []);
  const look = async () => {
    const mine = ++turn.current;
    const before = box.current?.value.slice(0, box.current.selectionStart) ?? "";
    const list = await choices(before);
    if (mine !== turn.current) return;
    setFound(list);
    setAt(0);
  };
  const take = (choice: Choice) => {
    const area = box.current!;
    const cursor = area.selectionStart;
    const { word, kind } = place(area.value.slice(0, cursor));
    const ending = kind === "value" && area.value[cursor] !== '"' ? '"' : choice.kind === "function" && !/^(by|without|on|offset)$/.test(choice.text) ? "(" : "";
    area.setRangeText(choice.text + ending, cursor - word.length, cursor, "end");
    setText(area.value);
    setFound([]);
    area.focus();
  };
  const ask = () => {
    turn.current += 1;
    setFound([]);
    onAsk((box.current?.value ?? "").trim());
  };
  const press = (event: KeyboardEvent) => {
    const isOpen = found.length > 0;
    if (event.key === "Enter" && !event.shiftKey && (!isOpen || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      ask();
    } else if (isOpen && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      setAt((at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length);
    } else if (isOpen && (event.key === "Tab" || event.key === "Enter")) {
      event.preventDefault();
      take(found[at]!);
    } else if (isOpen && event.key === "Escape") {
      event.stopPropagation();
      event.preventDefault();
      setFound([]);
    }
  };
  return (
    <div class="ask">
      <textarea
        ref={box}
        aria-label="Question in PromQL"
        aria-controls={found.length > 0 ? "completions" : undefined}
        aria-autocomplete="list"
        aria-activedescendant={found.length > 0 ? `completion-${at}` : undefined}
        rows={Math.min(8, Math.max(2, text.split("\n").length))}
        placeholder="rate(node_cpu_seconds_total[1m])"
        spellcheck={false}
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          void look();
        }}
        onKeyDown={press}
        onBlur={() => window.setTimeout(() => setFound([]), 150)}
      />
      <button type="button" class="primary" onClick={ask}>
        Ask
      </button>
      {found.length > 0 && (
        <ul id="completions" class="completions" role="listbox" aria-label="Completions">
          {found.map((choice, index) => (
            <li
              key={`${choice.kind} ${choice.text}`}
              id={`completion-${index}`}
              role="option"
              aria-selected={index === at}
              onPointerDown={(event) => {
                event.preventDefault();
                take(choice);
              }}
            >
              <span>{choice.text}</span>
              <span>{choice.kind}</span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
