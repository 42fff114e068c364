// Small charts beside each other with one time axis and one crosshair.
import { useSignal } from "@preact/signals";
import type { Frame } from "../chart/frame";
import { Legend } from "../chart/legend";
import type { Unit } from "../chart/panels";
import { Plot } from "../chart/plot";
import { go, hostLink } from "../router";

export interface Chart {
  title: string;
  unit: Unit;
  frame: Frame;
}

/** Of fewer values a line cannot be drawn. */
export const N_DRAWN_MIN = 3;

/** What is dragged over leads to the same span of the run's host. */
export function Charts({ charts, host, fromMs, toMs }: { charts: Chart[]; host: string | null | undefined; fromMs: number; toMs: number }) {
  const pointer = useSignal<number | null>(null);
  const toHost = (from: number, to: number) => {
    if (host) go(hostLink(host, { from: String(Math.floor(from)), to: String(Math.ceil(to)) }));
  };
  return (
    <div class={`run-charts ${charts.length > 4 ? "many" : ""}`}>
      {charts.map(({ title, unit, frame }) => (
        <section key={title} class="panel chart" aria-label={title}>
          <header>
            <h3>{title}</h3>
            <Legend frame={frame} unit={unit} pointer={pointer} />
          </header>
          <Plot
            title={title}
            panel={{ unit }}
            frame={frame}
            fromMs={fromMs}
            toMs={toMs}
            height={96}
            pointer={pointer}
            onZoom={toHost}
          />
        </section>
      ))}
    </div>
  );
}

/** A chart that is there only if something of it is known, or only if that is more than nothing. */
export type Shows = "known" | "used";

/** Whether there is a chart for them; lines of which nothing is known are left out. */
export function worthShowing({ times, lines }: Frame, shows: Shows | undefined): Frame | null {
  if (!shows) return { times, lines };
  const known = lines.filter((line) => line.values.some((value) => (shows === "used" ? (value ?? 0) > 0 : value !== null)));
  return known.length > 0 ? { times, lines: known } : null;
}

/** What seems to be more than all of the time is the jitter of two clocks. */
export const atMost = (unit: Unit, value: number) => (unit === "share" ? Math.min(1, value) : value);
