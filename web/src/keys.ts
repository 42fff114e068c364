// The keyboard: one list of what each key does, shown by `?`. Keys go to nobody while one types.
import { effect, signal } from "@preact/signals";
import { go } from "./router";
import { nextTheme } from "./settings";

export interface Key {
  keys: string;
  does: string;
  run: () => void;
}

export const isHelpOpen = signal(false);

const everywhere: Key[] = [
  { keys: "/", does: "Search hosts", run: () => document.querySelector<HTMLInputElement>("#search")?.focus() },
  { keys: "?", does: "This list", run: () => (isHelpOpen.value = !isHelpOpen.value) },
  { keys: "g h", does: "Go to the fleet", run: () => go("/") },
  { keys: "g j", does: "Go to Jobs", run: () => go("/jobs") },
  { keys: "g r", does: "Go to Runs", run: () => go("/runs") },
  { keys: "g q", does: "Go to Queues", run: () => go("/queues") },
  { keys: "g e", does: "Go to Explore", run: () => go("/explore") },
  { keys: "g l", does: "Go to Logs", run: () => go("/logs") },
  { keys: "g a", does: "Go to Agents", run: () => go("/agents") },
  { keys: "g s", does: "Go to Settings", run: () => go("/settings") },
  { keys: "T", does: "Light or dark", run: nextTheme },
];

const ofViews = signal<Key[][]>([]);

/** All keys that do something now. */
export function all(): Key[] {
  return [...everywhere, ...ofViews.value.flat()];
}

/** Adds keys for as long as a view is shown; answers what takes them away. */
export function add(keys: Key[]): () => void {
  ofViews.value = [...ofViews.peek(), keys];
  return () => {
    ofViews.value = ofViews.peek().filter((other) => other !== keys);
  };
}

const CHORD_MS = 1200;
let first = "";
let firstAt = 0;

function isTyping(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement && target.type === "checkbox") return false;
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") (event.target as HTMLElement).blur();
    return;
  }
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  const chord = performance.now() - firstAt < CHORD_MS ? `${first} ${event.key}` : "";
  const found = all().find((key) => key.keys === chord) ?? all().find((key) => key.keys === event.key);
  first = event.key;
  firstAt = performance.now();
  if (!found) return;
  event.preventDefault();
  first = "";
  found.run();
});

// The list goes when one goes elsewhere.
effect(() => {
  void ofViews.value;
  isHelpOpen.value = false;
});
