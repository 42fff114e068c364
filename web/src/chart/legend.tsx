// The names of a chart's lines, with the values under the pointer, or the newest ones.
import { useComputed, type Signal } from "@preact/signals";
import { colorOf } from "./colors";
import type { Frame } from "./frame";
import type { Unit } from "./panels";
import { readable } from "./plot";

/** The place of the instant that is nearest. */
function nearest(times: number[], time: number): number {
  let [low, high] = [0, times.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle]! < time) low = middle + 1;
    else high = middle;
  }
  return low > 0 && time - times[low - 1]! < times[low]! - time ? low - 1 : low;
}

export function Legend(props: { frame: Frame; unit: Unit; pointer: Signal<number | null>; other?: string }) {
  const { frame, unit, pointer } = props;
  const at = useComputed(() => pointer.value);
  return (
    <ul class="legend">
      {frame.lines.map((line, index) => {
        const value =
          at.value === null
            ? line.values.findLast((one) => one !== null)
            : line.values[nearest(frame.times, at.value)];
        return (
          <li key={line.name}>
            <i style={{ background: colorOf(line.color, index) }} />
            <span class="cut">{line.name || (frame.lines.length > 1 ? "all" : "")}</span>
            <b class="num" title={value == null ? undefined : String(value)}>
              {readable(unit, value)}
            </b>
          </li>
        );
      })}
      {props.other && (
        <li>
          <i class="dashed" />
          <span>{props.other}</span>
        </li>
      )}
    </ul>
  );
}
