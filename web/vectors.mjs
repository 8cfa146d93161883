// Holds tree.ts and price.ts against the vectors that the Python and the Solidity tests read, and explanation.ts against the
// sentences of fl/report/explanation.py, and words.ts against the forms of fl/report/wording.py: node vectors.mjs FOLDER SENTENCES FORMS
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const read = (name) => JSON.parse(readFileSync(join(process.argv[2], name), "utf8"));
const { outputFiles } = await build({
  absWorkingDir: dirname(fileURLToPath(import.meta.url)),
  stdin: { contents: 'export * from "./src/tree"; export * from "./src/price"; export * from "./src/explanation"; export * from "./src/words";', resolveDir: "." },
  bundle: true,
  write: false,
  format: "esm",
});
const source = `data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`;
const module = await import(source);
const { allowedBy, earnedAt, explanation, headerDigest, headerHash, largestPrice, leafHash, levelsOf, proofOf } = module;
let held = 0;

for (const tree of read("round_tree.json").cases) {
  const leaves = tree.leaves.map((leaf) => ({
    ...leaf,
    weight: BigInt(leaf.weight),
    score: BigInt(leaf.score),
    total: BigInt(leaf.total),
    cumulative: BigInt(leaf.cumulative),
  }));
  const levels = levelsOf(leaves);
  const top = levels.at(-1)[0];
  assert.deepEqual(leaves.map(leafHash), tree.leafHashes);
  assert.deepEqual([top.node, `${top.cumulative}`], [tree.root, tree.cumulative]);
  tree.proofs.forEach((proof, index) => {
    const siblings = proofOf(levels, index).map((step) => ({ node: step.node, cumulative: `${step.cumulative}` }));
    assert.deepEqual(siblings, proof);
    held++;
  });
}

for (const { budget, rounds, history } of read("payout.json").cases) {
  const before = new Map();
  for (const { round, allowed, price, cumulative, accounts } of history) {
    assert.equal(`${allowedBy(round, { planned: rounds, rounds, budgets: [[1, budget]] })}`, allowed);
    const due = accounts.map(({ account, score }) => {
      const { total, cumulative } = before.get(account) ?? { total: 0n, cumulative: 0n };
      return { total: total + BigInt(score), cumulative };
    });
    const largest = largestPrice(due, BigInt(allowed));
    assert.equal(`${largest}`, price);
    accounts.forEach((told, index) => {
      const { total } = due[index];
      const after = { total, cumulative: earnedAt(due[index], largest) };
      assert.deepEqual([`${total}`, `${after.cumulative}`], [told.total, told.cumulative]);
      before.set(told.account, after);
      held++;
    });
    assert.equal(`${[...before.values()].reduce((sum, account) => sum + account.cumulative, 0n)}`, cumulative);
    held++;
  }
}

const typed = read("eip712.json");
for (const { message, structHash, digest } of typed.cases.filter(({ struct }) => struct === "Header")) {
  const header = Object.fromEntries(
    Object.entries(message).map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]),
  );
  assert.deepEqual([headerHash(header), headerDigest(header, Number(typed.chainId), typed.contract)], [structHash, digest]);
  held++;
}

for (const { name, whose, total, cumulative, price, factors, by_class, text } of JSON.parse(readFileSync(process.argv[3], "utf8"))) {
  const standing = { total: BigInt(total), cumulative: BigInt(cumulative), price: BigInt(price), factors, byClass: by_class };
  assert.equal(explanation(standing, whose), text, name);
  held++;
}
for (const [form, value, text] of JSON.parse(readFileSync(process.argv[4], "utf8"))) {
  assert.equal(module[form](value), text, `${form}(${value})`);
  held++;
}
console.log(held);
