// Small pictures of numbers: a bar of a share, a line of the last half hour.
import { percent } from "../format";
import { HOT, WARM } from "../fleet/select";

export function Meter(props: { share: number | null | undefined; label?: string; title?: string }) {
  const { share } = props;
  if (share == null) return <span class="muted">–</span>;
  const heat = share >= HOT ? "hot" : share >= WARM ? "warm" : "";
  return (
    <span class={`meter ${heat}`} title={props.title ?? percent(share, 1)}>
      <span class="track" aria-hidden="true">
        <span style={{ width: `${Math.min(100, share * 100).toFixed(1)}%` }} />
      </span>
      <span class="num">{percent(share)}</span>
      {props.label && <span class="muted cut">{props.label}</span>}
    </span>
  );
}

const WIDTH = 72;
const HEIGHT = 20;

/** A line of shares from 0 to 1; where there is nothing there is no line. */
export function Sparkline({ points, title }: { points: (number | null)[] | undefined; title: string }) {
  if (!points) return <svg class="spark" width={WIDTH} height={HEIGHT} aria-hidden="true" />;
  const x = (index: number) => ((index / (points.length - 1)) * WIDTH).toFixed(1);
  const y = (value: number) => (HEIGHT - 1 - Math.max(0, Math.min(1, value)) * (HEIGHT - 2)).toFixed(1);
  let line = "";
  let area = "";
  let start = -1;
  points.forEach((value, index) => {
    if (value === null) return;
    const begins = points[index - 1] == null;
    if (begins) start = index;
    line += `${begins ? "M" : "L"}${x(index)} ${y(value)}`;
    area += `${begins ? `M${x(index)} ${HEIGHT}L` : "L"}${x(index)} ${y(value)}`;
    if (points[index + 1] == null) area += `L${x(index)} ${HEIGHT}L${x(start)} ${HEIGHT}Z`;
  });
  return (
    <svg class="spark" width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={title}>
      <path d={area} class="area" />
      <path d={line} class="line" />
    </svg>
  );
}
