// Holds tree.ts and payout.ts against the vectors that the Python and the Solidity tests read: node vectors.mjs FOLDER
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const read = (name) => JSON.parse(readFileSync(join(process.argv[2], name), "utf8"));
const { outputFiles } = await build({
  absWorkingDir: dirname(fileURLToPath(import.meta.url)),
  stdin: { contents: 'export * from "./src/tree"; export * from "./src/payout";', resolveDir: "." },
  bundle: true,
  write: false,
  format: "esm",
});
const source = `data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`;
const { headerHash, leafHash, levelsOf, proofOf, split } = await import(source);
let held = 0;

for (const one of read("round_tree.json").cases) {
  const leaves = one.leaves.map((leaf) => ({
    ...leaf,
    weight: BigInt(leaf.weight),
    score: BigInt(leaf.score),
    balance: BigInt(leaf.balance),
    cumulative: BigInt(leaf.cumulative),
  }));
  const levels = levelsOf(leaves);
  const top = levels.at(-1)[0];
  assert.deepEqual(leaves.map(leafHash), one.leafHashes);
  assert.deepEqual([top.node, `${top.entitlement}`, `${top.cumulative}`], [one.root, one.entitlement, one.cumulative]);
  one.proofs.forEach((proof, index) => {
    const siblings = proofOf(levels, index).map((step) => ({
      node: step.node,
      entitlement: `${step.entitlement}`,
      cumulative: `${step.cumulative}`,
    }));
    assert.deepEqual(siblings, proof);
    held++;
  });
}

for (const one of read("payout.json").cases) {
  for (const round of one.history) {
    const leaves = round.accounts.map((told) => ({ account: told.account, balance: BigInt(told.balance) }));
    const pays = split(leaves, BigInt(round.pot));
    for (const told of round.accounts) {
      assert.equal(`${pays.get(told.account)}`, told.pay);
      held++;
    }
  }
}

const typed = read("eip712.json");
for (const one of typed.cases.filter((one) => one.struct === "Header")) {
  const header = Object.fromEntries(
    Object.entries(one.message).map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]),
  );
  assert.equal(headerHash(header, Number(typed.chainId), typed.contract), one.digest);
  held++;
}
console.log(held);
