// Who would get what is meant for a target, at this moment; and why others would not.
import { useSignal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { isAborted, words } from "../api/client";
import type { Matches, Target } from "../api/types";
import { askMatches } from "./calls";

const TYPING_MS = 200;
const N_SHOWN = 12;

/** It is not said yet for whom. */
function isEmpty({ agent, roles = [], labels = {} }: Target): boolean {
  return agent != null ? agent === "" : roles.length === 0 && Object.keys(labels).length === 0;
}

export function Matching({ target, found }: { target: Signal<Target>; found: Signal<Matches | null> }) {
  const problem = useSignal("");
  const asked = JSON.stringify(target.value);
  useEffect(() => {
    found.value = null;
    problem.value = "";
    if (isEmpty(target.peek())) return undefined;
    const abort = new AbortController();
    const timer = window.setTimeout(() => {
      askMatches(target.peek(), abort.signal).then(
        (matches) => {
          found.value = matches;
          problem.value = "";
        },
        (error: unknown) => {
          if (isAborted(error)) return;
          found.value = null;
          problem.value = words(error);
        },
      );
    }, TYPING_MS);
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [asked]);
  const { matches = [], others = [] } = found.value ?? {};
  const isEach = target.value.fanout === true;
  return (
    <div class="matching" role="status" aria-label="Who gets it">
      {problem.value && <span class="late">{problem.value}</span>}
      {found.value && matches.length === 0 && (
        <span class="late" title={others.map((one) => `${one.agent} ${one.reason}`).join("\n")}>
          Nobody{others[0] && `: ${others.slice(0, 3).map((one) => `${one.agent} ${one.reason}`).join("; ")}`}
        </span>
      )}
      {matches.length > 0 && (
        <>
          <span class="muted">{isEach ? (matches.length === 1 ? "Gets it:" : `All ${matches.length} get it:`) : matches.length === 1 ? "Gets it:" : `One of ${matches.length} gets it:`}</span>
          {matches.slice(0, N_SHOWN).map((one) => (
            <span key={one.agent} class={`chip ${one.waits ? "waits" : ""}`} title={one.waits ? `It would wait: ${one.waits}` : "It would get it at once"}>
              {one.agent}
              {one.waits && " (waits)"}
            </span>
          ))}
          {matches.length > N_SHOWN && <span class="muted">and {matches.length - N_SHOWN} more</span>}
        </>
      )}
    </div>
  );
}
