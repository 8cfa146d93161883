// Prints what each contract takes of the limits on code and of those on a transaction, and fails beyond one. Reads what
// `npm run build` left in out/.
const { readFileSync } = require("fs");
const { join } = require("path");

const LIMITS = { runtime: 24_576, creation: 49_152, gas: 16_777_216 }; // EIP-170, EIP-3860, EIP-7825

let beyond = false;
for (const name of ["Fairshare", "Disputes", "Lifecycle"]) {
  const artifact = JSON.parse(readFileSync(join(__dirname, "..", "out", `${name}.sol`, `${name}.json`), "utf8"));
  const bytes = (code) => Buffer.from(code.object.slice(2), "hex");
  const creation = bytes(artifact.bytecode);
  const runtime = bytes(artifact.deployedBytecode).length;
  // 21,000 and 32,000 for the transaction and the account, 200 a byte stored, 2 a word of creation code, its calldata, and
  // a thousand for the constructor.
  const calldata = creation.reduce((sum, byte) => sum + (byte === 0 ? 4 : 16), 0);
  const gas = 21_000 + 32_000 + 200 * runtime + 2 * Math.ceil(creation.length / 32) + calldata + 1_000;
  const seen = { runtime, creation: creation.length, gas };
  const said = Object.keys(LIMITS).map((what) => `${what} ${seen[what]} of ${LIMITS[what]}`);
  console.log(`${name}: ${said.join(", ")}`);
  beyond ||= Object.keys(LIMITS).some((what) => seen[what] > LIMITS[what]);
}
if (beyond) process.exit(1);
