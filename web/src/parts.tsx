// Pieces that several parts of the page are made of.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { explorerUrl } from "./explorer";
import type { Verdict } from "./finding";
import type { Chart } from "./run";
import { score, short } from "./words";

declare module "preact" {
  namespace JSX {
    interface IntrinsicElements {
      "run-chart": { drawing: Chart["drawing"] };
      "chart-mark": { place?: number };
    }
  }
}

/** A table that scrolls in its own box: such a box has to be reachable by keyboard, and then needs a name. */
export function Scroll({ caption, children }: { caption: string; children: ComponentChildren }) {
  const table = useRef<HTMLTableElement>(null);
  useLayoutEffect(() => nameCells(table.current!));
  return (
    <div class="scroll" role="region" tabIndex={0} aria-label={caption}>
      <table ref={table}>
        <caption>
          <span>{caption}</span>
        </caption>
        {children}
      </table>
    </div>
  );
}

/** On a narrow screen a row stands as a list: each cell says of which column it is, and roles outlive the change of display. */
function nameCells(table: HTMLTableElement): void {
  const headings = [...(table.tHead?.rows[0]?.cells ?? [])].map((cell) => cell.textContent ?? "");
  table.setAttribute("role", "table");
  for (const part of [table.tHead, ...table.tBodies]) part?.setAttribute("role", "rowgroup");
  for (const row of table.rows) {
    row.setAttribute("role", "row");
    const head = row.parentElement === table.tHead;
    [...row.cells].forEach((cell, place) => {
      cell.setAttribute("role", head ? (cell.tagName === "TH" ? "columnheader" : "cell") : cell.tagName === "TH" ? "rowheader" : "cell");
      if (!head && row.cells.length === headings.length) cell.dataset.label = headings[place];
    });
  }
}

/** A transaction or an account, with its page where the chain has an explorer. */
export function OnChain({ chain, kind, value, whole }: { chain: number; kind: "tx" | "address"; value: string; whole?: boolean }) {
  const shown = whole ? <code class="whole">{value}</code> : <Hash value={value} />;
  const url = explorerUrl(chain, kind, value);
  return url ? (
    <a href={url} rel="noreferrer" target="_blank">
      {shown}
    </a>
  ) : (
    shown
  );
}

export function Hash({ value }: { value: string }) {
  return (
    <code class="hash" title={value}>
      {short(value)}
    </code>
  );
}

export function ChartCard({ chart }: { chart: Chart }) {
  return (
    <figure>
      <h3>{chart.title}</h3>
      <figcaption>{chart.finding}</figcaption>
      <run-chart drawing={chart.drawing}></run-chart>
    </figure>
  );
}

/** Score by class as a table with bars: what a client was paid for. */
export function Bars({ classes, parts, of }: { classes: string[]; parts: number[]; of: string }) {
  if (!classes.length) return <p>No round of this run was read by class; scorer.read_clients sets how large a round may be.</p>;
  const most = Math.max(...parts.map(Math.abs)) || 1;
  return (
    <Scroll caption={`${of}: score by class, all rounds that were read, in units of loss`}>
      <thead>
        <tr>
          <th scope="col">Class</th>
          <th scope="col" class="n">Score</th>
          <td></td>
        </tr>
      </thead>
      <tbody>
        {classes.map((name, index) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="n">{score(parts[index]!)}</td>
            <td>
              <span class={`bar ${parts[index]! < 0 ? "negative" : ""}`} aria-hidden="true">
                <span style={{ width: `${(Math.abs(parts[index]!) / most) * 100}%` }}></span>
              </span>
            </td>
          </tr>
        ))}
      </tbody>
    </Scroll>
  );
}

export function Figure({ name, big, small }: { name: ComponentChildren; big: string; small: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class="big">{big}</dd>
      <dd class="small">{small}</dd>
    </div>
  );
}

/** `open` says what stands in for a mark where it cannot be told. */
export function Mark({ ok, open }: { ok: Verdict; open: string }) {
  if (ok === null) return <span class="soft">{open}</span>;
  return ok ? <span class="good">✓ holds</span> : <span class="bad">✗ differs</span>;
}
