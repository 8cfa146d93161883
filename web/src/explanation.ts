// Why a client earned what it earned, in words: what fl/report/explanation.py says, here of what this browser recomputed.
import { earnedAt, HIGHEST_PRICE } from "./price";
import { LEAST, lost, percent, plural, priceOf, tokens } from "./words";

export type ClientStanding = {
  total: bigint; // units of 2^−40 of loss
  cumulative: bigint; // wei
  price: bigint; // units of 2^−64 wei per 2^−40 of loss
  factors: number[]; // what the round's length left of each accepted update
  byClass: [string, number][]; // its scores by class, in sum; none where no round was read
};

/** Score × price = pay in words; `whose` is the word before "updates": Your, or Its. */
export function explanation(standing: ClientStanding | null, whose: string): string {
  if (!standing?.factors.length) {
    const kept = standing?.cumulative ? ` The ${tokens(standing.cumulative)} tokens earned before stay.` : "";
    return `No update was accepted, so there is no score and no pay.${kept}`;
  }
  return [worth(standing, whose), paid(standing), shortened(standing)].filter(Boolean).join(" ");
}

function worth(standing: ClientStanding, whose: string): string {
  const { total } = standing;
  if (total === 0n) return `${whose} updates are worth exactly nothing in sum.`;
  const [took, off] = total > 0n ? ["took", "off"] : ["put", "on"];
  return `${whose} updates ${took} ${lost(total)} ${off} the loss${classes(standing)}.`;
}

function classes({ total, byClass }: ClientStanding): string {
  const sign = total > 0n ? 1 : -1;
  const parts = byClass.map(([name, part]) => ({ name, part: sign * part })).filter(({ part }) => part > 0);
  parts.sort((a, b) => b.part - a.part);
  const [first, second] = parts;
  if (byClass.length < 2 || !first || lost(total) === LEAST) return ""; // of next to nothing, any class is chance
  const whole = parts.reduce((sum, { part }) => sum + part, 0);
  if (!second || 2 * first.part > whole) return `, most of it on class ${first.name}`;
  return `, above all on the classes ${first.name} and ${second.name}`;
}

function paid({ total, cumulative, price }: ClientStanding): string {
  const earned = tokens(cumulative);
  const stays = cumulative ? `the ${earned} tokens that were earned before stay` : "nothing was earned yet";
  if (total < 0n) return `Below zero nothing is earned until later updates have made that good; ${stays}.`;
  if (total === 0n) return `${stays[0]!.toUpperCase()}${stays.slice(1)}.`;
  if (price === HIGHEST_PRICE) return `All whole scores are too small to pay by; ${stays}.`;
  const at = `The price is ${priceOf(price)}, the same for everybody`;
  const due = earnedAt({ total, cumulative: 0n }, price);
  if (due === cumulative) return `${at}: ${earned} tokens earned.`;
  return (
    `${at}, at which that is ${tokens(due)} tokens; ${earned} were earned when score or price stood higher, and pay never ` +
    "falls: more is earned once it comes to more than that."
  );
}

function shortened({ factors }: ClientStanding): string {
  const long = factors.filter((factor) => factor < 0.9995);
  if (!long.length) return "";
  return (
    `In ${long.length.toLocaleString("en")} of ${plural(factors.length, "round")} the update was longer than the round's ` +
    `length and counted as if it had that length: as little as ${percent(Math.min(...long))} of its own.`
  );
}
