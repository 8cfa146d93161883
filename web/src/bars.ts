// Bars of a round on top of each other: what it took off the loss, by whom.
import * as Plot from "@observablehq/plot";
import {
  colour,
  domainOf,
  DOTS,
  HEIGHT,
  inside,
  label,
  placed,
  wholeTicks,
  writer,
  type Drawing,
  type End,
  type Frame,
  type Placed,
  type Point,
  type Series,
} from "./drawing";

type Bar = Point & { place: number | null; label: string; from: number; to: number };

/** Bars of one round on top of each other, those below 0 downwards. */
function stacked(series: Series[]): Bar[] {
  const ends = new Map<string, number>();
  return series.flatMap(({ place, label, points }) =>
    points.map((point) => {
      const side = `${point.x} ${point.y < 0}`;
      const from = ends.get(side) ?? 0;
      ends.set(side, from + point.y);
      return { ...point, place, label, from, to: from + point.y };
    }),
  );
}

export function barsPlot(drawing: Drawing, width: number): Plot.PlotOptions {
  const bars = stacked(drawing.series);
  const low = Math.min(...drawing.rounds);
  const high = Math.max(...drawing.rounds);
  const half = Math.min(0.36, 0.04 * (high - low + 1)); // of few rounds, bars as thin as those of many
  const keys: End[] = drawing.series.map(({ place, label }) => ({ x: low, y: 0, place, label }));
  // Above the frame, up to its right edge.
  const besideEachOther = ({ y }: Placed, frame: Frame, shift: number): Placed => {
    const wide = keys.map((key) => 26 + 7.2 * key.label.length);
    const left = (index: number) => frame.width - wide.slice(index).reduce((sum, one) => sum + one, 0);
    return { x: y.map((_, index) => left(index) + shift), y: y.map(() => 10) };
  };
  const edges = bars.map((bar) => ({ ...bar, left: bar.x - half, right: bar.x + half, middle: (bar.from + bar.to) / 2 }));
  return {
    width,
    height: HEIGHT,
    marginLeft: 54,
    marginRight: 16,
    marginTop: 28,
    marginBottom: 36,
    x: {
      label: drawing.x_unit,
      labelArrow: "none",
      labelAnchor: "center",
      domain: drawing.rounds.length ? [low - 0.5, high + 0.5] : [0, 1],
      ticks: drawing.rounds.length ? wholeTicks(drawing.rounds) : [],
      tickFormat: "d",
    },
    y: {
      label: drawing.y_unit,
      nice: true,
      domain: domainOf(drawing, bars.map((bar) => bar.to)),
      tickFormat: writer(drawing),
      grid: true,
    },
    marks: [
      Plot.rect(edges, {
        x1: "left",
        x2: "right",
        y1: "from",
        y2: "to",
        fill: (bar: Bar) => inside(bar.place),
        stroke: (bar: Bar) => colour(bar.place),
        strokeWidth: 1.4,
        inset: 0.7,
      }),
      Plot.ruleY([0], { stroke: "var(--axis)" }),
      Plot.dot(keys, placed(DOTS, (at, frame) => besideEachOther(at, frame, 0))),
      Plot.text(keys, placed(label({ textAnchor: "start" }), (at, frame) => besideEachOther(at, frame, 9))),
      Plot.tip(edges, Plot.pointer({ x: "x", y: "middle", title: "note", maxRadius: 60, fill: "var(--card)", stroke: "var(--axis)", fontSize: 12 })),
    ],
  };
}
