// What the server tells of a run (fl/dashboard/view.py, standing.py), and how the page hears of changes.
import type { Drawing } from "./drawing";
import type { Schedule } from "./price";

export type Header = Record<string, string>; // the fields of fl.chain.typed_data.Header, bytes as hex
export type Node = { account: string; node_id: string; online: boolean; last_seen: number | null };
export type Live = { round: number; phase: string; since: number; nodes: Node[] };
export type Client = {
  number: number;
  name: string;
  account: string;
  behaviour: string;
  samples: number | null; // null where only the client knows
  stake_wei: string;
  stake_share: number;
  score: number;
  paid_wei: string;
  claimed_wei: string | null;
  place: number | null;
  last_score: number | null;
  last_error: number | null;
  last_factor: number | null; // what the last round's length left of its update
  refusals: number;
};
export type Round = {
  round: number;
  accuracy: number | null;
  perplexity: number | null;
  test_loss: number;
  loss_before: number;
  loss_aggregated: number; // of the strategy's model, before the public step
  loss_after: number;
  public_rate: number | null; // of the public step; null in a task without
  price_q64: string;
  paid_wei: string;
  updates: number;
  refused: number;
  header: Header;
  header_hash: string;
  evaluators: string[];
  transaction: string;
  gas: number;
  posted_at: number | null;
};
export type Chart = { title: string; finding: string; drawing: Drawing };
export type View = {
  status: "waiting" | "running" | "finished" | "failed";
  config: Record<string, { name: string | null; path: string | null }>;
  seed: number;
  task: {
    id: string;
    chain_id: number;
    contract: string;
    token: string;
    rounds: number;
    quorum: number;
    evaluators: number;
    scorer: string | null; // the rule that pays, which a strategy that picks coordinates brings along
    length: string | null; // what a long update is held to
    public_rounds: number | null; // last rounds whose steps and directions pay nobody; 0: none, and no public step
    attested: boolean | null; // scores rest on the evaluators, whatever the direction says
    reveal: string;
    challenge_window: number;
    name: string; // "" where nobody gave it one
    description: string;
    class_names: string[];
    target: string | null; // the column that is predicted; null where the data are no table
    columns: string[]; // that it is predicted from
  };
  totals: {
    budget_wei: string;
    earned_wei: string;
    initial_accuracy: number | null; // null where nothing is right or wrong
    initial_perplexity: number | null; // null but of a language model
    initial_loss: number;
  };
  clients: Client[];
  rounds: Round[];
  refusals: { round: number; name: string; account: string; node_id: string; reason: string }[];
  refused: number;
  charts: Record<"accuracy" | "loss" | "gain" | "price" | "pay" | "total" | "score" | "share", Chart>;
};
export type Posted = {
  round: number;
  hash: string; // the leading 27 bytes of the header hash, which is what the contract keeps
  posted_at: number;
  state: "final" | "pending" | "held" | "void";
  window_left: number;
};
export type Standing =
  | { reachable: false; reason: string }
  | {
      reachable: true;
      time: number;
      status: string;
      joining: boolean; // whether somebody may still join
      rounds: Posted[];
      final_round: number;
      challenge_window: number;
      open_challenges: number;
      schedule: Schedule;
      cumulative_wei: string;
      pool_wei: string; // shared by what was earned, because the task did not end as planned
      paid_wei: string;
      coordinator: string;
      evaluators: string[];
      quorum: number;
      evaluator_stake_wei: string; // of each, lost for signing what it could have seen to be wrong
      left: Record<string, number>; // by account, the first round that it has no part in any more
    };
/** What the contract says of one account. */
export type AccountStanding = { reachable: boolean; claimed_wei?: string; left_round?: number; returned_wei?: string };
export type ClientRounds = Omit<Client, "place" | "last_score" | "last_error" | "last_factor" | "refusals"> & {
  rounds: {
    round: number;
    score_q40: string | null;
    total_q40: string | null;
    factor: number | null; // what the round's length left of its update
    price_q64: string;
    error: number | null;
    pay_wei: string | null;
    cumulative_wei: string | null;
    refusals: string[];
  }[];
  classes: string[];
  by_class: number[];
};
export type Headline = { status: View["status"]; live?: Live | null; content?: string; rounds?: number };

/** The server did not give what it was asked for. */
export class NotGiven extends Error {}

/** Fetch from this page's own server; the address is relative, wherever the page is mounted. */
export async function fetchBytes(path: string): Promise<Uint8Array> {
  const answer = await fetch(`data/${path}`).catch((error: Error) => {
    throw new NotGiven(`${path}: ${error.message}`);
  });
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new NotGiven(told.detail ?? `${path}: the server answered ${answer.status}`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

export async function fetchJson<T>(path: string): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await fetchBytes(path)));
}

export type Watcher = {
  onRun: (headline: Headline) => void;
  onChain: (standing: Standing) => void;
  onConnected: (connected: boolean) => void;
};

/** Server-sent events; the browser connects again by itself. */
export function watch(watcher: Watcher): void {
  const feed = new EventSource("data/feed");
  feed.addEventListener("run", (event) => watcher.onRun(JSON.parse(event.data)));
  feed.addEventListener("chain", (event) => watcher.onChain(JSON.parse(event.data)));
  feed.onopen = () => watcher.onConnected(true);
  feed.onerror = () => watcher.onConnected(false);
}
