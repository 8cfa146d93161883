// One client's own view: its leaf, its proof, each step from score to wei, and the claim.
import { useEffect, useState } from "preact/hooks";
import { openIn, type Check } from "./check";
import { all, type Verdict } from "./finding";
import { Bars, Figure, Hash, Mark, Scroll } from "./parts";
import { earnedAt, perLoss } from "./price";
import { leafIn, Reason } from "./reason";
import { fetchJson, type ClientRounds, type Standing, type View } from "./run";
import { leafHash, proofOf } from "./tree";
import { claim, hasWallet } from "./wallet";
import { duration, grouped, loss, percent, plural, priceOf, score, scoreOf, tokens } from "./words";

type Props = { account: string; view: View; standing: Standing | null; checks: Map<number, Check> };

export function Account({ account, view, standing, checks }: Props) {
  const [client, setClient] = useState<ClientRounds | string | null>(null);
  const [claimed, setClaimed] = useState<bigint | null>(null);
  const [asked, setAsked] = useState(0);
  const [chosen, setChosen] = useState<number | null>(null);
  const final = standing?.reachable ? standing.final_round : null;
  const paid = standing?.reachable ? standing.paid_wei : null;

  useEffect(() => {
    fetchJson<ClientRounds>(`clients/${account}`).then(setClient, (error) => setClient(error.message));
  }, [account, view.rounds.length, view.status]);
  useEffect(() => {
    fetchJson<{ claimed_wei?: string }>(`standing/${account}`).then(
      (told) => setClaimed(told.claimed_wei === undefined ? null : BigInt(told.claimed_wei)),
      () => setClaimed(null),
    );
  }, [account, final, paid, asked]);

  if (client === null) return <p>Looking for {account} …</p>;
  if (typeof client === "string") {
    return (
      <section id="account" aria-labelledby="account-h">
        <h2 id="account-h">{account}</h2>
        <p role="alert">{client}</p>
        <p>
          <a href="#/">Back to the run</a>
        </p>
      </section>
    );
  }
  const last = client.rounds.at(-1);
  const finalLeaf = leafIn(checks.get(final ?? 0), client.account);
  const claimable = finalLeaf && claimed !== null ? dueOf(finalLeaf.cumulative, standing) - claimed : null;
  const waiting = claimed !== null && finalLeaf ? BigInt(client.paid_wei) - finalLeaf.cumulative : null;
  const round = chosen ?? [...client.rounds].reverse().find((one) => one.score_q40 !== null)?.round ?? last?.round ?? null;
  return (
    <section id="account" aria-labelledby="account-h">
      <p>
        <a href="#/">Back to the run</a>
      </p>
      <h2 id="account-h">
        <bdi>{client.name}</bdi>
      </h2>
      <p>
        <code class="whole">{client.account}</code>
      </p>
      <dl class="figures" aria-label="Figures of this client">
        <Figure name="Stake" big={tokens(client.stake_wei)} small={`${percent(client.stake_share)} of all stakes, for ${plural(client.samples, "sample")}`} />
        <Figure name="Whole score" big={score(client.score)} small="taken off the loss in all rounds" />
        <Figure name="Earned" big={tokens(client.paid_wei)} small={`tokens in ${plural(client.rounds.length, "round")}`} />
        <Figure
          name="Price"
          big={tokens(last ? perLoss(BigInt(last.price_q64)) : null)}
          small={last ? `tokens for 1.0 of loss after round ${last.round}` : "no round is posted yet"}
        />
        <Figure name="Length factor" big={loss(client.last_factor)} small="what the last round's length left of its update" />
        <Figure
          name="Claimed"
          big={tokens(claimed ?? client.claimed_wei)}
          small={claimed === null ? "as the run told; the chain does not answer now" : "as the contract says now"}
        />
      </dl>
      <div class="card reason">
        <h3>Why it earned that</h3>
        <Reason client={client} check={checks.get(last?.round ?? 0)} />
      </div>
      <Claim
        client={client}
        claimable={claimable}
        waiting={waiting}
        final={final}
        standing={standing}
        check={checks.get(final ?? 0)}
        onClaimed={() => setAsked(asked + 1)}
      />
      {round !== null && (
        <>
          <h3>
            <label for="step-round">From score to wei, in round </label>
            <select id="step-round" value={round} onChange={(event) => setChosen(Number(event.currentTarget.value))}>
              {client.rounds.map((one) => (
                <option key={one.round} value={one.round}>
                  {one.round}
                </option>
              ))}
            </select>
          </h3>
          <Steps
            account={client.account}
            round={round}
            check={checks.get(round)}
            scorer={view.task.scorer ?? "direction"}
            attested={view.task.attested ?? view.task.scorer !== "direction"}
          />
          <Proof account={client.account} round={round} check={checks.get(round)} />
        </>
      )}
      <h3>What it was paid for</h3>
      <Bars classes={client.classes} parts={client.by_class} of={client.name} />
      <h3>Every round</h3>
      <Scroll caption="This client by round: the length factor is what the round's length left of its update, the price is in tokens for 1.0 of loss, amounts are in tokens">
        <thead>
          <tr>
            <th scope="col">Round</th>
            <th scope="col" class="n">Score</th>
            <th scope="col" class="n">Standard error</th>
            <th scope="col" class="n">Length factor</th>
            <th scope="col" class="n">Whole score</th>
            <th scope="col" class="n">Price</th>
            <th scope="col" class="n">Pay</th>
            <th scope="col" class="n">Earned so far</th>
            <th scope="col">Refused</th>
          </tr>
        </thead>
        <tbody>
          {client.rounds.map((one) => (
            <tr key={one.round}>
              <th scope="row">{one.round}</th>
              <td class="n">{one.score_q40 === null ? "no update" : scoreOf(one.score_q40)}</td>
              <td class="n">{one.error === null ? "–" : `± ${loss(one.error)}`}</td>
              <td class="n">{loss(one.factor)}</td>
              <td class="n">{one.total_q40 === null ? "–" : scoreOf(one.total_q40)}</td>
              <td class="n">{tokens(perLoss(BigInt(one.price_q64)))}</td>
              <td class="n">{tokens(one.pay_wei)}</td>
              <td class="n">{tokens(one.cumulative_wei)}</td>
              <td>
                <span class="prose">{one.refusals.join("; ") || "–"}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </Scroll>
    </section>
  );
}

/** Wei that an account has to have been paid in the end: more than it earned where a task ended otherwise than planned. */
function dueOf(earned: bigint, standing: Standing | null): bigint {
  if (!standing?.reachable || standing.status !== "closed") return earned;
  const [pool, sum] = [BigInt(standing.pool_wei), BigInt(standing.cumulative_wei)];
  return pool && sum ? earned + (pool * earned) / sum : earned;
}

type ClaimProps = {
  client: ClientRounds;
  claimable: bigint | null;
  waiting: bigint | null;
  final: number | null;
  standing: Standing | null;
  check: Check | undefined;
  onClaimed: () => void;
};

function Claim({ client, claimable, waiting, final, standing, check, onClaimed }: ClaimProps) {
  const [told, setTold] = useState("");
  const [busy, setBusy] = useState(false);
  const pending = standing?.reachable ? standing.rounds.find((one) => one.state === "pending") : undefined;
  const send = async () => {
    const published = check!.published!;
    const index = published.leaves.findIndex((leaf) => leaf.account.toLowerCase() === client.account.toLowerCase());
    setBusy(true);
    try {
      const hash = await claim(published.header, published.leaves[index]!, index, proofOf(published.levels, index), setTold);
      setTold(`paid ${tokens(claimable)} tokens to ${client.account} in transaction ${hash}`);
      onClaimed();
    } catch (error) {
      const reason = (error as { message?: string })?.message ?? String(error);
      setTold(`not claimed: ${reason}`);
    } finally {
      setBusy(false);
    }
  };
  let line: string;
  if (!standing) line = "Asking the chain …";
  else if (!standing.reachable) line = "The chain of this run does not answer now, so nothing can be claimed through this page.";
  else if (!final) line = "No round is final yet: nothing can be claimed before the first challenge window is over.";
  else if (check && !check.published) {
    line = `The files of round ${final}, the last final one, are not here to claim with: ${check.findings[0]!.told}.`;
  } else if (claimable === null) line = "Recomputing the last final round …";
  else if (claimable <= 0n) line = `Nothing is open: all that was earned up to round ${final}, the last final one, has been claimed.`;
  else line = `${tokens(claimable)} tokens can be claimed now, from round ${final}, the last final one.`;
  if (waiting && waiting > 0n && pending) {
    line += ` ${tokens(waiting)} more wait for challenge windows; the next one is over in ${duration(pending.window_left)}.`;
  }
  const open = claimable !== null && claimable > 0n;
  const unchecked = check?.ok === null;
  return (
    <div class="card claim">
      <h3>Claim</h3>
      <p>{line}</p>
      {open && check?.ok === false && <p role="alert">Round {final} did not pass its check: this page does not claim from it.</p>}
      {open && unchecked && (
        <p id="unchecked" class="open">
          Not checked here in round {final}: {openIn(check)}. The contract holds the claim against the header that it has, and pays what
          was posted or nothing.
        </p>
      )}
      {open && check?.ok !== false && hasWallet() && (
        <button type="button" onClick={send} disabled={busy} aria-describedby={unchecked ? "unchecked" : undefined}>
          Claim {tokens(claimable)} tokens with the wallet
        </button>
      )}
      {open && !hasWallet() && (
        <p>
          This browser has no wallet. Anyone can send the claim, the money goes to the account: <code>fl claim</code> does it
          from a terminal.
        </p>
      )}
      <p role="status" class="told">
        {told}
      </p>
    </div>
  );
}

type Step = { name: string; formula: string; value: string; ok: Verdict; open?: string };

type StepsProps = { account: string; round: number; check: Check | undefined; scorer: string; attested: boolean };

function Steps({ account, round, check, scorer, attested }: StepsProps) {
  const [raw, setRaw] = useState<bigint | string | null>(null);
  useEffect(() => {
    setRaw(null);
    fetchJson<{ raw: string }>(`rounds/${round}/raw/${account}`).then(
      (told) => setRaw(BigInt(told.raw)),
      (error) => setRaw(error.message),
    );
  }, [account, round]);
  const leaf = leafIn(check, account);
  if (!check) return <p>Recomputing round {round} …</p>;
  if (!leaf || !check.published) return <p>Round {round} has no leaf of this account.</p>;
  const { header, posted, previous, carriedOver, priced, updates } = check.published;
  const same = (one: { account: string }) => one.account.toLowerCase() === account.toLowerCase();
  const before = previous.find(same) ?? { total: 0n, cumulative: 0n };
  const price = BigInt(header.price!);
  const update = updates.find(same);
  const stakes = updates.reduce((sum, one) => sum + BigInt(one.stake), 0n);
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
        {steps.map((one) => (
          <tr key={one.name}>
            <th scope="row">{one.name}</th>
            <td>
              <span class="prose">{one.formula}</span>
            </td>
            <td>
              <span class="prose">{one.value}</span>
            </td>
            <td>
              <Mark ok={one.ok} open={one.open ?? "adds up"} />
            </td>
          </tr>
        ))}
      </tbody>
    </Scroll>
  );
}

function Proof({ account, round, check }: { account: string; round: number; check: Check | undefined }) {
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
          {proofOf(levels, index).map((one, step) => (
            <tr key={step}>
              <th scope="row">{step + 1}</th>
              <td>{one.left ? "left" : "right"}</td>
              <td>
                <Hash value={one.node} />
              </td>
              <td class="n">{tokens(one.cumulative)}</td>
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
