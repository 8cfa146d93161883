// Scores → totals → price → pay, in whole numbers: the third implementation beside fl/rewards/price.py and the contract's.
//
// total_t      = total_{t−1} + score_t
// cumulative_t = max(cumulative_{t−1}, floor(price_t · max(0, total_t) / 2^64))
// price_t      = the largest whole number below 2^128 with C_t = Σ cumulative_t ≤ allowed_t

const PRICE_BITS = 64n; // a price is in units of 2^−64 wei per 2^−40 of loss
const LOSS_BITS = 40n;
export const HIGHEST_PRICE = (1n << 128n) - 1n; // where nobody has a positive total, or too little of it for what is allowed

export type Account = { total: bigint; cumulative: bigint }; // units of 2^−40 of loss, and wei earned before
export type Schedule = {
  planned: number; // rounds that the task was opened for
  rounds: number; // the last round: as planned, or sooner after a stop
  budgets: [number, string][]; // from which round on which budget counts, wei
};

/** Wei that an account has earned at a price: never less than before. */
export function earnedAt({ total, cumulative }: Account, price: bigint): bigint {
  const due = total > 0n ? (price * total) >> PRICE_BITS : 0n;
  return due > cumulative ? due : cumulative;
}

/** Wei that the rounds up to this one may pay together; null for a round after the last. */
export function allowedBy(round: number, { planned, rounds, budgets }: Schedule): bigint | null {
  if (round > rounds) return null;
  if (round === rounds) return BigInt(budgets.at(-1)![1]); // after a stop, what was added counts at once
  const budget = BigInt(budgets.filter(([first]) => first <= round).at(-1)![1]);
  return (budget * BigInt(round)) / BigInt(planned);
}

/** A price as people read it: wei for 1.0 of loss, rounded down; null for the highest, at which nobody is paid. */
export const perLoss = (price: bigint): bigint | null => (price === HIGHEST_PRICE ? null : price >> (PRICE_BITS - LOSS_BITS));

const sum = (values: bigint[]) => values.reduce((total, value) => total + value, 0n);

/** The largest price at which all accounts together have at most `allowed` wei; null if they had more before. */
export function largestPrice(accounts: Account[], allowed: bigint): bigint | null {
  const paid = sum(accounts.map((account) => account.cumulative));
  if (paid > allowed) return null;
  const earners = accounts.filter((account) => account.total > 0n);
  if (!earners.length) return HIGHEST_PRICE;
  const idle = paid - sum(earners.map((account) => account.cumulative));
  // Rounding down takes less than a wei from each: the price lies between where the unrounded sum meets what is allowed, and
  // where it is as many wei beyond that as there are earners.
  let low = crossing(earners, allowed - idle);
  let high = crossing(earners, allowed - idle + BigInt(earners.length));
  while (low < high) {
    const middle = (low + high + 1n) / 2n;
    if (idle + sum(earners.map((account) => earnedAt(account, middle))) <= allowed) low = middle;
    else high = middle - 1n;
  }
  return low;
}

/** The largest price with Σ max(cumulative, price · total / 2^64) ≤ target, nothing rounded: Newton's steps from above. */
function crossing(earners: Account[], target: bigint): bigint {
  let moving = earners;
  let held = 0n;
  let price = HIGHEST_PRICE;
  while (moving.length) {
    const next = ((target - held) << PRICE_BITS) / sum(moving.map((account) => account.total));
    if (next < price) price = next;
    const stays = (account: Account) => price * account.total < account.cumulative << PRICE_BITS;
    const staying = moving.filter(stays);
    if (!staying.length) break;
    held += sum(staying.map((account) => account.cumulative));
    moving = moving.filter((account) => !stays(account));
  }
  return price;
}
