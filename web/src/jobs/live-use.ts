// What runs that go on use right now: asked for while a row of theirs is in sight and somebody looks at the page.
import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";
import type { LiveRun, LiveRuns, Run } from "../api/types";
import { useLoaded } from "../parts/loaded";
import { liveRuns } from "./calls";
import { isOver } from "./outcome";

const EVERY_MS = 2_000;

export interface LiveUse {
  of: (run: Run) => LiveRun | undefined;
  /** Why its host does not tell; empty if it does. */
  silence: (run: Run) => string;
}

function idOf(run: { id: string; agent?: string | null }): string {
  return `${run.id} ${run.agent ?? ""}`;
}

/** As few are asked about as the question can say: those of one host, or of one job. */
function wishFor(runs: Run[]): Record<string, string> {
  const only = (names: (string | null | undefined)[]) => (new Set(names).size === 1 ? names[0] : undefined);
  const [agent, job] = [only(runs.map((run) => run.agent)), only(runs.map((run) => run.job.name))];
  return { ...(agent ? { agent } : {}), ...(job ? { job } : {}) };
}

/** Is a row of a run that goes on in sight? `rows` names them, so that it is looked anew when there are others. */
function useSight(table: RefObject<HTMLElement | null>, rows: string): boolean {
  const isInSight = useSignal(false);
  useLayoutEffect(() => {
    const seen = new Set<Element>();
    const watch = new IntersectionObserver((changes) => {
      for (const { target, isIntersecting } of changes) {
        if (isIntersecting) seen.add(target);
        else seen.delete(target);
      }
      isInSight.value = seen.size > 0;
    });
    for (const row of table.current?.querySelectorAll("tr.going-on") ?? []) watch.observe(row);
    return () => watch.disconnect();
  }, [rows]);
  return rows !== "" && isInSight.value;
}

/** `table`: where the rows of these runs are. */
export function useLiveUse(table: RefObject<HTMLElement | null>, runs: Run[]): LiveUse {
  const going = runs.filter((run) => !isOver(run.state) && run.started_ms != null);
  const isAsked = useSight(table, going.map(idOf).join("\n"));
  const wish = wishFor(going);
  const key = isAsked ? new URLSearchParams(wish).toString() || "all" : "";
  const { data } = useLoaded<LiveRuns | null>(key, isAsked ? EVERY_MS : 0, async (abort) => (isAsked ? liveRuns(wish, abort) : null));
  const told = data.value;
  const known = new Map((told?.runs ?? []).map((run) => [idOf(run), run]));
  return {
    of: (run) => known.get(idOf(run)),
    silence: (run) => told?.silent.find(({ agent }) => agent === run.agent)?.reason ?? "",
  };
}
