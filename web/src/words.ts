// How the page writes amounts, scores and times; the same forms as the report's (fl/report/wording.py), as vectors.mjs holds.

import { perLoss } from "./price";
import type { View } from "./run";

const WEI = 10n ** 18n;

export function tokens(wei: bigint | string | null | undefined): string {
  if (wei === null || wei === undefined) return "–";
  const amount = BigInt(wei);
  const size = amount < 0n ? -amount : amount;
  const cents = (size * 100n + WEI / 2n) / WEI;
  if (amount !== 0n && cents === 0n) return amount > 0n ? "< 0.01" : "> −0.01";
  const whole = (cents / 100n).toLocaleString("en");
  return `${amount < 0n ? "−" : ""}${whole}.${(cents % 100n).toString().padStart(2, "0")}`;
}

export const percent = (share: number | null | undefined) =>
  share === null || share === undefined || !Number.isFinite(share) ? "–" : `${(share * 100).toFixed(1)}%`;

/** A share of an amount, exact to a millionth however large both are; null of nothing. */
export const shareOf = (part: bigint, whole: bigint) => (whole ? Number((part * 1_000_000n) / whole) / 1_000_000 : null);

const fixed = (value: number) => value.toLocaleString("en", { minimumFractionDigits: 4, maximumFractionDigits: 4 });

export const loss = (value: number | null | undefined) => (value === null || value === undefined ? "–" : fixed(value));

export const LEAST = "less than 0.0001"; // of a loss that four decimals do not show

/** A size in units of 2^−40 of loss with four decimals, exact until it is text. */
export function lost(q40: bigint): string {
  const steps = ((q40 < 0n ? -q40 : q40) * 10_000n + 2n ** 39n) >> 40n;
  if (q40 && !steps) return LEAST;
  return `${(steps / 10_000n).toLocaleString("en")}.${(steps % 10_000n).toString().padStart(4, "0")}`;
}

export function score(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 0.00005) return value > 0 ? "< 0.0001" : "> −0.0001";
  return (value > 0 ? "+" : "−") + fixed(size);
}

/** A score in units of 2^−40 of loss. */
export const scoreOf = (q40: bigint | string) => score(Number(BigInt(q40)) / 2 ** 40);

/** A price in units of 2^−64 wei per 2^−40 of loss. */
export function priceOf(price: bigint | string): string {
  const wei = perLoss(BigInt(price));
  return wei === null ? "nobody above 0" : `${tokens(wei)} tokens for 1.0 of loss`;
}

export const grouped = (value: bigint | number) => value.toLocaleString("en").replace("-", "−");

export const short = (hash: string) => (hash.length > 14 ? `${hash.slice(0, 8)}…${hash.slice(-4)}` : hash);

export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

export const plural = (count: number, noun: string) => `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;

type Figures = { accuracy: number | null; perplexity: number | null; test_loss: number };
export type Metric = { name: string; of: (figures: Figures) => string };

/** By what a task's models are told apart: accuracy, perplexity of a language model, or the loss where nothing is right or wrong. */
export function metricOf(view: View): Metric {
  if (view.totals.initial_accuracy !== null) return { name: "Accuracy", of: (figures) => percent(figures.accuracy) };
  if (view.totals.initial_perplexity !== null) return { name: "Perplexity", of: (figures) => (figures.perplexity === null ? "–" : figures.perplexity.toFixed(2)) };
  return { name: "Test loss", of: (figures) => loss(figures.test_loss) };
}

export const firstFigures = ({ totals }: View): Figures => ({
  accuracy: totals.initial_accuracy,
  perplexity: totals.initial_perplexity,
  test_loss: totals.initial_loss,
});
