// Lines by round, and strips for lines that would cross too often.
import * as Plot from "@observablehq/plot";
import {
  colour,
  domainOf,
  DOTS,
  HEIGHT,
  isOpen,
  label,
  placed,
  tips,
  wholeTicks,
  writer,
  type Drawing,
  type End,
  type Frame,
  type Placed,
  type Point,
  type Series,
} from "./drawing";

const STRIP = 30; // height of one client's strip
const MARKERS = 12; // on one line at most, or they hide it
const LABEL_GAP = 17;

/** Move places apart until neighbours are `gap` away from each other, inside [least, most], in the same order. */
export function spread(places: number[], gap: number, least: number, most: number): number[] {
  const order = places.map((_, index) => index).sort((a, b) => places[a]! - places[b]!);
  const moved = [...places];
  let floor = least;
  for (const index of order) {
    moved[index] = Math.max(moved[index]!, floor);
    floor = moved[index]! + gap;
  }
  let ceiling = most;
  for (const index of order.reverse()) {
    moved[index] = Math.min(moved[index]!, ceiling);
    ceiling = moved[index]! - gap;
  }
  return moved;
}

// A line breaks where a round has no value.
function broken(points: Point[]): Point[] {
  return points.flatMap((point, index) => {
    const before = points[index - 1];
    return before && point.x - before.x !== 1 ? [{ x: point.x, y: Number.NaN, note: "" }, point] : [point];
  });
}

export function linesPlot(drawing: Drawing, width: number): Plot.PlotOptions {
  const points = drawing.series.flatMap((series) => series.points);
  const rows = drawing.band?.rows ?? [];
  const values = [...points.map((point) => point.y), ...rows.flatMap((row) => row.slice(1))];
  const ends: End[] = drawing.series.flatMap((series) => series.points.slice(-1).map((last) => ({ ...last, ...series })));
  const lastRow = rows.at(-1);
  if (drawing.band && lastRow) ends.push({ x: lastRow[0], y: lastRow[2], place: null, label: drawing.band.label });
  const right = Math.min(30 + 7.2 * Math.max(0, ...ends.map((end) => end.label.length)), width * 0.33);
  const beside = ({ y }: Placed, frame: Frame, x: number): Placed => ({
    x: y.map(() => frame.width - frame.marginRight + x),
    y: spread(y, LABEL_GAP, frame.marginTop, frame.height - frame.marginBottom),
  });
  const single = Math.min(...drawing.rounds) === Math.max(...drawing.rounds);
  return {
    width,
    height: HEIGHT,
    marginLeft: 54,
    marginRight: right,
    marginTop: 28,
    marginBottom: 36,
    x: {
      label: drawing.x_unit,
      labelArrow: "none",
      labelAnchor: "center",
      ticks: wholeTicks(drawing.rounds),
      tickFormat: "d",
      ...(single && { domain: [drawing.rounds[0]! - 0.5, drawing.rounds[0]! + 0.5] }),
    },
    y: { label: drawing.y_unit, nice: true, domain: domainOf(drawing, values), tickFormat: writer(drawing), grid: true },
    marks: [
      Plot.ruleY(drawing.from_zero ? [0] : [], { stroke: "var(--axis)" }),
      Plot.areaY(rows, { x: "0", y1: "1", y2: "3", fill: "var(--band)" }),
      Plot.line(rows, { x: "0", y: "2", stroke: "var(--axis)", strokeDasharray: "2 3" }),
      ...drawing.series.map((series) =>
        Plot.line(broken(series.points), {
          x: "x",
          y: "y",
          stroke: colour(series.place),
          strokeWidth: 1.9,
          strokeDasharray: isOpen(series.place) ? "7 3" : undefined,
        }),
      ),
      Plot.dot(drawing.series.flatMap(markers), DOTS),
      Plot.dot(ends, placed(DOTS, (at, frame) => beside(at, frame, 14))),
      Plot.text(ends, placed(label({ textAnchor: "start" }), (at, frame) => beside(at, frame, 23))),
      tips(points),
    ],
  };
}

// Counted from the end, which always has its marker.
function markers(series: Series): End[] {
  const every = Math.ceil(series.points.length / MARKERS);
  const kept = series.points.filter((_, index) => (series.points.length - 1 - index) % every === 0);
  return kept.map((point) => ({ ...point, place: series.place, label: series.label }));
}

export function stripsPlot(drawing: Drawing, width: number): Plot.PlotOptions {
  const names = drawing.series.map((series) => series.label);
  const bars = drawing.series.flatMap((series, strip) => series.points.map((point) => ({ ...point, strip, place: series.place })));
  const rows = (drawing.band?.rows ?? []).map(([x, least, median, most]) => ({ x, least, median, most, strip: names.length }));
  if (drawing.band) names.push(drawing.band.label);
  const right = Math.min(12 + 7.2 * Math.max(0, ...names.map((name) => name.length)), width * 0.33);
  const span = Math.max(...drawing.rounds) - Math.min(...drawing.rounds) + 1;
  const thick = Math.max(1, Math.min(10, ((width - 54 - right) / span) * 0.7));
  const values = [...bars.map((bar) => bar.y), ...rows.flatMap((row) => [row.least, row.most])];
  return {
    width,
    height: 66 + Math.max(STRIP, (HEIGHT - 66) / names.length) * names.length,
    marginLeft: 54,
    marginRight: right,
    marginBottom: 36,
    x: { label: drawing.x_unit, labelArrow: "none", labelAnchor: "center", ticks: wholeTicks(drawing.rounds), tickFormat: "d" },
    y: { label: drawing.y_unit, domain: domainOf(drawing, values), ticks: 2, tickFormat: writer(drawing) },
    fy: { domain: names.map((_, strip) => strip), tickFormat: (strip: number) => names[strip] ?? "", label: null, padding: 0.1 },
    marks: [
      Plot.ruleY([0], { stroke: "var(--axis)" }),
      Plot.ruleX(bars, {
        x: "x",
        y1: 0,
        y2: "y",
        fy: "strip",
        stroke: (bar: (typeof bars)[number]) => colour(bar.place),
        strokeWidth: thick,
        insetTop: 0,
      }),
      Plot.areaY(rows, { x: "x", y1: "least", y2: "most", fy: "strip", fill: "var(--band)" }),
      Plot.line(rows, { x: "x", y: "median", fy: "strip", stroke: "var(--axis)", strokeDasharray: "2 3" }),
      Plot.tip(bars, Plot.pointer({ x: "x", y: "y", fy: "strip", title: "note", maxRadius: 30, fill: "var(--card)" })),
    ],
  };
}
