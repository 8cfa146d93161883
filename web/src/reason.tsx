// Score × price = pay in words, from the newest round's leaf where this browser recomputed it.
import type { Check } from "./check";
import { explanation } from "./explanation";
import type { ClientRounds } from "./run";
import type { Leaf } from "./tree";

export function leafIn(check: Check | undefined, account: string): Leaf | null {
  return check?.published?.leaves.find((leaf) => leaf.account.toLowerCase() === account.toLowerCase()) ?? null;
}

/** `check` is that of the client's last round. */
export function Reason({ client, check }: { client: ClientRounds; check: Check | undefined }) {
  const last = client.rounds.at(-1);
  if (!last) return <p>No round is posted yet.</p>;
  const leaf = leafIn(check, client.account);
  const known = client.rounds.filter((round) => round.total_q40 !== null).at(-1);
  const standing = leaf
    ? { total: leaf.total, cumulative: leaf.cumulative, price: BigInt(check!.published!.header.price!) }
    : known && { total: BigInt(known.total_q40!), cumulative: BigInt(known.cumulative_wei!), price: BigInt(known.price_q64) };
  const factors = client.rounds.flatMap((round) => round.factor ?? []);
  const byClass = client.classes.map((name, index): [string, number] => [name, client.by_class[index]!]);
  return (
    <>
      <p>{explanation(standing ? { ...standing, factors, byClass } : null, "Your")}</p>
      <p class="soft">
        Score, price and pay are {leaf ? basis(check!.ok, last.round) : "as the run tells"}. Lengths
        {client.classes.length ? " and classes" : ""} are as the run tells.
      </p>
    </>
  );
}

function basis(ok: Check["ok"], round: number): string {
  if (ok) return `recomputed here from the leaves of round ${round}`;
  const leaves = `those of the leaves of round ${round}`;
  return ok === null ? `${leaves}, of which not everything could be checked here` : `${leaves}, which did not pass its check`;
}
