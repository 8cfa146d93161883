// The charts of a run, drawn by Observable Plot: <run-chart> draws what fl/report/drawing.py describes, <chart-mark> is one
// series' mark for a key or a table. Colours are the page's custom properties, so that one drawing serves light and dark.
import * as Plot from "@observablehq/plot";

export type Point = { x: number; y: number; note: string };
export type Series = { label: string; place: number | null; points: Point[] };
export type Drawing = {
  kind: "lines" | "strips" | "scatter" | "bars";
  name: string;
  x_unit: string;
  y_unit: string;
  tick: "percent" | "number";
  series: Series[];
  band: { label: string; rows: [number, number, number, number][] } | null; // round, least, median, most
  rounds: number[];
  least: number | null;
  most: number | null;
  from_zero: boolean;
  diagonal: string;
};

const HEIGHT = 300;
const STRIP = 30; // height of one client's strip
const MARKERS = 12; // on one line at most, or they hide it
const LABEL_GAP = 17;
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "circle", "square2", "times", "diamond2", "plus"] as const;
const OPEN = 5; // marks from here on are open, and their lines dashed

const colour = (place: number | null) => (place === null ? "var(--axis)" : `var(--s${place % SYMBOLS.length})`);
const symbol = (place: number | null) => (place === null ? "circle" : SYMBOLS[place % SYMBOLS.length]!);
const isOpen = (place: number | null) => place !== null && place % SYMBOLS.length >= OPEN;
const inside = (place: number | null) => (isOpen(place) ? "var(--card)" : colour(place));

const percent = (value: number) => `${Number((value * 100).toPrecision(4))}%`;
const number = (value: number) => {
  const size = Math.abs(value);
  if (size < 1e-12) return "0";
  const text = size >= 1e-4 && size < 1e6 ? Number(size.toPrecision(6)).toLocaleString("en") : size.toPrecision(3);
  return (value < 0 ? "−" : "") + text;
};

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

type End = { x: number; y: number; place: number | null; label: string };
type Placed = { x: number[]; y: number[] };
type Frame = { width: number; height: number; marginTop: number; marginBottom: number; marginLeft: number; marginRight: number };

// Plot's own extension point: it hands over what the scales made of x and y, and takes pixels back.
function placed(options: Plot.DotOptions | Plot.TextOptions, place: (at: Placed, frame: Frame) => Placed): any {
  const initializer = (data: any, facets: any, channels: any, scales: any, frame: any) => {
    const at = { x: Array.from(channels.x.value, scales.x), y: Array.from(channels.y.value, scales.y) } as Placed;
    const { x, y } = place(at, frame);
    return { data, facets, channels: { x: { value: x }, y: { value: y } } };
  };
  return Plot.initializer(options as any, initializer as any);
}

const DOTS = {
  x: "x",
  y: "y",
  r: 4,
  symbol: (one: End) => symbol(one.place),
  stroke: (one: End) => colour(one.place),
  fill: (one: End) => inside(one.place),
  strokeWidth: 1.6,
} as Plot.DotOptions;

function tips(points: Point[]) {
  const look = { fill: "var(--card)", stroke: "var(--axis)", fontSize: 12 };
  return Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: "note", maxRadius: 30, ...look }));
}

// A line breaks where a round has no value.
function broken(points: Point[]): Point[] {
  return points.flatMap((point, index) => {
    const before = points[index - 1];
    return before && point.x - before.x !== 1 ? [{ x: point.x, y: Number.NaN, note: "" }, point] : [point];
  });
}

function wholeTicks(rounds: number[]): number[] {
  const low = Math.min(...rounds);
  const high = Math.max(...rounds);
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((one) => (high - low) / one <= 8) ?? Math.ceil((high - low) / 8);
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => low + index).filter((round) => round % step === 0);
  return ticks[0] === low || (ticks[0] ?? high) - low < step / 2 ? ticks : [low, ...ticks];
}

function domainOf(drawing: Drawing, values: number[]): [number, number] {
  let low = Math.min(...values, ...(drawing.from_zero ? [0] : []));
  let high = Math.max(...values, ...(drawing.from_zero ? [0] : []));
  if (!values.length) [low, high] = [0, 1];
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) {
    const room = Math.abs(low) / 10 || 1; // one value lies on a line with some room around it
    [low, high] = drawing.from_zero ? [low, high + room] : [low - room, high + room];
  }
  return [Math.max(low, drawing.least ?? low), Math.min(high, drawing.most ?? high)];
}

function linesPlot(drawing: Drawing, width: number): Plot.PlotOptions {
  const points = drawing.series.flatMap((one) => one.points);
  const rows = drawing.band?.rows ?? [];
  const values = [...points.map((one) => one.y), ...rows.flatMap((row) => row.slice(1))];
  const ends: End[] = drawing.series.flatMap((one) => one.points.slice(-1).map((last) => ({ ...last, ...one })));
  const lastRow = rows.at(-1);
  if (drawing.band && lastRow) ends.push({ x: lastRow[0], y: lastRow[2], place: null, label: drawing.band.label });
  const right = Math.min(30 + 7.2 * Math.max(0, ...ends.map((one) => one.label.length)), width * 0.33);
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
      ...drawing.series.map((one) =>
        Plot.line(broken(one.points), {
          x: "x",
          y: "y",
          stroke: colour(one.place),
          strokeWidth: 1.9,
          strokeDasharray: isOpen(one.place) ? "7 3" : undefined,
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
function markers(one: Series): End[] {
  const every = Math.ceil(one.points.length / MARKERS);
  const kept = one.points.filter((_, index) => (one.points.length - 1 - index) % every === 0);
  return kept.map((point) => ({ ...point, place: one.place, label: one.label }));
}

const label = (options: Plot.TextOptions): Plot.TextOptions => ({
  x: "x",
  y: "y",
  text: "label",
  fill: "var(--ink)",
  stroke: "var(--card)",
  strokeWidth: 3,
  fontSize: 12,
  ...options,
});

const writer = (drawing: Drawing) => (drawing.tick === "percent" ? percent : number);

function stripsPlot(drawing: Drawing, width: number): Plot.PlotOptions {
  const names = drawing.series.map((one) => one.label);
  const bars = drawing.series.flatMap((one, strip) => one.points.map((point) => ({ ...point, strip, place: one.place })));
  const rows = (drawing.band?.rows ?? []).map(([x, least, median, most]) => ({ x, least, median, most, strip: names.length }));
  if (drawing.band) names.push(drawing.band.label);
  const right = Math.min(12 + 7.2 * Math.max(0, ...names.map((one) => one.length)), width * 0.33);
  const span = Math.max(...drawing.rounds) - Math.min(...drawing.rounds) + 1;
  const thick = Math.max(1, Math.min(10, ((width - 54 - right) / span) * 0.7));
  const values = [...bars.map((one) => one.y), ...rows.flatMap((one) => [one.least, one.most])];
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
        stroke: (one: (typeof bars)[number]) => colour(one.place),
        strokeWidth: thick,
        insetTop: 0,
      }),
      Plot.areaY(rows, { x: "x", y1: "least", y2: "most", fy: "strip", fill: "var(--band)" }),
      Plot.line(rows, { x: "x", y: "median", fy: "strip", stroke: "var(--axis)", strokeDasharray: "2 3" }),
      Plot.tip(bars, Plot.pointer({ x: "x", y: "y", fy: "strip", title: "note", maxRadius: 30, fill: "var(--card)" })),
    ],
  };
}

type Box = [left: number, top: number, width: number, height: number];
const overlap = (a: Box, b: Box) => a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3];

// Tried in turn: right, left, above, below. A label that would lie on another one is left out: the pointer tells it.
function freeLabels(labels: string[], at: Placed, frame: Frame, diagonal: string): Placed {
  const taken: Box[] = at.x.map((x, index) => [x - 6, at.y[index]! - 6, 12, 12]);
  const end = labels.length - 1; // where the diagonal ends, with its own label to the left of it
  taken.push([at.x[end]! - 6 - 7.2 * diagonal.length, at.y[end]! - 18, 7.2 * diagonal.length, 16]);
  const found = labels.map((text, index) => {
    const [x, y, wide] = [at.x[index]!, at.y[index]!, 7.2 * text.length];
    const tries: Box[] = [
      [x + 9, y - 8, wide, 16],
      [x - 9 - wide, y - 8, wide, 16],
      [x - wide / 2, y - 24, wide, 16],
      [x - wide / 2, y + 8, wide, 16],
    ];
    const free = tries.find(
      (box) =>
        box[0] >= frame.marginLeft &&
        box[0] + wide <= frame.width &&
        box[1] >= 0 &&
        box[1] + 16 <= frame.height - frame.marginBottom + 8 &&
        !taken.some((other) => overlap(box, other)),
    );
    if (!text || !free) return [Number.NaN, Number.NaN] as const;
    taken.push(free);
    return [free[0] + wide / 2, free[1] + 8] as const;
  });
  return { x: found.map((one) => one[0]), y: found.map((one) => one[1]) };
}

function scatterPlot(drawing: Drawing, width: number): Plot.PlotOptions {
  const spots: End[] = drawing.series.flatMap((one) => one.points.map((point) => ({ ...point, ...one })));
  const most = Math.max(...spots.flatMap((one) => [one.x, one.y])) || 1;
  const axis = { domain: [0, most], nice: true, tickFormat: writer(drawing), grid: true };
  const even = [0, most].map((value) => ({ value }));
  const end = [{ x: most, y: most, label: drawing.diagonal }];
  const named = [...spots, { x: most, y: most, place: null, label: "" }];
  return {
    width,
    height: Math.max(HEIGHT, Math.min(400, width * 0.62)),
    marginLeft: 54,
    marginRight: 24,
    marginTop: 28,
    marginBottom: 40,
    x: { label: drawing.x_unit, ...axis, ticks: width / 80 },
    y: { label: drawing.y_unit, ...axis },
    marks: [
      Plot.line(even, { x: "value", y: "value", stroke: "var(--axis)", strokeDasharray: "5 4" }),
      Plot.text(end, label({ textAnchor: "end", dx: -6, dy: -8, fill: "var(--soft)" })),
      Plot.dot(spots, DOTS),
      Plot.text(named, placed(label({}), (at, frame) => freeLabels(named.map((one) => one.label), at, frame, drawing.diagonal))),
      tips(drawing.series.flatMap((one) => one.points)),
    ],
  };
}

type Bar = Point & { place: number | null; label: string; from: number; to: number };

/** Bars of one round on top of each other, those below 0 downwards. */
export function stacked(series: Series[]): Bar[] {
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

function barsPlot(drawing: Drawing, width: number): Plot.PlotOptions {
  const bars = stacked(drawing.series);
  const low = Math.min(...drawing.rounds);
  const high = Math.max(...drawing.rounds);
  const half = Math.min(0.36, 0.04 * (high - low + 1)); // of few rounds, bars as thin as those of many
  const keys: End[] = drawing.series.map(({ place, label }) => ({ x: low, y: 0, place, label }));
  // Above the frame, up to its right edge.
  const besideEachOther = ({ y }: Placed, frame: Frame, shift: number): Placed => {
    const wide = keys.map((one) => 26 + 7.2 * one.label.length);
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

const PLOTS = { lines: linesPlot, strips: stripsPlot, scatter: scatterPlot, bars: barsPlot };

export class RunChart extends HTMLElement {
  #drawing: Drawing | null = null;
  #width = 0;
  #observer = new ResizeObserver(() => {
    if (Math.abs(this.clientWidth - this.#width) > 1) this.#draw();
  });

  connectedCallback() {
    const text = this.querySelector('script[type="application/json"]')?.textContent;
    if (text && !this.#drawing) this.#drawing = JSON.parse(text);
    this.#observer.observe(this);
    this.#draw();
  }

  disconnectedCallback() {
    this.#observer.disconnect();
  }

  set drawing(drawing: Drawing) {
    if (JSON.stringify(drawing) === JSON.stringify(this.#drawing)) return;
    this.#drawing = drawing;
    this.#draw();
  }

  #draw() {
    if (!this.#drawing || !this.isConnected || !this.clientWidth) return;
    this.#width = this.clientWidth;
    const svg = Plot.plot({
      ...PLOTS[this.#drawing.kind](this.#drawing, Math.max(280, this.#width)),
      ariaLabel: this.#drawing.name,
      className: "plot",
      style: { background: "none", color: "var(--soft)", fontSize: "12px" },
    });
    svg.setAttribute("role", "img");
    // Plot names its groups, which inside an image nobody hears and a group may not have.
    for (const group of svg.querySelectorAll("g")) {
      group.removeAttribute("aria-label");
      group.removeAttribute("aria-description");
    }
    this.replaceChildren(svg);
  }
}

export class ChartMark extends HTMLElement {
  connectedCallback() {
    const text = this.getAttribute("place");
    const place = text ? Number(text) : null;
    const svg = Plot.plot({
      width: 24,
      height: 17,
      margin: 0,
      axis: null,
      x: { domain: [-1, 1] },
      y: { domain: [-1, 1] },
      className: "mark",
      marks: [
        Plot.link(place === null ? [] : [0], {
          x1: -0.9,
          x2: 0.9,
          y1: 0,
          y2: 0,
          stroke: colour(place),
          strokeWidth: 1.9,
          strokeDasharray: isOpen(place) ? "4 2" : undefined,
        }),
        Plot.dot([{ x: 0, y: 0, place, label: "" }], DOTS),
      ],
    });
    svg.setAttribute("aria-hidden", "true");
    this.replaceChildren(svg);
  }
}

customElements.define("run-chart", RunChart);
customElements.define("chart-mark", ChartMark);
