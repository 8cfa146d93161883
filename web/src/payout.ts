// How a score becomes a balance, and how a round's pot is shared: floor(pot · entitlement / E), and +1 by largest remainder,
// ties by address.
import { entitlementOf, type Leaf } from "./tree";

/** A debt has to be earned back; what was to the good is not carried over. */
export const balanceAfter = (balance: bigint, score: bigint) => (balance < 0n ? balance : 0n) + score;

/** Wei by account; they sum to the pot, or to nothing where nobody is entitled. Mirrors fl/rewards/payout.py. */
export function split(leaves: Leaf[], pot: bigint): Map<string, bigint> {
  const total = leaves.reduce((sum, one) => sum + entitlementOf(one), 0n);
  if (total === 0n) return new Map(leaves.map((one) => [one.account, 0n]));
  const pays = new Map(leaves.map((one) => [one.account as string, (pot * entitlementOf(one)) / total]));
  let rest = pot - [...pays.values()].reduce((sum, one) => sum + one, 0n);
  const remainder = (one: Leaf) => (pot * entitlementOf(one)) % total;
  const order = (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0);
  const ordered = [...leaves].sort((a, b) => order(remainder(b), remainder(a)) || order(BigInt(a.account), BigInt(b.account)));
  for (const one of ordered) {
    if (rest-- <= 0n) break;
    pays.set(one.account, pays.get(one.account)! + 1n);
  }
  return pays;
}
