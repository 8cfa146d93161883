// The live page of a run: what fl/dashboard/view.py tells, and what this browser recomputed of it.
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Account } from "./account";
import { checkRound, standingOf, type Check } from "./check";
import { Clients } from "./clients";
import { Term } from "./glossary";
import { Join, useInvite, waitingFor, type Invited } from "./join";
import { ChartCard, Figure, Hash, OnChain, Scroll } from "./parts";
import { Rounds } from "./rounds";
import { fetchJson, watch, type Headline, type Standing, type View } from "./run";
import { duration, firstFigures, metricOf, percent, plural, shareOf, tokens } from "./words";

const CHECKED = 25; // newest rounds that are recomputed without being asked
const PHASES: Record<string, string> = {
  collecting: "the clients train and sign their updates",
  training: "the clients train and sign their updates",
  checking: "signatures, roots and stakes are checked",
  scoring: "the direction is taken",
  aggregating: "the strategy aggregates",
  settling: "scores become pay",
  bundling: "the bundle is written",
  evaluating: "the evaluators recompute the round",
  posting: "the round is posted on chain",
  reporting: "the new model is tested",
};

function useAccount(): string | null {
  const read = () =>
    /^#\/(0x[0-9a-fA-F]{40})$/.exec(location.hash)?.[1] ?? new URLSearchParams(location.search).get("account");
  const [account, setAccount] = useState(read);
  useEffect(() => {
    const changed = () => setAccount(location.hash === "#/" ? null : read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return account;
}

function Page() {
  const [headline, setHeadline] = useState<Headline | null>(null); // until the page has heard anything
  const [view, setView] = useState<View | null>(null);
  const [standing, setStanding] = useState<Standing | null>(null);
  const [connected, setConnected] = useState(true);
  const [checks, setChecks] = useState(new Map<number, Check>());
  const account = useAccount();

  useEffect(() => watch({ onRun: setHeadline, onChain: setStanding, onConnected: setConnected }), []);
  useEffect(() => {
    if (headline?.content) fetchJson<View>("view").then(setView, () => {});
  }, [headline?.content]);
  const begun = !!headline?.content;
  const invited = useInvite(!!headline && !begun);

  const newest = useRef({ view, standing, checks });
  newest.current = { view, standing, checks };
  const turns = useRef(new Map<number, number>());
  const check = async (number: number) => {
    const { view, standing } = newest.current;
    const round = view?.rounds.find((round) => round.round === number);
    if (!view || !round) return;
    const turn = (turns.current.get(number) ?? 0) + 1;
    turns.current.set(number, turn);
    const found = await checkRound(round, view, standing);
    // A check that began later knows more of the chain, and may have ended before this one.
    if (turns.current.get(number) === turn) setChecks((before) => new Map(before).set(number, found));
  };
  const digests = standing?.reachable ? [...standing.rounds.map((round) => round.hash), JSON.stringify(standing.schedule)].join() : "";
  useEffect(() => {
    const numbers = (view?.rounds ?? []).map((round) => round.round).reverse();
    const final = standing?.reachable ? standing.final_round : 0;
    const wanted = new Set([...numbers.slice(0, CHECKED), ...(final ? [final] : [])]);
    let stopped = false;
    (async () => {
      for (const number of wanted) {
        const before = newest.current.checks.get(number);
        const { standing } = newest.current;
        // What holds is not computed again with every round; what the chain could not tell then it may tell now, or tell anew.
        const done = before?.ok && (!standing?.reachable || standingOf(number, standing) === before.standing);
        if (!done && !stopped) await check(number);
      }
    })();
    return () => {
      stopped = true;
    };
  }, [view?.rounds.length, view?.task.id, digests, standing?.reachable && standing.final_round]);

  const live = headline?.status === "running" ? (headline.live ?? null) : null;
  const name = view?.task.name || invited?.name;
  const open = invited?.link && (!begun || (standing?.reachable && standing.joining));
  useEffect(() => {
    if (name) document.title = `${name} · Fairshare`;
  }, [name]);
  return (
    <>
      <header>
        <p class="eyebrow">Fairshare</p>
        <h1>
          <bdi>{name || (view ? titleOf(view) : "A paid federation")}</bdi>
        </h1>
        {(view?.task.description || invited?.description) && (
          <p class="lead">
            <bdi>{view?.task.description || invited!.description}</bdi>
          </p>
        )}
        <State headline={headline} view={view} invited={invited} connected={connected} />
        <nav aria-label="Sections">
          <ul>
            {(account || !view ? [] : ["charts", "clients", "rounds", "refusals", "task"]).map((name) => (
              <li key={name}>
                <a href={`#${name}`}>{name[0]!.toUpperCase() + name.slice(1)}</a>
              </li>
            ))}
            <li class="push">
              <Theme />
            </li>
          </ul>
        </nav>
      </header>
      <main>
        {!view && open && (
          <Section id="join" title="Take part">
            <Join invited={invited!} />
          </Section>
        )}
        {view && account && <Account key={account} account={account} view={view} standing={standing} checks={checks} />}
        {view && !account && (
          <>
            <Figures view={view} standing={standing} checks={checks} />
            <Section id="charts" title="Charts">
              <Charts view={view} />
            </Section>
            <Section id="clients" title="Clients">
              <Clients view={view} live={live} standing={standing} checks={checks} />
            </Section>
            <Section id="rounds" title="Rounds">
              <Rounds view={view} standing={standing} checks={checks} onCheck={check} />
            </Section>
            <Section id="refusals" title="Refusals">
              <Refusals view={view} />
            </Section>
            <Section id="task" title="Task">
              <Task view={view} standing={standing} />
            </Section>
            {open && (
              <Section id="join" title="Take part">
                <Join invited={invited!} />
              </Section>
            )}
          </>
        )}
      </main>
      <footer>
        What the coordinator's machine says, this browser recomputes where it can. What the chain says comes through
        the same machine: <code>fl audit</code> asks the chain itself. What the chain cannot show is that the direction is right:
        that rests on the evaluators who signed.
      </footer>
    </>
  );
}

function Section({ id, title, children }: { id: string; title: string; children: preact.ComponentChildren }) {
  return (
    <section id={id} aria-labelledby={`${id}-h`}>
      <h2 id={`${id}-h`}>{title}</h2>
      {children}
    </section>
  );
}

function titleOf(view: View): string {
  const data = view.config.data?.path ?? view.config.data?.name ?? "a task";
  return `${data}: ${plural(view.clients.length, "client")} paid by score`;
}

type StateProps = { headline: Headline | null; view: View | null; invited: Invited | null; connected: boolean };

function State({ headline, view, invited, connected }: StateProps) {
  const [now, setNow] = useState(Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() / 1000), 1000);
    return () => clearInterval(timer);
  }, []);
  if (!headline) return <p class="state soft">Loading …</p>;
  const live = headline.status === "running" ? headline.live : null;
  let text = { waiting: "Waiting for the run to begin", running: "Running", finished: "Finished", failed: "Failed" }[headline.status];
  if (headline.status === "waiting" && invited?.waiting) text = waitingFor(invited.waiting);
  if (live?.round) text = `Round ${live.round} of ${view?.task.rounds ?? "…"}: ${PHASES[live.phase] ?? live.phase}`;
  if (headline.status === "finished" && view) text = `Finished: ${plural(view.rounds.length, "round")} posted`;
  if (headline.status === "failed") text = "Failed: the run's log says why";
  return (
    <p class="state">
      <span class={`dot ${headline.status}`} aria-hidden="true"></span>
      <span role="status" aria-live="polite" id="phase">
        {text}
        {!connected && " (not connected: the numbers are the last that came)"}
      </span>
      {live && <span class="soft"> for {duration(now - live.since)}</span>}
    </p>
  );
}

function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem("theme") ?? "system");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  return (
    <label>
      Colours{" "}
      <select value={theme} onChange={(event) => setTheme(event.currentTarget.value)}>
        <option value="system">of the system</option>
        <option value="light">light</option>
        <option value="dark">dark</option>
      </select>
    </label>
  );
}

function Figures({ view, standing, checks }: { view: View; standing: Standing | null; checks: Map<number, Check> }) {
  const last = view.rounds.at(-1);
  const [metric, first] = [metricOf(view), firstFigures(view)];
  const budget = BigInt(view.totals.budget_wei);
  const earned = BigInt(view.totals.earned_wei);
  const good = [...checks.values()].filter((check) => check.ok).length;
  const bad = [...checks.values()].filter((check) => check.ok === false).length;
  const open = [...checks.values()].filter((check) => check.ok === null && check.published).length;
  const claimed = standing?.reachable ? tokens(standing.paid_wei) : "–";
  return (
    <dl class="figures" aria-label="Headline figures">
      <Figure name={metric.name} big={metric.of(last ?? first)} small={`from ${metric.of(first)}, on the test set`} />
      <Figure name="Rounds posted" big={`${view.rounds.length} of ${view.task.rounds}`} small={standing?.reachable ? `the task is ${standing.status}` : "each on chain before the next began"} />
      <Figure name="Budget" big={tokens(budget)} small={<>tokens, in <Term name="escrow" /> on chain</>} />
      <Figure name="Earned" big={tokens(earned)} small={`${percent(shareOf(earned, budget))} of the budget`} />
      <Figure name={<Term name="claim">Claimed</Term>} big={claimed} small={standing?.reachable ? "as the contract says now" : "the chain does not answer now"} />
      <Figure
        name="Recomputed here"
        big={bad ? `${bad} differ` : `${good} of ${view.rounds.length}`}
        small={
          bad
            ? "see the table of rounds"
            : open
              ? `rounds, and ${open} only to their tree root: see their table`
              : "rounds, from their leaves, in this browser"
        }
      />
    </dl>
  );
}

function Charts({ view }: { view: View }) {
  const named = view.clients.filter((client) => client.place !== null);
  return (
    <>
      <div class="plots">
        <ChartCard chart={view.charts.accuracy} />
        <ChartCard chart={view.charts.loss} />
        <ChartCard chart={view.charts.gain} />
        <ChartCard chart={view.charts.price} />
      </div>
      <ul class="key between" aria-label="Marks of the clients in the charts below">
        {named.map((client) => (
          <li key={client.account}>
            <chart-mark place={client.place!}></chart-mark>
            <span>
              <bdi>{client.name}</bdi> {client.behaviour !== "honest" && <span class="tell">{client.behaviour}</span>}
            </span>
          </li>
        ))}
        {named.length < view.clients.length && <li>{view.clients.length - named.length} others, in grey</li>}
      </ul>
      <div class="plots">
        <ChartCard chart={view.charts.pay} />
        <ChartCard chart={view.charts.total} />
        <ChartCard chart={view.charts.score} />
        <ChartCard chart={view.charts.share} />
      </div>
    </>
  );
}

function Refusals({ view }: { view: View }) {
  if (!view.refusals.length) return <p>No update was refused.</p>;
  return (
    <>
      <Scroll caption="Refused updates, newest first; a refused update scores 0 and costs nobody else anything">
        <thead>
          <tr>
            {["Round", "Client", "Account", "Node", "Reason"].map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {view.refusals.map((refusal, index) => (
            <tr key={index}>
              <th scope="row">{refusal.round}</th>
              <td>
                <bdi>{refusal.name || "unknown"}</bdi>
              </td>
              <td>{refusal.account ? <Hash value={refusal.account} /> : "–"}</td>
              <td>{refusal.node_id}</td>
              <td>
                <span class="prose">{refusal.reason}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </Scroll>
      {view.refused > view.refusals.length && <p>{plural(view.refused - view.refusals.length, "older refusal")} in summary.json.</p>}
    </>
  );
}

function lengthOf(rule: string | null): string {
  if (rule === null) return "–";
  const longer = "a longer update counts as if it had that length";
  return rule === "median" ? `held to the median of each round, by stake: ${longer}` : `held to the task's cap: ${longer}`;
}

function publicOf(rounds: number | null): string {
  if (rounds === null) return "–";
  if (!rounds) return "no public step, and all of a direction pays";
  return `along the steps of the last ${plural(rounds, "round")}; those steps and the directions pay nobody`;
}

/** What a task is about, in the words of its data. */
function predicts({ target, columns, class_names: classes }: View["task"]): [string, string][] {
  const named = classes.length > 20 ? [...classes.slice(0, 20), `and ${classes.length - 20} more`] : classes;
  const shown = columns.length > 60 ? [...columns.slice(0, 60), `and ${columns.length - 60} more`] : columns;
  // Of a table without a header the columns are called by their place.
  const called = (name: string) => (/^\d+$/.test(name) ? `column ${name}` : name);
  return [
    ...(target !== null || named.length
      ? ([["Predicts", [target === null ? null : called(target), named.join(", ")].filter(Boolean).join(": ")]] as [string, string][])
      : []),
    ...(shown.length ? ([["From", columns.every((name) => /^\d+$/.test(name)) ? `columns ${shown.join(", ")}` : shown.join(", ")]] as [string, string][]) : []),
  ];
}

/** What evaluators lose for signing what they could have seen to be wrong. */
function atStake(standing: Standing | null): string {
  if (!standing?.reachable || standing.evaluator_stake_wei === "0") return "";
  return `, with ${tokens(standing.evaluator_stake_wei)} tokens of each at stake`;
}

function Task({ view, standing }: { view: View; standing: Standing | null }) {
  const { chain_id: chain } = view.task;
  const facts: [preact.ComponentChildren, preact.ComponentChildren][] = [
    ["Budget", `${tokens(view.totals.budget_wei)} tokens over ${plural(view.task.rounds, "round")}`],
    ...predicts(view.task),
    ["Model", view.config.model?.path ?? ""],
    [<Term name="strategy">Strategy</Term>, view.config.strategy?.name ?? ""],
    ["Scores", `${view.task.scorer ?? ""}${view.task.attested ? ", attested by evaluators, not provable on chain" : ""}`],
    [<Term name="length">Length</Term>, lengthOf(view.task.length)],
    ["Public step", publicOf(view.task.public_rounds)],
    [<Term name="evaluator">Evaluators</Term>, `${view.task.quorum} of ${view.task.evaluators} sign each round${atStake(standing)}`],
    [<><Term name="challenge">Challenge</Term> window</>, view.task.challenge_window ? duration(view.task.challenge_window) : "–"],
    [<Term name="direction">Directions</Term>, view.task.reveal === "round" ? "revealed after each round" : "revealed at the end of the task"],
    ["Chain", `id ${view.task.chain_id}; ${standing ? (standing.reachable ? `the task is ${standing.status}` : "it does not answer now") : "asking"}`],
    ["Contract", <OnChain chain={chain} kind="address" value={view.task.contract} whole />],
    [<Term name="token">Token</Term>, <OnChain chain={chain} kind="address" value={view.task.token} whole />],
    ["Task id", view.task.id],
    ...(standing?.reachable ? ([["Coordinator", <OnChain chain={chain} kind="address" value={standing.coordinator} whole />]] as typeof facts) : []),
  ];
  return (
    <div class="card">
      <dl class="facts">
        {facts.map(([name, value]) => [<dt>{name}</dt>, <dd class="whole">{value}</dd>])}
      </dl>
    </div>
  );
}

render(<Page />, document.getElementById("page")!);
