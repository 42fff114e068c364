// The moment of which the tables of processes and units are: now, or any one that is still kept.
import { now } from "../api/client";
import { instant, readInstant } from "../format";
import { param, setParams } from "../router";

const at = param("at");

/** The moment that the address names; null: now. */
export function momentOf(): number | null {
  return Number(at.value) || null;
}

export function Moment({ taken, isAway }: { taken: number; isAway: boolean }) {
  const moment = momentOf();
  const base = moment ?? (taken || now());
  const step = (seconds: number) => setParams({ at: String(base + seconds * 1000) });
  return (
    <>
      <div class="segments" role="group" aria-label="Moment">
        <button type="button" aria-pressed={moment === null} onClick={() => setParams({ at: null })}>
          {isAway ? "Last" : "Now"}
        </button>
        <button type="button" title="A minute earlier" onClick={() => step(-60)}>
          −1 min
        </button>
        <button type="button" title="Ten seconds earlier" onClick={() => step(-10)}>
          −10 s
        </button>
        <button type="button" title="Ten seconds later" disabled={moment === null} onClick={() => step(10)}>
          +10 s
        </button>
      </div>
      <input
        class="moment"
        aria-label="At this moment"
        title="A moment: 03:12, or 2026-11-21 03:12:00"
        value={instant(taken || base)}
        onChange={(event) => {
          const typed = readInstant(event.currentTarget.value);
          if (typed !== null) setParams({ at: String(typed) });
        }}
      />
    </>
  );
}
