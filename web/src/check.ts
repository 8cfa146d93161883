// The check of one round, made in this browser from the public files of its bundle.
import type { Hex } from "viem";
import { recoverAddress, sha256 } from "viem/utils";
import { fetchBytes, NotGiven, type Header, type Round, type Standing, type View } from "./run";
import { headerHash, leafFrom, levelsOf, type Leaf, type Node } from "./tree";
import { grouped, short, tokens } from "./words";

export type Finding = {
  what: string;
  ok: boolean | null; // null: cannot be told here, and `told` says why
  told: string;
};
export type Published = {
  header: Header;
  leaves: Leaf[];
  previous: Leaf[];
  levels: Node[][];
  signatures: Hex[];
};
export type Check = { ok: boolean | null; findings: Finding[]; published: Published | null };

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const hex = (value: string) => value.replace(/^0x/, "").toLowerCase();

function same(what: string, seen: string, expected: string, write = short): Finding {
  const ok = hex(seen) === hex(expected);
  // What differs is written out: a wei does not show among tokens.
  return { what, ok, told: ok ? write(seen) : `${seen} here, ${expected} was posted` };
}

/** Recompute a round from its files. Never throws: a file that is missing or broken is a finding. */
export async function checkRound(round: Round, view: View, standing: Standing | null): Promise<Check> {
  try {
    const [headerFile, manifest, roundFile] = await Promise.all(
      ["header.json", "manifest.json", "round.json"].map((name) => fetchBytes(`rounds/${round.round}/${name}`)),
    );
    const { header, signatures } = JSON.parse(text(headerFile!)) as { header: Header; signatures: string[] };
    const content = JSON.parse(text(roundFile!)) as { leaves: Record<string, string>[]; previous: Record<string, string>[] };
    const leaves = content.leaves.map(leafFrom);
    const levels = levelsOf(leaves);
    const top = levels.at(-1)![0]!;
    const hash = headerHash(header, view.task.chain_id, view.task.contract);
    const signers = await Promise.all(
      signatures.map((one) => recoverAddress({ hash, signature: `0x${one}` }).catch(() => "not a signature")),
    );
    const findings = [
      same("manifest.json is the one that the header names", sha256(manifest!), header.bundle!),
      same("round.json is the one that the manifest names", sha256(roundFile!), JSON.parse(text(manifest!))["round.json"]),
      inOrder(leaves, header),
      same("tree root from the leaves", top.node, header.tree_root!),
      same("sum of all entitlements", top.entitlement.toString(), header.entitlement!, (value) => grouped(BigInt(value))),
      same("sum of all pay", top.cumulative.toString(), header.cumulative!, tokens),
      same("header hash (EIP-712) from the header", hash, round.header_hash),
      onChain(round, hash, standing),
      signed(signers, view, standing),
    ];
    const previous = content.previous.map(leafFrom);
    const published = { header, leaves, previous, levels, signatures: signatures.map((one): Hex => `0x${one}`) };
    return { ok: findings.every((one) => one.ok !== false), findings, published };
  } catch (error) {
    const told = error instanceof Error ? error.message : String(error);
    // A file that the server does not give tells nothing of the round; one that is given and cannot be read does.
    const ok = error instanceof NotGiven ? null : false;
    return { ok, findings: [{ what: "files of the round", ok, told }], published: null };
  }
}

function inOrder(leaves: Leaf[], header: Header): Finding {
  const accounts = leaves.map((leaf) => BigInt(leaf.account));
  const ascending = accounts.every((account, index) => index === 0 || account > accounts[index - 1]!);
  const ok = ascending && leaves.length === Number(header.leaf_count);
  const told = ascending ? `${leaves.length} leaves here, ${header.leaf_count} in the header` : "an account is repeated or out of order";
  return { what: "one leaf a client, sorted by account", ok, told: ok ? `${leaves.length} leaves` : told };
}

function onChain(round: Round, hash: Hex, standing: Standing | null): Finding {
  const what = "header hash is the contract's";
  if (!standing?.reachable) return { what, ok: null, told: "the chain does not answer now" };
  const posted = standing.rounds.find((one) => one.round === round.round);
  if (!posted) return { what, ok: false, told: `the contract has no round ${round.round}` };
  return same(what, hash.slice(0, posted.digest.length), posted.digest);
}

function signed(signers: string[], view: View, standing: Standing | null): Finding {
  const what = "signed by the task's evaluators";
  const distinct = [...new Set(signers)];
  const needed = view.task.quorum ?? 1;
  const known = standing?.reachable ? standing.evaluators.map((one) => one.toLowerCase()) : null;
  const good = known ? distinct.filter((one) => known.includes(one.toLowerCase())) : distinct;
  const told = `${good.length} of ${view.task.evaluators} signed, ${needed} needed: ${distinct.map(short).join(", ")}`;
  if (good.length < needed) return { what, ok: false, told };
  return { what, ok: known ? true : null, told: known ? told : `${told} (whether they are the task's, the chain would tell)` };
}
