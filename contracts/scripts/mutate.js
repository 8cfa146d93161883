// Flips operators and drops checks and effects in src/, one at a time, in a copy of this folder, and reports which of
// these mutants the unit tests do not notice.
//
//   npm run mutate                            every mutant (about ten seconds each)
//   npm run mutate -- --count 40 --seed 7     a sample
//   npm run mutate -- --file Disputes.sol     one file
const { spawnSync } = require("child_process");
const { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } = require("fs");
const { tmpdir } = require("os");
const { join, relative } = require("path");

const root = join(__dirname, "..");
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};

const FLIPS = [
  [/ < /g, " <= "], [/ <= /g, " < "], [/ > /g, " >= "], [/ >= /g, " > "], [/ == /g, " != "], [/ != /g, " == "],
  [/ \+ /g, " - "], [/ - /g, " + "], [/ \* /g, " / "], [/ \/ /g, " * "], [/ && /g, " || "], [/ \|\| /g, " && "],
  [/ \+= /g, " -= "], [/ -= /g, " += "], [/\+\+;/g, "--;"], [/--;/g, "++;"], [/\btrue\b/g, "false"], [/\bfalse\b/g, "true"],
];
// A whole statement: a check that reverts, a call of a check, an assignment to storage or a credit.
const DROPS = /^\s*(if \(.*\) revert .*;|_require\w*\(.*\);|RoundTree\.check\w*\(.*\);|\w+\.require\w*\(.*\);|(a|t)\.[\w.]+(\[.*\])? (=|\+=|-=) .*;|_credit\(.*\);|delete .*;)\s*(\/\/.*)?$/;

function mutantsOf(file) {
  const lines = readFileSync(join(root, file), "utf8").split("\n");
  const mutants = [];
  const add = (at, text, what) => mutants.push({ file, at, what, text: lines.with(at, text).join("\n") });
  lines.forEach((line, at) => {
    const code = line.replace(/\/\/.*$/, "");
    if (!code.trim() || /^\s*(\*|import|pragma|error|event|using|type|contract|library|abstract)/.test(code)) return;
    if (DROPS.test(line)) add(at, "", `drop: ${line.trim()}`);
    for (const [from, to] of FLIPS) {
      for (const match of code.matchAll(from)) {
        if (/^\s*for \(uint256 i; /.test(code) && to.trim().startsWith("-")) continue; // an endless loop is no mutant
        const text = line.slice(0, match.index) + to + line.slice(match.index + match[0].length);
        add(at, text, `${match[0].trim()} → ${to.trim()}: ${line.trim()}`);
      }
    }
  });
  return mutants;
}

function sources(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === "interfaces" ? [] : sources(path);
    return entry.name.endsWith(".sol") && entry.name !== "DevToken.sol" ? [path] : [];
  });
}

let seed = Number(option("seed", "1"));
const random = () => ((seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31);
let mutants = sources("src").flatMap(mutantsOf).filter(({ file }) => file.endsWith(option("file", "")));
const all = mutants.length;
const count = Number(option("count", all));
mutants = mutants.map((mutant) => [random(), mutant]).sort(([a], [b]) => a - b).slice(0, count).map(([, mutant]) => mutant);

const copy = mkdtempSync(join(tmpdir(), "mutants-"));
const survivors = [];
try {
  const inside = join(copy, "contracts");
  cpSync(root, inside, { recursive: true, filter: (path) => !/node_modules|\/(out|cache)($|\/)/.test(relative(root, path)) });
  symlinkSync(join(root, "node_modules"), join(inside, "node_modules"));
  cpSync(join(root, "..", "tests", "vectors"), join(copy, "tests", "vectors"), { recursive: true });
  let killed = 0;
  let unbuilt = 0;
  mutants.forEach((mutant, number) => {
    const original = readFileSync(join(root, mutant.file), "utf8");
    writeFileSync(join(inside, mutant.file), mutant.text);
    const run = spawnSync(
      process.execPath,
      [join(inside, "scripts", "forge.js"), "test", "--fail-fast", "--no-match-contract", "Invariants|Gas"],
      // Tests load what they test by name then, so a mutant recompiles little more than itself.
      { encoding: "utf8", maxBuffer: 1 << 28, timeout: 300_000, env: { ...process.env, FOUNDRY_DYNAMIC_TEST_LINKING: "true" } },
    );
    writeFileSync(join(inside, mutant.file), original);
    const output = run.stdout + run.stderr;
    if (/Compiler run failed|Compilation failed/.test(output)) unbuilt++;
    else if (run.status !== 0) killed++;
    else survivors.push(mutant);
    const verdict = run.status === 0 ? "SURVIVED" : "noticed";
    console.log(`${number + 1}/${mutants.length} ${verdict} ${mutant.file}:${mutant.at + 1} ${mutant.what}`);
  });
  console.log(JSON.stringify({ mutants: all, tried: mutants.length, noticed: killed, unbuilt, survived: survivors.length }));
} finally {
  rmSync(copy, { recursive: true, force: true });
}
process.exit(survivors.length === 0 ? 0 : 1);
