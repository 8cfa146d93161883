// All Foundry tests, then the gas that they measured against the committed snapshot: more than 2 % above it fails.
// A smaller change leaves the committed file as it is; `npm run gas:update` takes the new figures.
const { execFileSync } = require("child_process");
const { existsSync, readFileSync, writeFileSync } = require("fs");
const { join } = require("path");

const TOLERANCE = 0.02;
const file = join(__dirname, "..", "snapshots", "gas.json");
const committed = existsSync(file) ? readFileSync(file, "utf8") : "{}";

try {
  execFileSync(process.execPath, [join(__dirname, "forge.js"), "test", ...process.argv.slice(2)], { stdio: "inherit" });
} catch (error) {
  process.exit(error.status ?? 1); // forge has said why
}

const before = JSON.parse(committed);
const after = JSON.parse(readFileSync(file, "utf8"));
const wrong = Object.keys(before)
  .filter((name) => after[name] > before[name] * (1 + TOLERANCE))
  .map((name) => `${name} takes ${after[name]} gas, the snapshot says ${before[name]}; make it cheaper or run npm run gas:update`);
// Some of the tests, named by arguments, measure some of the figures.
const missing = process.argv.length > 2 ? [] : Object.keys(before).filter((name) => !(name in after));
wrong.push(...missing.map((name) => `${name} is in the snapshot, and no test measures it; name it again or run npm run gas:update`));
for (const problem of wrong) console.error(problem);
if (wrong.length > 0) process.exit(1);
writeFileSync(file, committed === "{}" ? readFileSync(file) : committed);
console.log(`gas: ${Object.keys(before).length} figures within ${TOLERANCE * 100} % of the snapshot`);
