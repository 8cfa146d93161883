// Everybody of a run: stake, score and pay, and why on demand.
import { useEffect, useState } from "preact/hooks";
import type { Check } from "./check";
import { Bars, Hash, Scroll } from "./parts";
import { Reason } from "./reason";
import { Term } from "./glossary";
import { fetchJson, type Client, type ClientRounds, type Headline, type Standing, type View } from "./run";
import { duration, loss, percent, score, shareOf, tokens } from "./words";

type Props = { view: View; live: Headline["live"]; standing: Standing | null; checks: Map<number, Check> };

export function Clients({ view, live, standing, checks }: Props) {
  const [open, setOpen] = useState<string | null>(null);
  const earned = BigInt(view.totals.earned_wei);
  return (
    <>
      <Find />
      <Scroll caption="Clients: stake and earned in tokens, each with its share of all; the last score with its standard error over validation samples, and what the last round's length left of the update">
        <thead>
          <tr>
            <th scope="col">Client</th>
            <th scope="col">Node</th>
            <th scope="col" class="n">
              <Term name="stake">Stake</Term>
            </th>
            <th scope="col" class="n">Whole score</th>
            <th scope="col" class="n">Last score</th>
            <th scope="col" class="n">
              <Term name="length">Length</Term> factor
            </th>
            <th scope="col" class="n">Earned</th>
            <th scope="col" class="n">Refused</th>
            <th scope="col">Why</th>
          </tr>
        </thead>
        <tbody>
          {view.clients.map((client) => [
            <tr key={client.account}>
              <th scope="row">
                <div>
                  <a href={`#/${client.account}`}>
                    <bdi>{client.name}</bdi>
                  </a>
                  <Hash value={client.account} />
                </div>
              </th>
              <td class="node">
                <NodeState client={client} live={live} left={standing?.reachable ? standing.left[client.account] : undefined} />
              </td>
              <td class="n">
                <Both first={tokens(client.stake_wei)} second={percent(client.stake_share)} />
              </td>
              <td class="n">{score(client.score)}</td>
              <td class="n">
                {client.last_score === null ? "no update" : score(client.last_score)}
                {client.last_error !== null && ` ± ${loss(client.last_error)}`}
              </td>
              <td class="n">{loss(client.last_factor)}</td>
              <td class="n">
                <Both first={tokens(client.paid_wei)} second={percent(shareOf(BigInt(client.paid_wei), earned))} />
              </td>
              <td class="n">{client.refusals}</td>
              <td>
                <button
                  type="button"
                  aria-expanded={open === client.account}
                  onClick={() => setOpen(open === client.account ? null : client.account)}
                >
                  why<span class="unseen"> {client.name} was paid</span>
                </button>
              </td>
            </tr>,
            open === client.account && (
              <tr key={`${client.account}-why`} class="why">
                <td colSpan={9}>
                  <ByClass account={client.account} rounds={view.rounds.length} check={checks.get(view.rounds.at(-1)?.round ?? 0)} />
                </td>
              </tr>
            ),
          ])}
        </tbody>
      </Scroll>
    </>
  );
}

function ByClass({ account, rounds, check }: { account: string; rounds: number; check: Check | undefined }) {
  const [client, setClient] = useState<ClientRounds | null>(null);
  useEffect(() => {
    fetchJson<ClientRounds>(`clients/${account}`).then(setClient, () => {});
  }, [account, rounds]);
  if (!client) return <p>…</p>;
  return (
    <>
      <Reason client={client} check={check} />
      <Bars classes={client.classes} parts={client.by_class} of={client.name} />
    </>
  );
}

/** An amount, and its share beside it. */
function Both({ first, second }: { first: string; second: string }) {
  return (
    <span>
      {first} <span class="soft share">{second}</span>
    </span>
  );
}

function NodeState({ client, live, left }: { client: Client; live: Headline["live"]; left: number | undefined }) {
  if (left) return <span class="soft">left before round {left}</span>;
  const node = live?.nodes?.find((node) => node.account === client.account);
  if (!node) return <span class="soft">–</span>;
  if (node.online) return <span class="good">● online</span>;
  const since = node.last_seen ? `, last seen ${duration(Date.now() / 1000 - node.last_seen)} ago` : "";
  return <span class="bad">○ away{since}</span>;
}

/** Goes to a client's own view by its address. */
function Find() {
  const [text, setText] = useState("");
  const valid = /^0x[0-9a-fA-F]{40}$/.test(text.trim());
  return (
    <form
      class="find"
      onSubmit={(event) => {
        event.preventDefault();
        if (valid) location.hash = `#/${text.trim()}`;
      }}
    >
      <label for="find">Your account</label>
      <input
        id="find"
        value={text}
        placeholder="0x…"
        autocomplete="off"
        spellcheck={false}
        aria-describedby="find-help"
        onInput={(event) => setText(event.currentTarget.value)}
      />
      <button type="submit">Show its leaf, pay and claim</button>
      <span id="find-help" class="soft">
        {text && !valid ? "an address is 0x and 40 hex digits" : ""}
      </span>
    </form>
  );
}
