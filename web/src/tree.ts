// The round tree and the header's hash, computed here from the published leaves: the third implementation beside
// fl/rewards/tree.py and contracts/src/libraries/RoundTree.sol.
//
// leaf = keccak(0x00 ‖ account ‖ updateRoot ‖ uint64 weight ‖ int128 score ‖ int128 total ‖ uint128 cumulative)
// node = keccak(0x01 ‖ left ‖ right ‖ C_l ‖ C_r), an odd node is promoted
import type { Hex } from "viem";
import { concat, hashStruct, hashTypedData, keccak256, numberToHex } from "viem/utils";
import type { Header } from "./run";

export type Leaf = {
  account: Hex;
  updateRoot: Hex;
  weight: bigint; // units of 2^−32
  score: bigint; // units of 2^−40 of loss
  total: bigint; // the same: all scores since it joined
  cumulative: bigint; // wei
};
export type Node = { node: Hex; cumulative: bigint };

/** A leaf from round.json. Throws for an account or a root of another length: hashed end to end, they could pass for others. */
export function leafFrom(raw: Record<string, string>): Leaf {
  if (!/^0x[0-9a-fA-F]{40}$/.test(raw.account!)) throw new Error(`a leaf is of ${raw.account}, which is not an address`);
  if (!/^[0-9a-fA-F]{64}$/.test(raw.update_root!)) throw new Error(`a leaf has the update root ${raw.update_root}, which is not a hash`);
  return {
    account: raw.account as Hex,
    updateRoot: `0x${raw.update_root}`,
    weight: BigInt(raw.weight!),
    score: BigInt(raw.score!),
    total: BigInt(raw.total!),
    cumulative: BigInt(raw.cumulative!),
  };
}

export function leafHash(leaf: Leaf): Hex {
  return keccak256(
    concat([
      "0x00",
      leaf.account.toLowerCase() as Hex,
      leaf.updateRoot,
      numberToHex(leaf.weight, { size: 8 }),
      numberToHex(leaf.score, { size: 16, signed: true }),
      numberToHex(leaf.total, { size: 16, signed: true }),
      numberToHex(leaf.cumulative, { size: 16 }),
    ]),
  );
}

export function join(left: Node, right: Node): Node {
  const sums = [left.cumulative, right.cumulative];
  return {
    node: keccak256(concat(["0x01", left.node, right.node, ...sums.map((value) => numberToHex(value, { size: 16 }))])),
    cumulative: left.cumulative + right.cumulative,
  };
}

/** All levels of the tree, the leaves first and the root alone at the end. */
export function levelsOf(leaves: Leaf[]): Node[][] {
  let level = leaves.map((leaf) => ({ node: leafHash(leaf), cumulative: leaf.cumulative }));
  const levels = [level];
  while (level.length > 1) {
    const above: Node[] = [];
    for (let index = 0; index < level.length; index += 2) {
      const right = level[index + 1];
      above.push(right ? join(level[index]!, right) : level[index]!);
    }
    level = above;
    levels.push(level);
  }
  return levels;
}

/** The siblings of a leaf, bottom up; a level where the node is promoted adds none. */
export function proofOf(levels: Node[][], index: number): (Node & { left: boolean })[] {
  return levels.slice(0, -1).flatMap((level, height) => {
    const at = (index >> height) ^ 1;
    const sibling = level[at];
    return sibling ? [{ ...sibling, left: at < index >> height }] : [];
  });
}

const HEADER_TYPE = {
  taskId: "bytes32",
  round: "uint32",
  treeRoot: "bytes32",
  leafCount: "uint32",
  cumulative: "uint128",
};
const REST_TYPE = {
  previous: "bytes32",
  validation: "bytes32",
  baseModel: "bytes32",
  nextModel: "bytes32",
  directionRoot: "bytes32",
  enrolment: "bytes32",
  price: "uint128",
  bundle: "bytes32",
};

/** Some of a header's fields as the contract takes them, from header.json's names and forms. */
function message(header: Header, types: Record<string, string>): Record<string, Hex | bigint> {
  return Object.fromEntries(
    Object.entries(types).map(([name, type]) => {
      const value = header[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] ?? "";
      return [name, type === "bytes32" ? (`0x${value.replace(/^0x/, "")}` as Hex) : BigInt(value)];
    }),
  );
}

const members = (types: Record<string, string>) => Object.entries(types).map(([name, type]) => ({ name, type }));
const TYPES = { Header: [...members(HEADER_TYPE), { name: "rest", type: "Rest" }], Rest: members(REST_TYPE) };
const headerMessage = (header: Header) => ({ ...message(header, HEADER_TYPE), rest: message(header, REST_TYPE) });

/** What a claim brings of a header: the fields that pay, and the struct hash of the others. */
export const payroll = (header: Header): Record<string, Hex | bigint> => ({
  ...message(header, HEADER_TYPE),
  rest: hashStruct({ data: message(header, REST_TYPE), primaryType: "Rest", types: TYPES }),
});

/** The siblings of a proof as the contract takes them: 48 bytes each. */
export const packed = (siblings: Node[]): Hex =>
  siblings.length ? concat(siblings.flatMap(({ node, cumulative }) => [node, numberToHex(cumulative, { size: 16 })])) : "0x";

/** The struct hash of a header: what the next one names it by, and what the contract keeps 27 bytes of. No chain is part of it. */
export const headerHash = (header: Header): Hex =>
  hashStruct({ data: headerMessage(header), primaryType: "Header", types: TYPES });

/** What evaluators sign of a header (EIP-712): its struct hash in the domain of one contract on one chain. */
export function headerDigest(header: Header, chainId: number, contract: string): Hex {
  return hashTypedData({
    domain: { name: "Fairshare", version: "1", chainId, verifyingContract: contract as Hex },
    types: TYPES,
    primaryType: "Header",
    message: headerMessage(header),
  });
}
