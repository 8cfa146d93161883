// What the kinds of charts share: what is drawn, the look of a series, axes and labels.
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

export const HEIGHT = 300;
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "circle", "square2", "times", "diamond2", "plus"] as const;
const OPEN = 5; // marks from here on are open, and their lines dashed

export const colour = (place: number | null) => (place === null ? "var(--axis)" : `var(--s${place % SYMBOLS.length})`);
const symbol = (place: number | null) => (place === null ? "circle" : SYMBOLS[place % SYMBOLS.length]!);
export const isOpen = (place: number | null) => place !== null && place % SYMBOLS.length >= OPEN;
export const inside = (place: number | null) => (isOpen(place) ? "var(--card)" : colour(place));

const percent = (value: number) => `${Number((value * 100).toPrecision(4))}%`;
const number = (value: number) => {
  const size = Math.abs(value);
  if (size < 1e-12) return "0";
  const text = size >= 1e-4 && size < 1e6 ? Number(size.toPrecision(6)).toLocaleString("en") : size.toPrecision(3);
  return (value < 0 ? "−" : "") + text;
};

export type End = { x: number; y: number; place: number | null; label: string };
export type Placed = { x: number[]; y: number[] };
export type Frame = { width: number; height: number; marginTop: number; marginBottom: number; marginLeft: number; marginRight: number };

// Plot's own extension point: it hands over what the scales made of x and y, and takes pixels back.
export function placed(options: Plot.DotOptions | Plot.TextOptions, place: (at: Placed, frame: Frame) => Placed): any {
  const initializer = (data: any, facets: any, channels: any, scales: any, frame: any) => {
    const at = { x: Array.from(channels.x.value, scales.x), y: Array.from(channels.y.value, scales.y) } as Placed;
    const { x, y } = place(at, frame);
    return { data, facets, channels: { x: { value: x }, y: { value: y } } };
  };
  return Plot.initializer(options as any, initializer as any);
}

export const DOTS = {
  x: "x",
  y: "y",
  r: 4,
  symbol: (end: End) => symbol(end.place),
  stroke: (end: End) => colour(end.place),
  fill: (end: End) => inside(end.place),
  strokeWidth: 1.6,
} as Plot.DotOptions;

export function tips(points: Point[]) {
  const look = { fill: "var(--card)", stroke: "var(--axis)", fontSize: 12 };
  return Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: "note", maxRadius: 30, ...look }));
}

export function wholeTicks(rounds: number[]): number[] {
  const low = Math.min(...rounds);
  const high = Math.max(...rounds);
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((size) => (high - low) / size <= 8) ?? Math.ceil((high - low) / 8);
  const ticks = Array.from({ length: high - low + 1 }, (_, index) => low + index).filter((round) => round % step === 0);
  return ticks[0] === low || (ticks[0] ?? high) - low < step / 2 ? ticks : [low, ...ticks];
}

export function domainOf(drawing: Drawing, values: number[]): [number, number] {
  let low = Math.min(...values, ...(drawing.from_zero ? [0] : []));
  let high = Math.max(...values, ...(drawing.from_zero ? [0] : []));
  if (!values.length) [low, high] = [0, 1];
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) {
    const room = Math.abs(low) / 10 || 1; // one value lies on a line with some room around it
    [low, high] = drawing.from_zero ? [low, high + room] : [low - room, high + room];
  }
  return [Math.max(low, drawing.least ?? low), Math.min(high, drawing.most ?? high)];
}

export const label = (options: Plot.TextOptions): Plot.TextOptions => ({
  x: "x",
  y: "y",
  text: "label",
  fill: "var(--ink)",
  stroke: "var(--card)",
  strokeWidth: 3,
  fontSize: 12,
  ...options,
});

export const writer = (drawing: Drawing) => (drawing.tick === "percent" ? percent : number);
