// The charts of a run, drawn by Observable Plot: <run-chart> draws what fl/report/drawing.py describes, <chart-mark> is one
// series' mark for a key or a table. Colours are the page's custom properties, so that one drawing serves light and dark.
import * as Plot from "@observablehq/plot";
import { barsPlot } from "./bars";
import { colour, DOTS, isOpen, type Drawing } from "./drawing";
import { linesPlot, stripsPlot } from "./lines";
import { scatterPlot } from "./scatter";

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
