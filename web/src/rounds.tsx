// Every posted round, with the check mark that this browser earned by recomputing it.
import { useState } from "preact/hooks";
import { openIn, type Check } from "./check";
import { Term } from "./glossary";
import { Mark, OnChain, Scroll } from "./parts";
import { perLoss } from "./price";
import type { Round, Standing, View } from "./run";
import { duration, grouped, loss, metricOf, plural, score, tokens } from "./words";

type Props = {
  view: View;
  standing: Standing | null;
  checks: Map<number, Check>;
  onCheck: (round: number) => void;
};

export function Rounds({ view, standing, checks, onCheck }: Props) {
  const [open, setOpen] = useState<number | null>(null);
  if (!view.rounds.length) return <p>No round is posted yet.</p>;
  const told = metricOf(view);
  const columns = [told.name, "Validation loss", "Off it by clients", "By the public step", "Price", "Paid", "Updates", "Refused"];
  return (
    <Scroll caption="Rounds, newest first: the price in tokens for 1.0 of loss, paid in tokens. The check is made in this browser, from the leaves; it covers price, paid, signers, header and tree root, and not the other columns">
      <thead>
        <tr>
          <th scope="col">Round</th>
          <th scope="col">Check</th>
          <th scope="col">Claims</th>
          {columns.map((name) => (
            <th key={name} scope="col" class="n">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {[...view.rounds].reverse().map((round) => {
          const check = checks.get(round.round);
          return [
            <tr key={round.round} data-round={round.round}>
              <th scope="row">{round.round}</th>
              <td>
                <CheckButton
                  round={round.round}
                  check={check}
                  open={open === round.round}
                  onClick={() => (check ? setOpen(open === round.round ? null : round.round) : onCheck(round.round))}
                />
              </td>
              <td>{claims(round, standing)}</td>
              <td class="n">{told.of(round)}</td>
              <td class="n">
                {loss(round.loss_before)} → {loss(round.loss_after)}
              </td>
              <td class="n">{score(round.loss_before - round.loss_aggregated)}</td>
              <td class="n">{round.public_rate === null ? "none" : score(round.loss_aggregated - round.loss_after)}</td>
              <td class="n">{tokens(perLoss(BigInt(round.price_q64)))}</td>
              <td class="n">{tokens(round.paid_wei)}</td>
              <td class="n">{round.updates}</td>
              <td class="n">{round.refused}</td>
            </tr>,
            open === round.round && check && (
              <tr key={`${round.round}-why`} class="why">
                <td colSpan={11} id={`check-${round.round}`}>
                  <Findings
                    check={check}
                    round={round}
                    view={view}
                    evaluators={standing?.reachable ? standing.evaluators.length : view.task.evaluators}
                    onAgain={() => onCheck(round.round)}
                  />
                </td>
              </tr>
            ),
          ];
        })}
      </tbody>
    </Scroll>
  );
}

function CheckButton({ round, check, open, onClick }: { round: number; check?: Check; open: boolean; onClick: () => void }) {
  const [style, text] = !check
    ? ["", "check"]
    : check.ok === null
      ? check.published
        ? ["open", "◐ root only"]
        : ["", "? no files"]
      : check.ok
        ? ["good", "✓ recomputed"]
        : ["bad", "✗ differs"];
  const rest = check?.ok === null && check.published ? `, not checked: ${openIn(check)}` : "";
  return (
    <button
      type="button"
      class={`check ${style}`}
      aria-expanded={open}
      aria-controls={open ? `check-${round}` : undefined}
      onClick={onClick}
    >
      {text}
      <span class="unseen">
        {" "}
        round {round}
        {rest}
      </span>
    </button>
  );
}

type Found = { check: Check; round: Round; view: View; evaluators: number; onAgain: () => void };

function Findings({ check, round, view, evaluators, onAgain }: Found) {
  const header = check.published?.header ?? round.header;
  const hashes = { "header hash": round.header_hash, transaction: round.transaction, "signed by": round.evaluators.join(", "), ...header };
  return (
    <div class="findings">
      {check.ok === null && check.published && (
        <p class="open">The tree root is recomputed from the leaves. Not checked: {openIn(check)}.</p>
      )}
      <ul>
        {check.findings.map((finding) => (
          <li key={finding.what}>
            <Mark ok={finding.ok} open="not checked" /> {finding.what}: {finding.told}
          </li>
        ))}
      </ul>
      <p>
        Signed by {round.evaluators.length} of {plural(evaluators, "evaluator")}, posted for {grouped(round.gas)} <Term name="gas" /> in
        transaction <OnChain chain={view.task.chain_id} kind="tx" value={round.transaction} />.
      </p>
      <p>
        <button type="button" onClick={onAgain}>
          Check again
        </button>
      </p>
      <details>
        <summary>The header in full</summary>
        <dl class="facts">
          {Object.entries(hashes).map(([name, value]) => [
            <dt>{name.replaceAll("_", " ")}</dt>,
            <dd class="whole">
              <code>{value}</code>
            </dd>,
          ])}
        </dl>
      </details>
    </div>
  );
}

function claims(round: Round, standing: Standing | null): string {
  if (!standing) return "…";
  if (!standing.reachable) return "chain away";
  const posted = standing.rounds.find((posted) => posted.round === round.round);
  if (!posted) return "not on chain";
  if (posted.state === "pending") return posted.window_left ? `in ${duration(posted.window_left)}` : "with the next block";
  return { final: "open", held: "held by a challenge", void: "void" }[posted.state];
}
