// How one round came to a client's pay: each step from score to wei, and the leaf with its proof.
import { useEffect, useState } from "preact/hooks";
import type { Check } from "./check";
import { all, type Verdict } from "./finding";
import { Hash, Mark, Scroll } from "./parts";
import { earnedAt, perLoss } from "./price";
import { leafIn } from "./reason";
import { fetchJson } from "./run";
import { leafHash, proofOf } from "./tree";
import { grouped, percent, priceOf, scoreOf, tokens } from "./words";

type Step = { name: string; formula: string; value: string; ok: Verdict; open?: string };

type StepsProps = { account: string; round: number; sent: boolean; check: Check | undefined; scorer: string; attested: boolean };

/** Each step from score to wei of one round, recomputed; `sent` says whether an update of the account's counts in it. */
export function Steps({ account, round, sent, check, scorer, attested }: StepsProps) {
  const [raw, setRaw] = useState<bigint | string | null>(null);
  useEffect(() => {
    setRaw(sent ? null : `no update of it was accepted in round ${round}`);
    if (!sent) return;
    fetchJson<{ raw: string }>(`rounds/${round}/raw/${account}`).then(
      (told) => setRaw(BigInt(told.raw)),
      (error) => setRaw(error.message),
    );
  }, [account, round, sent]);
  const leaf = leafIn(check, account);
  if (!check) return <p>Recomputing round {round} …</p>;
  if (!leaf || !check.published) return <p>Round {round} has no leaf of this account.</p>;
  const { header, posted, previous, carriedOver, priced, updates } = check.published;
  const same = (listed: { account: string }) => listed.account.toLowerCase() === account.toLowerCase();
  const before = previous.find(same) ?? { total: 0n, cumulative: 0n };
  const price = BigInt(header.price!);
  const update = updates.find(same);
  const stakes = updates.reduce((sum, update) => sum + BigInt(update.stake), 0n);
  const units = "· 2⁻⁴⁰";
  const most = update && (2n ** 33n * BigInt(update.stake)) / stakes + 1n; // twice the weight of an update that is not too long
  const weight: Step = {
    name: "weight",
    formula: "2³² · share of the round's stakes · what the round's length leaves of the update",
    value: `${grouped(leaf.weight)} · 2⁻³²${update && leaf.weight ? `, of ${percent(Number(BigInt(update.stake)) / Number(stakes))} of the stakes` : ""}`,
    ok: update && leaf.weight * 2n > most! ? false : null,
    open: "only told",
  };
  const byProduct: Step[] = [
    weight,
    {
      name: "⟨update, direction⟩",
      formula: "the raw sum of block products",
      value: typeof raw === "bigint" ? `${grouped(raw)} ${units}` : (raw ?? "…"),
      ok: null,
      open: "only told",
    },
    {
      name: "score",
      formula: `floor(raw · ${grouped(leaf.weight)} ÷ 2³²)`,
      value: `${grouped(leaf.score)} ${units} = ${scoreOf(leaf.score)}`,
      // The update is its owner's and the direction is revealed later: the product is told by the server, and shows nothing
      // but that it is at odds with the score.
      ok: typeof raw === "bigint" && (raw * leaf.weight) >> 32n !== leaf.score ? false : null,
      open: typeof raw === "bigint" ? "adds up" : "only told",
    },
  ];
  const byAttestation: Step[] = [
    {
      name: "score",
      formula: `by the rule ${scorer}, as the evaluators attest`,
      value: `${grouped(leaf.score)} ${units} = ${scoreOf(leaf.score)}`,
      ok: null,
      open: "only told",
    },
  ];
  const steps: Step[] = [
    ...(attested ? byAttestation : byProduct),
    {
      name: "total",
      formula: `${grouped(before.total)} + score: all scores so far`,
      value: `${grouped(leaf.total)} ${units} = ${scoreOf(leaf.total)}`,
      ok: all([before.total + leaf.score === leaf.total, posted, carriedOver]),
    },
    {
      name: "price",
      formula: "the largest that the schedule allows, the same for everybody",
      value: perLoss(price) === null ? "nobody has a positive total" : `${grouped(price)} · 2⁻⁶⁴ = ${priceOf(price)}`,
      ok: all([priced, posted, carriedOver]),
    },
    {
      name: "earned so far",
      formula: `floor(price · total ÷ 2⁶⁴), and never less than the ${grouped(before.cumulative)} wei of before`,
      value: `${grouped(leaf.cumulative)} wei = ${tokens(leaf.cumulative)} tokens`,
      ok: all([earnedAt({ total: leaf.total, cumulative: before.cumulative }, price) === leaf.cumulative, posted, carriedOver]),
    },
    {
      name: "pay",
      formula: `earned so far − ${grouped(before.cumulative)} wei`,
      value: `${grouped(leaf.cumulative - before.cumulative)} wei = ${tokens(leaf.cumulative - before.cumulative)} tokens`,
      ok: all([leaf.cumulative >= before.cumulative, posted, carriedOver]),
    },
  ];
  return (
    <Scroll
      caption={`How round ${round} came to this pay, recomputed in this browser. What holds follows from leaves that were posted; what only adds up rests on numbers that are told`}
    >
      <thead>
        <tr>
          <th scope="col">Step</th>
          <th scope="col">How</th>
          <th scope="col">Value</th>
          <th scope="col">Checked</th>
        </tr>
      </thead>
      <tbody>
        {steps.map((step) => (
          <tr key={step.name}>
            <th scope="row">{step.name}</th>
            <td>
              <span class="prose">{step.formula}</span>
            </td>
            <td>
              <span class="prose">{step.value}</span>
            </td>
            <td>
              <Mark ok={step.ok} open={step.open ?? "adds up"} />
            </td>
          </tr>
        ))}
      </tbody>
    </Scroll>
  );
}

/** The leaf of a client and what hashes with it to the root. */
export function Proof({ account, round, check }: { account: string; round: number; check: Check | undefined }) {
  const leaf = leafIn(check, account);
  if (!check?.published || !leaf) return null;
  const { leaves, levels, header } = check.published;
  const index = leaves.indexOf(leaf);
  const fields = {
    account: leaf.account,
    "update root": leaf.updateRoot,
    "weight, 2⁻³²": grouped(leaf.weight),
    "score, 2⁻⁴⁰": grouped(leaf.score),
    "total, 2⁻⁴⁰": grouped(leaf.total),
    "cumulative, wei": grouped(leaf.cumulative),
    "hash of the leaf": leafHash(leaf),
  };
  return (
    <details>
      <summary>
        Leaf {index + 1} of {leaves.length} and its proof in round {round}
      </summary>
      <dl class="facts">
        {Object.entries(fields).map(([name, value]) => [<dt>{name}</dt>, <dd class="whole"><code>{value}</code></dd>])}
      </dl>
      <Scroll caption="Siblings of the leaf, bottom up; hashed together they give the root">
        <thead>
          <tr>
            <th scope="col">Step</th>
            <th scope="col">Side</th>
            <th scope="col">Hash</th>
            <th scope="col" class="n">Cumulative, tokens</th>
          </tr>
        </thead>
        <tbody>
          {proofOf(levels, index).map((sibling, step) => (
            <tr key={step}>
              <th scope="row">{step + 1}</th>
              <td>{sibling.left ? "left" : "right"}</td>
              <td>
                <Hash value={sibling.node} />
              </td>
              <td class="n">{tokens(sibling.cumulative)}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">root</th>
            <td></td>
            <td>
              <Hash value={levels.at(-1)![0]!.node} />
            </td>
            <td class="n">{tokens(header.cumulative)}</td>
          </tr>
        </tbody>
      </Scroll>
    </details>
  );
}
