// One client's own view: what it earned and why, the claim, and every round.
import { useEffect, useState } from "preact/hooks";
import { openIn, type Check } from "./check";
import { Term } from "./glossary";
import { Bars, Figure, OnChain, Scroll } from "./parts";
import { perLoss } from "./price";
import { leafIn, Reason } from "./reason";
import { fetchJson, type AccountStanding, type ClientRounds, type Standing, type View } from "./run";
import { Proof, Steps } from "./steps";
import { proofOf } from "./tree";
import { claim, hasWallet, leave, showToken } from "./wallet";
import { duration, loss, percent, plural, score, scoreOf, tokens } from "./words";

/** Whether an update of the client's counts in a round. */
const sent = (row: ClientRounds["rounds"][number]) => row.score_q40 !== null;

type Props = { account: string; view: View; standing: Standing | null; checks: Map<number, Check> };

export function Account({ account, view, standing, checks }: Props) {
  const [client, setClient] = useState<ClientRounds | string | null>(null);
  const [own, setOwn] = useState<AccountStanding | null>(null);
  const claimed = own?.claimed_wei === undefined ? null : BigInt(own.claimed_wei);
  const [asked, setAsked] = useState(0);
  const [chosen, setChosen] = useState<number | null>(null);
  const final = standing?.reachable ? standing.final_round : null;
  const paid = standing?.reachable ? standing.paid_wei : null;
  const left = standing?.reachable ? JSON.stringify(standing.left) : null;

  useEffect(() => {
    fetchJson<ClientRounds>(`clients/${account}`).then(setClient, (error) => setClient(error.message));
  }, [account, view.rounds.length, view.status]);
  useEffect(() => {
    fetchJson<AccountStanding>(`standing/${account}`).then(setOwn, () => setOwn(null));
  }, [account, final, paid, left, asked, standing?.reachable && standing.status]);

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
  const round = chosen ?? [...client.rounds].reverse().find((round) => round.score_q40 !== null)?.round ?? last?.round ?? null;
  return (
    <section id="account" aria-labelledby="account-h">
      <p>
        <a href="#/">Back to the run</a>
      </p>
      <h2 id="account-h">
        <bdi>{client.name}</bdi>
      </h2>
      <p>
        <OnChain chain={view.task.chain_id} kind="address" value={client.account} whole />
      </p>
      <dl class="figures" aria-label="Figures of this client">
        <Figure name={<Term name="stake">Stake</Term>} big={tokens(client.stake_wei)} small={stakeOf(client, own, standing)} />
        <Figure name="Whole score" big={score(client.score)} small="taken off the loss in all rounds" />
        <Figure name="Earned" big={tokens(client.paid_wei)} small={`tokens in ${plural(client.rounds.length, "round")}`} />
        <Figure
          name={<Term name="price">Price</Term>}
          big={tokens(last ? perLoss(BigInt(last.price_q64)) : null)}
          small={last ? <>tokens for 1.0 of <Term name="loss" /> after round {last.round}</> : "no round is posted yet"}
        />
        <Figure name={<><Term name="length">Length</Term> factor</>} big={loss(last?.factor)} small="what the last round's length left of its update" />
        <Figure
          name="Claimed"
          big={tokens(claimed ?? client.claimed_wei)}
          small={claimed === null ? "when the run ended; the chain does not answer now" : "as the contract says now"}
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
        chain={view.task.chain_id}
        onClaimed={() => setAsked(asked + 1)}
      />
      <Leave client={client} own={own} standing={standing} chain={view.task.chain_id} onLeft={() => setAsked(asked + 1)} />
      {round !== null && (
        <>
          <h3>
            <label for="step-round">
              From score to <Term name="wei" />, in round{" "}
            </label>
            <select id="step-round" value={round} onChange={(event) => setChosen(Number(event.currentTarget.value))}>
              {client.rounds.map((choice) => (
                <option key={choice.round} value={choice.round}>
                  {choice.round}
                </option>
              ))}
            </select>
          </h3>
          <Steps
            account={client.account}
            round={round}
            sent={client.rounds.some((row) => row.round === round && sent(row))}
            check={checks.get(round)}
            scorer={view.task.scorer ?? "direction"}
            attested={view.task.attested ?? view.task.scorer !== "direction"}
          />
          <Proof account={client.account} round={round} check={checks.get(round)} />
        </>
      )}
      <h3>What it was paid for</h3>
      {client.rounds.some(sent) || !client.rounds.length ? (
        <Bars classes={client.classes} parts={client.by_class} of={client.name} />
      ) : (
        <p>No update of it was accepted, so there is nothing that it was paid for.</p>
      )}
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
          {client.rounds.map((row) => (
            <tr key={row.round}>
              <th scope="row">{row.round}</th>
              <td class="n">{row.score_q40 === null ? "no update" : scoreOf(row.score_q40)}</td>
              <td class="n">{row.error === null ? "–" : `± ${loss(row.error)}`}</td>
              <td class="n">{loss(row.factor)}</td>
              <td class="n">{row.total_q40 === null ? "–" : scoreOf(row.total_q40)}</td>
              <td class="n">{tokens(perLoss(BigInt(row.price_q64)))}</td>
              <td class="n">{tokens(row.pay_wei)}</td>
              <td class="n">{tokens(row.cumulative_wei)}</td>
              <td>
                <span class="prose">{row.refusals.join("; ") || "–"}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </Scroll>
    </section>
  );
}

/** Wei that an account has to have been paid in the end: more than it earned where a task did not end as planned. */
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
  chain: number;
  onClaimed: () => void;
};

function Claim({ client, claimable, waiting, final, standing, check, chain, onClaimed }: ClaimProps) {
  const [told, setTold] = useState("");
  const [sent, setSent] = useState("");
  const [busy, setBusy] = useState(false);
  const pending = standing?.reachable ? standing.rounds.find((round) => round.state === "pending") : undefined;
  const send = async () => {
    const published = check!.published!;
    const index = published.leaves.findIndex((leaf) => leaf.account.toLowerCase() === client.account.toLowerCase());
    setBusy(true);
    try {
      const hash = await claim(published.header, published.leaves[index]!, index, proofOf(published.levels, index), setTold);
      setTold(`paid ${tokens(claimable)} tokens to ${client.account} in transaction `);
      setSent(hash);
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
  else if (claimable <= 0n && leafIn(check, client.account)?.cumulative === 0n) {
    line = `Nothing was earned up to round ${final}, the last final one, so there is nothing to claim.`;
  } else if (claimable <= 0n) line = `Nothing is open: all that was earned up to round ${final}, the last final one, has been claimed.`;
  else line = `${tokens(claimable)} tokens can be claimed now, from round ${final}, the last final one.`;
  if (waiting && waiting > 0n && pending) {
    line += ` ${tokens(waiting)} more wait for challenge windows; the next one is over in ${duration(pending.window_left)}.`;
  }
  const open = claimable !== null && claimable > 0n;
  const unchecked = check?.ok === null;
  return (
    <div class="card claim">
      <h3>
        <Term name="claim">Claim</Term>
      </h3>
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
      {hasWallet() && <ShowToken />}
      {open && !hasWallet() && (
        <p>
          This browser has no wallet. Anyone can send the claim, the money goes to the account: <code>fl claim</code> does it
          from a terminal.
        </p>
      )}
      <p role="status" class="told">
        {told}
        {sent && <OnChain chain={chain} kind="tx" value={sent} whole />}
      </p>
    </div>
  );
}

/** What became of a stake. */
function stakeOf(client: ClientRounds, own: AccountStanding | null, standing: Standing | null): string {
  const share = `${percent(client.stake_share)} of all stakes`;
  const rows = client.samples === null ? share : `${share}, for ${plural(client.samples, "sample")}`;
  if (own?.returned_wei && BigInt(own.returned_wei) > 0n) return `${share}; ${tokens(own.returned_wei)} tokens are back`;
  if (own?.left_round) return `${share}; left before round ${own.left_round}, the stake comes back when the round before is final`;
  if (standing?.reachable && standing.status === "closed") return `${share}; the task is closed, it can be fetched`;
  return rows;
}

/** An account that takes part may end that: what it earned stays its own, and its stake comes back. */
function Leave({ client, own, standing, chain, onLeft }: { client: ClientRounds; own: AccountStanding | null; standing: Standing | null; chain: number; onLeft: () => void }) {
  const [asking, setAsking] = useState(false);
  const [told, setTold] = useState("");
  const [sent, setSent] = useState("");
  if (!standing?.reachable || !["open", "started"].includes(standing.status) || !own) return null;
  const send = async () => {
    setAsking(false);
    try {
      setSent(await leave(client.account, setTold));
      setTold("left, in transaction ");
      onLeft();
    } catch (error) {
      setTold(`not left: ${(error as { message?: string })?.message ?? String(error)}`);
    }
  };
  return (
    <div class="card leave">
      <h3>{own.left_round ? "Left" : "Leave"}</h3>
      {own.left_round ? (
        <p>This account left before round {own.left_round} and cannot come back.</p>
      ) : (
        <p>
          Whoever leaves keeps what it earned, trains no more and gets its stake back; it cannot come back. On the node's machine,{" "}
          <code>fl leave</code> does the same.
        </p>
      )}
      {!own.left_round && hasWallet() && !asking && (
        <button type="button" class="plain" onClick={() => setAsking(true)}>
          Leave the task with the wallet …
        </button>
      )}
      {asking && (
        <p>
          <button type="button" onClick={send}>
            Leave for good
          </button>{" "}
          <button type="button" class="plain" onClick={() => setAsking(false)}>
            Stay
          </button>
        </p>
      )}
      <p role="status" class="whole">
        {told}
        {sent && <OnChain chain={chain} kind="tx" value={sent} whole />}
      </p>
    </div>
  );
}

function ShowToken() {
  const [told, setTold] = useState("");
  const show = () =>
    showToken().then(
      (shown) => setTold(shown ? "the wallet shows it now" : "the wallet does not show it"),
      (error) => setTold(`not added: ${(error as { message?: string })?.message ?? String(error)}`),
    );
  return (
    <p>
      <button type="button" class="plain" onClick={show}>
        Add the token to the wallet
      </button>{" "}
      <span role="status" class="soft">
        {told}
      </span>
    </p>
  );
}
