// Of which time runs are not known: their hosts forgot them before the hub had heard of them.
import type { RunGap } from "../api/types";
import { clock, exact, exactInstant, span } from "../format";
import { hostLink } from "../router";

/** As many are said at once; the others are folded up. */
const N_SAID = 3;

export function Forgotten({ gaps }: { gaps: RunGap[] }) {
  if (gaps.length === 0) return null;
  const newest = gaps.toSorted((a, b) => b.to_ms - a.to_ms);
  const [said, folded] = newest.length > N_SAID + 1 ? [newest.slice(0, N_SAID), newest.slice(N_SAID)] : [newest, []];
  return (
    <section class="forgotten" aria-label="Runs that are not known">
      <Lines gaps={said} />
      {folded.length > 0 && (
        <details>
          <summary>{folded.length} more spans of which runs are not known</summary>
          <Lines gaps={folded} />
        </details>
      )}
    </section>
  );
}

function Lines({ gaps }: { gaps: RunGap[] }) {
  return (
    <ul>
      {gaps.map((gap) => (
        <li key={`${gap.agent} ${gap.from_ms} ${gap.noted_ms}`}>
          <i class="hatch missing" />
          <span title={`${exactInstant(gap.from_ms)} to ${exactInstant(gap.to_ms)}; told to the hub ${exactInstant(gap.noted_ms)}`}>
            <strong>
              {gap.at_most ? "Up to " : ""}
              {exact(gap.n_runs)} {gap.n_runs === 1 ? "run" : "runs"} of <a href={hostLink(gap.agent)}>{gap.agent}</a>
            </strong>{" "}
            between {clock(gap.from_ms)} and {clock(gap.to_ms)} ({span(Math.max(0, gap.to_ms - gap.from_ms))}) {gap.n_runs === 1 ? "is" : "are"} not known: forgotten there before{" "}
            {gap.n_runs === 1 ? "it" : "they"} came here.
          </span>
        </li>
      ))}
    </ul>
  );
}
