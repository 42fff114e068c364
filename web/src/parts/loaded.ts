// Something of the hub's, looked up when a view is shown and again from time to time while it is
// looked at.
import { useSignal, type Signal } from "@preact/signals";
import { useCallback, useEffect, useRef } from "preact/hooks";
import { isAborted, words } from "../api/client";

export interface Loaded<T> {
  data: Signal<T | null>;
  problem: Signal<string>;
  again: () => void;
}

/** Looks it up now, whenever `key` changes, and every so many milliseconds (0: never again). */
export function useLoaded<T>(key: string, every: number, load: (abort: AbortSignal) => Promise<T>): Loaded<T> {
  const data = useSignal<T | null>(null);
  const problem = useSignal("");
  const latest = useRef(load);
  latest.current = load;
  const run = useRef<() => void>(() => undefined);
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const look = async () => {
      window.clearTimeout(timer);
      try {
        const found = await latest.current(abort.signal);
        if (abort.signal.aborted) return;
        data.value = found;
        problem.value = "";
      } catch (error) {
        if (!isAborted(error) && !abort.signal.aborted) problem.value = words(error);
      }
      if (every > 0 && !abort.signal.aborted) timer = window.setTimeout(whenSeen, every);
    };
    // Nobody looks at a hidden page: it waits until somebody does.
    const whenSeen = () => {
      if (!document.hidden) void look();
      else document.addEventListener("visibilitychange", () => void look(), { once: true, signal: abort.signal });
    };
    run.current = () => void look();
    void look();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [key, every]);
  return { data, problem, again: useCallback(() => run.current(), []) };
}
