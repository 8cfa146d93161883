// One client's own view: what it earned and why, the claim, and every round.
import { useEffect, useState } from "preact/hooks";
import { openIn, type Check } from "./check";
import { Bars, Figure, Scroll } from "./parts";
import { perLoss } from "./price";
import { leafIn, Reason } from "./reason";
import { fetchJson, type ClientRounds, type Standing, type View } from "./run";
import { Proof, Steps } from "./steps";
import { proofOf } from "./tree";
import { claim, hasWallet } from "./wallet";
import { duration, loss, percent, plural, score, scoreOf, tokens } from "./words";

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
        <Figure name="Length factor" big={loss(last?.factor)} small="what the last round's length left of its update" />
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
