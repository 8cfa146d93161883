// One dot for each client, with labels where there is room, and the line on which both shares are the same.
import * as Plot from "@observablehq/plot";
import { DOTS, HEIGHT, label, placed, tips, writer, type Drawing, type End, type Frame, type Placed } from "./drawing";

type Box = [left: number, top: number, width: number, height: number];
const overlap = (a: Box, b: Box) => a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3];

const dotBoxes = (at: Placed): Box[] => at.x.map((x, index) => [x - 6, at.y[index]! - 6, 12, 12]);

// The diagonal's own label stands left of its end, which is the last place of `at`, or further down where a dot is there.
function diagonalBox(text: string, at: Placed, frame: Frame): Box {
  const wide = 7.2 * text.length;
  const [left, bottom] = [frame.marginLeft, frame.height - frame.marginBottom];
  const tries = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4].map((part): Box => {
    const [x, y] = [left + (at.x.at(-1)! - left) * part, bottom + (at.y.at(-1)! - bottom) * part];
    return [x - 10 - wide, y - 14, wide, 16];
  });
  const dots = dotBoxes(at).slice(0, -1);
  return tries.find((box) => !dots.some((dot) => overlap(box, dot))) ?? tries[0]!;
}

// Tried in turn: right, left, above, below. A label that would lie on another one is left out: the pointer tells it.
function freeLabels(labels: string[], at: Placed, frame: Frame, diagonal: string): Placed {
  const taken = [diagonalBox(diagonal, at, frame), ...dotBoxes(at)];
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
  return { x: found.map((point) => point[0]), y: found.map((point) => point[1]) };
}

export function scatterPlot(drawing: Drawing, width: number): Plot.PlotOptions {
  const spots: End[] = drawing.series.flatMap((series) => series.points.map((point) => ({ ...point, ...series })));
  const most = Math.max(...spots.flatMap((spot) => [spot.x, spot.y])) || 1;
  const axis = { domain: [0, most], nice: true, tickFormat: writer(drawing), grid: true };
  const even = [0, most].map((value) => ({ value }));
  const named = [...spots, { x: most, y: most, place: null, label: "" }]; // the end of the diagonal is the last one
  const beside = (at: Placed, frame: Frame): Placed => {
    const [x, y, wide] = diagonalBox(drawing.diagonal, at, frame);
    return { x: at.x.map(() => x + wide / 2), y: at.y.map(() => y + 8) };
  };
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
      Plot.text(named, placed(label({ text: (_, index) => (index === spots.length ? drawing.diagonal : ""), fill: "var(--soft)" }), beside)),
      Plot.dot(spots, DOTS),
      Plot.text(named, placed(label({}), (at, frame) => freeLabels(named.map((spot) => spot.label), at, frame, drawing.diagonal))),
      tips(drawing.series.flatMap((series) => series.points)),
    ],
  };
}
