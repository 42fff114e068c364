// One chart: lines over a time axis that all charts of a view share. Drag to zoom, click to choose a
// moment; what is missing is hatched, what is not known yet is dotted.
import { effect, useSignal, type Signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import * as format from "../format";
import { isDark, isUtc } from "../settings";
import { chartInk, colorOf } from "./colors";
import type { Drawn, Frame } from "./frame";
import type { Panel, Unit } from "./panels";

/** A stretch of which there are no samples, milliseconds. */
export interface Stretch {
  from_ms: number;
  to_ms: number;
  coverage: "whole" | "missing" | "unknown";
}

export interface PlotProps {
  title: string;
  panel: Pick<Panel, "unit" | "isStacked" | "top" | "compared">;
  frame: Frame;
  /** The same span of another time, moved here: drawn dashed. */
  other?: Frame | null;
  fromMs: number;
  toMs: number;
  stretches?: Stretch[];
  marks?: number[];
  moment?: number | null;
  height?: number;
  /** The instant under the pointer on whichever chart, seconds; null: none. */
  pointer: Signal<number | null>;
  onZoom: (fromMs: number, toMs: number) => void;
  onMoment?: (atMs: number) => void;
}

const SYNC = "time";
/** Of axes: the same as that of the page. */
const FONT = '11px Inter, -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", system-ui, sans-serif';
/** Steps of axes of bytes: what is round in KiB, MiB and GiB. */
const BYTE_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);

export function readable(unit: Unit, value: number | null | undefined): string {
  if (value == null) return "–";
  switch (unit) {
    case "share":
      return format.percent(value, value < 0.1 ? 1 : 0);
    case "bytes":
      return format.bytes(value);
    case "bytes/s":
      return format.bytesPerSecond(value);
    case "seconds":
      return format.seconds(value);
    case "celsius":
      return `${value.toFixed(0)} °C`;
    case "cores":
      return value.toFixed(value < 10 ? 2 : 1);
    case "count/s":
      return `${value < 10 ? Number(value.toFixed(1)) : format.count(value)}/s`;
    default:
      return value < 10 ? String(Number(value.toFixed(2))) : format.count(value);
  }
}

function onAxis(unit: Unit, tick: number): string {
  if (tick === 0) return "0";
  return unit === "share" ? `${Number((tick * 100).toFixed(2))} %` : readable(unit, tick);
}

/** Sums from the bottom up, so that each line lies on those before it. */
function stacked(lines: Drawn[]): (number | null)[][] {
  const sums: (number | null)[][] = [];
  lines.forEach((line, index) => {
    const below = sums[index - 1];
    sums.push(line.values.map((value, at) => (value === null ? (below?.[at] ?? null) : value + (below?.[at] ?? 0))));
  });
  return sums;
}

/** Peaks are drawn over all other lines. */
function apart(frame: Frame): { lines: Drawn[]; peaks: Drawn[] } {
  return { lines: frame.lines.filter((line) => !line.isPeak), peaks: frame.lines.filter((line) => line.isPeak) };
}

/** The columns of uPlot: of a stack the tallest first, for what is drawn later lies on top. */
function columns({ frame, other, panel }: PlotProps): uPlot.AlignedData {
  const { lines, peaks } = apart(frame);
  const own = [...(panel.isStacked ? stacked(lines).reverse() : lines.map((line) => line.values)), ...peaks.map((line) => line.values)];
  if (!other) return [frame.times, ...own];
  return uPlot.join([
    [frame.times, ...own],
    [other.times, ...otherLines(other, panel).map((line) => line.values)],
  ]);
}

/** Of a stack only the sum of what is used is compared: its lines are too many. */
function otherLines(other: Frame, { isStacked, compared = 1 }: PlotProps["panel"]): Drawn[] {
  const lines = other.lines.filter((line) => !line.isPeak);
  const [bottom] = lines;
  if (!isStacked || !bottom) return lines;
  const sums = stacked(lines.slice(0, compared));
  return [{ ...bottom, values: sums.at(-1) ?? [] }];
}

/** Changes when another set of lines needs another chart. */
function shapeOf({ frame, other, panel }: PlotProps): string {
  const names = frame.lines.map((line) => line.name).join("\n");
  return `${names}\n\n${other ? otherLines(other, panel).map((line) => line.name).join("\n") : ""}`;
}

export function Plot(props: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const shape = shapeOf(props);
  const dark = isDark.value;
  const utc = isUtc.value;
  const width = useSignal(0);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      width.value = Math.floor(entry?.contentRect.width ?? 0);
    });
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!box.current) return;
    const made = new uPlot(options(latest, Math.max(80, box.current.clientWidth)), columns(latest.current), box.current);
    chart.current = made;
    return () => {
      made.destroy();
      chart.current = null;
    };
  }, [shape, dark, utc]);
  useLayoutEffect(() => {
    const made = chart.current;
    if (!made) return;
    made.batch(() => {
      made.setData(columns(props), false);
      made.setScale("x", { min: props.fromMs / 1000, max: props.toMs / 1000 });
    });
  });
  useEffect(
    () =>
      effect(() => {
        if (width.value > 0) chart.current?.setSize({ width: width.value, height: latest.current.height ?? 150 });
      }),
    [],
  );
  return <div class="plot" ref={box} role="img" aria-label={summary(props)} style={{ height: `${props.height ?? 150}px` }} />;
}

/** What the chart shows, in words. */
function summary({ title, frame, panel }: PlotProps): string {
  const last = (values: (number | null)[]) => values.findLast((value) => value !== null);
  const now = frame.lines.slice(0, 8).map((line) => `${line.name || title} ${readable(panel.unit, last(line.values))}`);
  return `${title}: ${now.join(", ") || "no data"}`;
}

type Latest = { current: PlotProps };

function options(latest: Latest, width: number): uPlot.Options {
  const { panel, height = 150 } = latest.current;
  const ink = chartInk();
  const axis = { stroke: ink.text, grid: { stroke: ink.grid, width: 1 }, ticks: { show: false }, font: FONT };
  return {
    width,
    height,
    padding: [8, 10, 0, 0],
    legend: { show: false },
    ms: 1e-3,
    tzDate: (seconds) => (isUtc.peek() ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
    cursor: {
      drag: { x: true, y: false, setScale: false },
      points: { size: 5 },
      y: false,
      sync: { key: SYNC, setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave", sub: () => true } },
    },
    scales: {
      x: { time: true, range: () => [latest.current.fromMs / 1000, latest.current.toMs / 1000] },
      y: { range: (_, __, max) => [0, topOf(panel.top, max)] },
    },
    axes: [
      { ...axis, size: 22, space: 70, values: TIMES },
      {
        ...axis,
        size: 60,
        space: 30,
        gap: 6,
        ...(panel.unit.startsWith("bytes") ? { incrs: BYTE_STEPS } : {}),
        // What is not there yet has no size.
        values: (_, ticks) => ticks.map((tick) => (latest.current.frame.lines.length > 0 ? onAxis(panel.unit, tick) : "")),
      },
    ],
    series: [{}, ...seriesOf(latest.current)],
    hooks: {
      drawClear: [(chart) => shade(chart, latest.current)],
      draw: [(chart) => mark(chart, latest.current)],
      setCursor: [(chart) => point(chart, latest.current)],
      setSelect: [(chart) => zoom(chart, latest.current)],
      ready: [(chart) => chart.over.addEventListener("click", () => choose(chart, latest.current))],
    },
  };
}

function topOf(least: number | undefined, max: number | null): number {
  const most = max ?? 0;
  if (least !== undefined && most <= least * 1.001) return least;
  return most > 0 ? most * 1.08 : 1;
}

/** Twenty-four hours a day, on every axis. */
const TIMES: uPlot.Axis.Values = [
  [86_400 * 28, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86_400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{MM}-{DD}", null, "", null, "", null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{MM}-{DD}", null, "", null, "", null, 1],
];

function seriesOf({ frame, other, panel }: PlotProps): uPlot.Series[] {
  const { lines, peaks } = apart(frame);
  const own = lines.map((line, index): uPlot.Series => {
    const color = colorOf(line.color, index);
    return {
      label: line.name,
      stroke: color,
      width: panel.isStacked ? 1 : 1.5,
      fill: panel.isStacked ? color : lines.length === 1 ? `${color}22` : undefined,
      points: { show: false },
      spanGaps: false,
    };
  });
  const dashed = other ? otherLines(other, panel) : [];
  return [
    ...(panel.isStacked ? own.reverse() : own),
    ...peaks.map((line, index): uPlot.Series => ({
      label: line.name,
      stroke: colorOf(line.color, index),
      width: 1,
      points: { show: false },
      spanGaps: false,
    })),
    ...dashed.map((line, index): uPlot.Series => ({
      label: `${line.name} then`,
      stroke: panel.isStacked ? chartInk().mark : colorOf(line.color, index),
      width: 1.25,
      dash: [4, 4],
      points: { show: false },
      spanGaps: true,
    })),
  ];
}

/** What is missing is hatched over the whole height, under the lines. */
function shade(chart: uPlot, { stretches, fromMs, toMs }: PlotProps): void {
  const ink = chartInk();
  const { ctx, bbox } = chart;
  for (const stretch of stretches ?? []) {
    if (stretch.coverage === "whole" || stretch.to_ms <= fromMs || stretch.from_ms >= toMs) continue;
    const x0 = Math.max(bbox.left, chart.valToPos(stretch.from_ms / 1000, "x", true));
    const x1 = Math.min(bbox.left + bbox.width, chart.valToPos(stretch.to_ms / 1000, "x", true));
    if (x1 <= x0) continue;
    const isMissing = stretch.coverage === "missing";
    ctx.save();
    ctx.beginPath();
    ctx.rect(x0, bbox.top, Math.max(1, x1 - x0), bbox.height);
    ctx.clip();
    ctx.globalAlpha = isMissing ? 0.14 : 0.25;
    ctx.fillStyle = isMissing ? ink.hatch : ink.unknown;
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.strokeStyle = isMissing ? ink.hatch : ink.unknown;
    ctx.lineWidth = devicePixelRatio;
    if (!isMissing) ctx.setLineDash([2 * devicePixelRatio, 6 * devicePixelRatio]);
    const step = 8 * devicePixelRatio;
    ctx.beginPath();
    for (let x = x0 - bbox.height - ((x0 - bbox.left) % step); x < x1; x += step) {
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x + bbox.height, bbox.top);
    }
    ctx.stroke();
    ctx.restore();
  }
}

/** Upright lines: what happened to the agent, and the moment that is chosen. */
function mark(chart: uPlot, { marks, moment }: PlotProps): void {
  const ink = chartInk();
  const { ctx, bbox } = chart;
  const upright = (atMs: number, dash: number[], width: number) => {
    const x = Math.round(chart.valToPos(atMs / 1000, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    ctx.save();
    ctx.strokeStyle = ink.mark;
    ctx.lineWidth = width * devicePixelRatio;
    ctx.setLineDash(dash.map((part) => part * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  };
  for (const at of marks ?? []) upright(at, [1, 3], 1);
  if (moment != null) upright(moment, [], 1);
}

function point(chart: uPlot, { pointer }: PlotProps): void {
  // By its place, not by the nearest point: some charts have fewer points than others.
  const { left = -1 } = chart.cursor;
  const next = left < 0 ? null : Math.round(chart.posToVal(left, "x"));
  if (pointer.peek() !== next) pointer.value = next;
}

function zoom(chart: uPlot, { onZoom }: PlotProps): void {
  const { left, width } = chart.select;
  if (width < 4) return;
  const from = chart.posToVal(left, "x") * 1000;
  const to = chart.posToVal(left + width, "x") * 1000;
  chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  onZoom(Math.round(from), Math.round(to));
}

function choose(chart: uPlot, { onMoment }: PlotProps): void {
  const { left } = chart.cursor;
  if (left != null && left >= 0 && chart.select.width < 4) onMoment?.(Math.round(chart.posToVal(left, "x") * 1000));
}
