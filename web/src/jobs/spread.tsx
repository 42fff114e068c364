// How a number is spread over runs: bars of how many runs had about so much, and what half of them and all but
// a few had at most.
import { useMemo } from "preact/hooks";

const N_BINS = 24;
const WIDTH = 240;
const HEIGHT = 56;

interface Spread {
  bins: number[];
  at: (value: number) => number;
  min: number;
  p50: number;
  p95: number;
  max: number;
}

/** The value that a share of them does not exceed; `sorted` rises. */
export function quantile(sorted: number[], share: number): number {
  const place = (sorted.length - 1) * share;
  const low = Math.floor(place);
  const [a, b] = [sorted[low]!, sorted[Math.min(sorted.length - 1, low + 1)]!];
  return a + (b - a) * (place - low);
}

/** On a scale of powers where the largest is much more than the smallest. */
export function spreadOf(values: number[]): Spread | null {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const [min, max] = [sorted[0]!, sorted.at(-1)!];
  const isWide = min > 0 && max / min > 20;
  const on = (value: number) => (isWide ? Math.log(value) : value);
  const [low, high] = [on(min), on(max)];
  const at = (value: number) => (high > low ? (on(value) - low) / (high - low) : 0.5);
  const bins = new Array<number>(N_BINS).fill(0);
  for (const value of sorted) bins[Math.min(N_BINS - 1, Math.floor(at(value) * N_BINS))]! += 1;
  return { bins, at, min, p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), max };
}

export function SpreadChart({ title, values, show }: { title: string; values: number[]; show: (value: number) => string }) {
  const spread = useMemo(() => spreadOf(values), [values]);
  if (!spread) {
    return (
      <section class="spread" aria-label={title}>
        <h3>{title}</h3>
        <p class="muted">No run has told it yet</p>
      </section>
    );
  }
  const most = Math.max(...spread.bins);
  const step = WIDTH / N_BINS;
  const line = (value: number, name: string) => {
    const x = Math.min(WIDTH - 1, Math.max(1, spread.at(value) * WIDTH));
    return <line class={name} x1={x} x2={x} y1="0" y2={HEIGHT} />;
  };
  return (
    <section class="spread" aria-label={title}>
      <h3>{title}</h3>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${title}: half of the runs at most ${show(spread.p50)}, 95 of 100 at most ${show(spread.p95)}`}>
        {spread.bins.map((n, index) => {
          const high = n === 0 ? 0 : Math.max(2, (n / most) * (HEIGHT - 4));
          return (
            <rect key={index} x={index * step + 0.5} y={HEIGHT - high} width={step - 1} height={high}>
              <title>{n}</title>
            </rect>
          );
        })}
        {line(spread.p50, "median")}
        {line(spread.p95, "tail")}
      </svg>
      <dl>
        <div>
          <dt>least</dt>
          <dd>{show(spread.min)}</dd>
        </div>
        <div>
          <dt>median</dt>
          <dd>{show(spread.p50)}</dd>
        </div>
        <div>
          <dt>95 %</dt>
          <dd>{show(spread.p95)}</dd>
        </div>
        <div>
          <dt>most</dt>
          <dd>{show(spread.max)}</dd>
        </div>
      </dl>
    </section>
  );
}
