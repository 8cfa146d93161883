// The check of one round, made in this browser from the public files of its bundle.
import type { Hex } from "viem";
import { getAddress, recoverAddress, sha256 } from "viem/utils";
import { all, together, type Finding, type Verdict } from "./finding";
import { allowedBy, earnedAt, HIGHEST_PRICE, largestPrice } from "./price";
import { fetchBytes, NotGiven, type Header, type Round, type Standing, type View } from "./run";
import { headerDigest, headerHash, leafFrom, levelsOf, type Leaf, type Node } from "./tree";
import { plural, priceOf, short, tokens } from "./words";

export type Published = {
  header: Header;
  leaves: Leaf[];
  posted: Verdict; // the leaves are those of the header that the contract has
  previous: Leaf[];
  carriedOver: Verdict; // and these are those of the header before
  levels: Node[][];
  updates: Listed[];
  priced: Verdict; // the price is the largest that the task's schedule allows
};
export type Check = {
  ok: Verdict;
  findings: Finding[];
  published: Published | null;
  standing: string; // what the chain said of the round, which it was held against
};
export type Listed = { account: string; stake: string; weight: string; selected: boolean }; // an accepted update
type Content = { leaves: Record<string, string>[]; previous: Record<string, string>[]; updates: Listed[] };

const NO_HASH = `0x${"00".repeat(32)}`;
const KEPT = 2 + 2 * 27; // characters of what the contract keeps of a header hash

const parse = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes));
const hex = (value: string) => value.replace(/^0x/, "").toLowerCase();
const key = (account: string) => account.toLowerCase();

/** What of a round could not be told here, by name. */
export const openIn = (check: Check): string =>
  check.findings
    .filter((finding) => finding.ok === null)
    .map((finding) => finding.what)
    .join("; ");

const hashOnChain = (round: number, standing: Standing | null): string | null =>
  (standing?.reachable && standing.rounds.find((posted) => posted.round === round)?.hash) || null;

/** What the chain says now of a round, as one text that changes whenever its check has to be made anew. */
export const standingOf = (round: number, standing: Standing | null): string =>
  standing?.reachable ? [hashOnChain(round, standing), allowedBy(round, standing.schedule)].join() : "";

function same(what: string, seen: string, expected: string, write = short): Finding {
  const ok = hex(seen) === hex(expected);
  // What differs is written out: a wei does not show among tokens.
  return { what, ok, told: ok ? write(seen) : `${seen} here, ${expected} was posted` };
}

/** Recompute a round from its files. Never throws: a file that is missing or broken is a finding. */
export async function checkRound(round: Round, view: View, standing: Standing | null): Promise<Check> {
  const seen = standingOf(round.round, standing);
  try {
    const [headerFile, manifest, roundFile] = await Promise.all(
      ["header.json", "manifest.json", "round.json"].map((name) => fetchBytes(`rounds/${round.round}/${name}`)),
    );
    const { header, signatures } = parse(headerFile!) as { header: Header; signatures: string[] };
    const content = parse(roundFile!) as Content;
    const leaves = content.leaves.map(leafFrom);
    const previous = content.previous.map(leafFrom);
    const levels = levelsOf(leaves);
    const hash = headerHash(header);
    const digest = headerDigest(header, view.task.chain_id, view.task.contract);
    const signers = await Promise.all(
      signatures.map((signature) => contractOf(signature) ?? recoverAddress({ hash: digest, signature: `0x${signature}` }).catch(() => "not a signature")),
    );
    const posted = [...ofHeader(leaves, levels, header), onChain(round.round, hash, view, standing)];
    const before = await carriedOver(round.round, header, previous, view, standing);
    const price = priced(round.round, leaves, previous, header, view, standing);
    const findings = [
      same("manifest.json is the one that the header names", sha256(manifest!), header.bundle!),
      same("round.json is the one that the manifest names", sha256(roundFile!), parse(manifest!)["round.json"]),
      ...posted,
      signed(signers, view, standing),
      before,
      price,
      follows(leaves, previous, header),
      shown(round, header, hash, previous, signers),
    ];
    const verdicts = { posted: all(posted.map((part) => part.ok)), carriedOver: before.ok, priced: price.ok };
    const published = { header, leaves, previous, levels, updates: content.updates, ...verdicts };
    return { ok: all(findings.map((finding) => finding.ok)), findings, published, standing: seen };
  } catch (error) {
    const told = error instanceof Error ? error.message : String(error);
    // A file that the server does not give tells nothing of the round; one that is given and cannot be read does.
    const ok = error instanceof NotGiven ? null : false;
    return { ok, findings: [{ what: "files of the round", ok, told }], published: null, standing: seen };
  }
}

/** Whether leaves are those that a header stands for. */
function ofHeader(leaves: Leaf[], levels: Node[][], header: Header): Finding[] {
  const top = levels.at(-1)![0];
  const order = inOrder(leaves, header);
  if (!top) return [{ ...order, ok: false }];
  return [
    order,
    same("tree root from the leaves", top.node, header.tree_root!),
    same("sum of all pay", top.cumulative.toString(), header.cumulative!, tokens),
  ];
}

function inOrder(leaves: Leaf[], header: Header): Finding {
  const accounts = leaves.map((leaf) => BigInt(leaf.account));
  const ascending = accounts.every((account, index) => index === 0 || account > accounts[index - 1]!);
  const ok = ascending && leaves.length === Number(header.leaf_count);
  const told = ascending ? `${leaves.length} leaves here, ${header.leaf_count} in the header` : "an account is repeated or out of order";
  return { what: "one leaf a client, sorted by account", ok, told: ok ? `${leaves.length} leaves` : told };
}

function onChain(number: number, hash: Hex, view: View, standing: Standing | null): Finding {
  const what = "header hash is the contract's";
  if (!standing?.reachable) return { what, ok: null, told: "the chain does not answer now" };
  const kept = hashOnChain(number, standing);
  if (kept) return same(what, hash.slice(0, KEPT), kept);
  // Of a round that was posted this moment, the run may tell before the chain was asked again.
  const late = view.status === "running";
  return { what, ok: late ? null : false, told: `the contract has no round ${number}${late ? " yet" : ""}` };
}

/** The evaluator that a signature stands for if it is a contract, whose approval its post needed; null for a key's. */
function contractOf(signature: string): string | null {
  const found = /^0{24}([0-9a-f]{40})0{66}$/.exec(signature);
  return found ? getAddress(`0x${found[1]}`) : null;
}

function signed(signers: string[], view: View, standing: Standing | null): Finding {
  const what = "signed by the task's evaluators";
  const distinct = [...new Set(signers)];
  const names = distinct.map(short).join(", ");
  if (!standing?.reachable) return { what, ok: null, told: `signed by ${names}; whose keys these are, the chain would tell` };
  const known = standing.evaluators.map(key);
  const good = distinct.filter((signer) => known.includes(key(signer)));
  const told = `${good.length} of ${known.length} signed, ${standing.quorum} needed: ${names}`;
  return { what, ok: good.length >= standing.quorum, told };
}

/** Whether the leaves before a round are those that were posted: totals and what was earned are carried over from them. */
async function carriedOver(number: number, header: Header, leaves: Leaf[], view: View, standing: Standing | null): Promise<Finding> {
  if (number === 1) {
    const none = { what: "leaves before it", ok: !leaves.length, told: `${leaves.length} here, 0 can be` };
    return together("nothing is carried over into round 1", [none, same("header before it", header.previous!, NO_HASH)], "no leaf");
  }
  const what = `what is carried over is what round ${number - 1} posted`;
  try {
    const before = await headerBefore(number, header, view);
    const hash = headerHash(before);
    const parts = [
      same("header before this one", hash, header.previous!),
      ...ofHeader(leaves, levelsOf(leaves), before),
      onChain(number - 1, hash, view, standing),
    ];
    return together(what, parts, plural(leaves.length, "total"));
  } catch (error) {
    if (!(error instanceof NotGiven)) throw error;
    return { what, ok: null, told: error.message };
  }
}

/** The header before: a header names it by its hash, so that it does not matter who tells it. */
async function headerBefore(number: number, header: Header, view: View): Promise<Header> {
  const told = view.rounds.find((round) => round.round === number - 1)?.header;
  const right = told && hex(headerHash(told)) === hex(header.previous!);
  return right ? told : parse(await fetchBytes(`rounds/${number - 1}/header.json`)).header;
}

const byAccount = (leaves: Leaf[]) => new Map(leaves.map((leaf) => [key(leaf.account), leaf]));

/** Whether the price is the largest at which all pay is within the schedule. */
function priced(number: number, leaves: Leaf[], previous: Leaf[], header: Header, view: View, standing: Standing | null): Finding {
  const what = "price is the largest that the schedule allows";
  const price = BigInt(header.price!);
  const sum = BigInt(header.cumulative!);
  const told = `${price === HIGHEST_PRICE ? "nobody has a positive total" : priceOf(price)}; ${tokens(sum)} tokens in all`;
  const chain = standing?.reachable ? standing : null;
  // Without the chain, the budget is what the run tells, and there may have been added to it since.
  const schedule = chain?.schedule ?? { planned: view.task.rounds, rounds: view.task.rounds, budgets: [[1, view.totals.budget_wei]] as [number, string][] };
  const allowed = allowedBy(number, schedule);
  if (allowed === null) return { what, ok: chain && false, told: `round ${number} is not among the ${schedule.rounds} of the schedule` };
  const before = byAccount(previous);
  const accounts = leaves.map(({ account, total }) => ({ total, cumulative: before.get(key(account))?.cumulative ?? 0n }));
  const largest = largestPrice(accounts, allowed);
  const of = `${told} of ${tokens(allowed)} allowed`;
  if (!chain) return { what, ok: null, told: `${of}${largest === price ? "" : ", which is another price"}, by the budget that the run tells` };
  if (largest === price) return { what, ok: true, told: of };
  if (largest === null) return { what, ok: false, told: `more was paid before than the ${tokens(allowed)} tokens that are allowed by now` };
  return { what, ok: false, told: `${price} was posted, ${largest} is the largest for ${allowed} wei` };
}

/** Whether every total and all pay follow from the scores, the price and the leaves before. */
function follows(leaves: Leaf[], previous: Leaf[], header: Header): Finding {
  const before = byAccount(previous);
  const price = BigInt(header.price!);
  const wrong = leaves.filter((leaf) => {
    const { total, cumulative } = before.get(key(leaf.account)) ?? { total: 0n, cumulative: 0n };
    return total + leaf.score !== leaf.total || earnedAt({ total: leaf.total, cumulative }, price) !== leaf.cumulative;
  });
  for (const leaf of leaves) before.delete(key(leaf.account));
  const gone = [...before.values()];
  const list = (some: Leaf[]) => some.slice(0, 3).map((leaf) => leaf.account).join(", ") + (some.length > 3 ? " and others" : "");
  const told = [wrong.length ? `not those of ${list(wrong)}` : "", gone.length ? `no leaf any more for ${list(gone)}` : ""];
  const ok = !wrong.length && !gone.length;
  return { what: "totals and pay follow from the scores, the price and what is carried over", ok, told: ok ? plural(leaves.length, "client") : told.filter(Boolean).join("; ") };
}

/** Whether the page's own row tells what the header says. */
function shown(round: Round, header: Header, hash: Hex, previous: Leaf[], signers: string[]): Finding {
  const fields = Object.entries(header).map(([name, value]) => same(name.replaceAll("_", " "), `${round.header[name]}`, value));
  const paidBefore = previous.reduce((sum, leaf) => sum + leaf.cumulative, 0n);
  const list = (accounts: string[]) => [...new Set(accounts)].sort((a, b) => (key(a) < key(b) ? -1 : 1)).join(", ");
  const parts = [
    same("header hash", round.header_hash, hash),
    ...fields,
    same("price", round.price_q64, header.price!),
    same("paid", round.paid_wei, `${BigInt(header.cumulative!) - paidBefore}`),
    same("signers", list(round.evaluators), list(signers)),
  ];
  return together("the row above is the header's", parts, "header, price, paid and signers");
}
