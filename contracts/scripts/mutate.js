// Flips operators and drops checks and effects in src/, one at a time, in a copy of this folder, and reports which of
// these mutants the unit tests do not notice. Those that no test can notice stand in equivalent.json with the reason;
// any other survivor, and any listed one that is noticed or gone, makes the command fail.
//
//   npm run mutate                            every mutant (some seconds each)
//   npm run mutate -- --count 40 --seed 7     a sample
//   npm run mutate -- --file Disputes.sol     one file, or some: Ledger.sol,Progress.sol
//   npm run mutate -- --file Ledger.sol --lines 120-140
//   npm run mutate -- --after mutants.log     those that a run which was stopped has not come to
const { spawn } = require("child_process");
const { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } = require("fs");
const { tmpdir } = require("os");
const { dirname, join, relative } = require("path");
const solc = require("solc");

const root = join(__dirname, "..");
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};

const FLIPS = [
  [/ < /g, " <= "], [/ <= /g, " < "], [/ > /g, " >= "], [/ >= /g, " > "], [/ == /g, " != "], [/ != /g, " == "],
  [/ \+ /g, " - "], [/ - /g, " + "], [/ \* /g, " / "], [/ \/ /g, " * "], [/ % /g, " / "],
  [/ << /g, " >> "], [/ >> /g, " << "], [/ & /g, " | "], [/ \| /g, " & "], [/ && /g, " || "], [/ \|\| /g, " && "],
  [/!(?=[\w(])/g, ""], [/ \+= /g, " -= "], [/ -= /g, " += "], [/\+\+;/g, "--;"], [/--;/g, "++;"],
  [/\btrue\b/g, "false"], [/\bfalse\b/g, "true"],
];
// A whole statement that only checks or has an effect: a refusal, a call of a check or of a step that moves money, an
// assignment to what was there before it. Not a declaration, without which nothing compiles, a `return` or an `emit`.
const DROPS = /^(else )?(if \(.*;|revert .*;|(?!return\b|emit\b)[\w.[\]]+\(.*\);|([\w.]+(\[.*\])*|\(\w+(, \w+)*\)) (=|\+=|-=|\*=|>>=) .*;|[\w.]+(\[.*\])*(\+\+|--);|delete .*;)$/;

/** Where each statement of a file outside of assembly begins and ends, and its text on one line. */
function statementsOf(lines) {
  const statements = [];
  let [open, depth, assembly] = [null, 0, 0];
  for (const [at, line] of lines.entries()) {
    const code = line.replace(/\/\/.*$/, "").trim();
    if (!code || /^(\/?\*)/.test(code)) continue;
    const braces = code.split("{").length - code.split("}").length;
    if (assembly > 0 || /^assembly\b/.test(code)) {
      assembly += braces;
      continue;
    }
    open ??= { at, text: [] };
    open.text.push(code);
    depth += code.split("(").length - code.split(")").length;
    if (depth > 0 || !/[;{}]$/.test(code)) continue;
    statements.push({ from: open.at, to: at, text: open.text.join(" ") });
    open = null;
  }
  return statements;
}

/** Every mutant of a file: its line, what the line becomes (nothing if it is dropped), and the whole text before and then. */
function mutantsOf(file) {
  const before = readFileSync(join(root, file), "utf8");
  const lines = before.split("\n");
  const mutants = [];
  const add = (at, line, becomes, changed) =>
    mutants.push({ file, at, line, becomes: becomes.trim(), before, text: changed.join("\n") });
  for (const { from, to, text } of statementsOf(lines)) {
    if (DROPS.test(text)) add(from, text, "", lines.map((line, at) => (at < from || at > to ? line : "")));
  }
  lines.forEach((line, at) => {
    const code = line.replace(/\/\/.*$/, "");
    if (!code.trim() || /^\s*(\*|import|pragma|error|event|using|type|contract|library|abstract)/.test(code)) return;
    for (const [from, to] of FLIPS) {
      for (const match of code.matchAll(from)) {
        if (/^\s*for \(uint256 i; /.test(code) && to.trim().startsWith("-")) continue; // an endless loop is no mutant
        const becomes = line.slice(0, match.index) + to + line.slice(match.index + match[0].length);
        add(at, line.trim(), becomes, lines.with(at, becomes));
      }
    }
  });
  return mutants;
}

function solidity(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? solidity(path) : entry.name.endsWith(".sol") ? [path] : [];
  });
}

/** A file and all that it imports from this folder: no test outside of a mutant's importers can notice it. */
function closure(file, seen = new Set()) {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const [, path] of readFileSync(join(root, file), "utf8").matchAll(/^import .*"(\..*)";/gm)) {
    closure(join(dirname(file), path), seen);
  }
  return seen;
}

const describe = ({ file, at, line, becomes }) => `${file}:${at + 1} ${line}  →  ${becomes || "(dropped)"}`;
const name = ({ file, line, becomes }) => JSON.stringify([file, line, becomes]);
const equivalents = new Map(
  JSON.parse(readFileSync(join(__dirname, "equivalent.json"), "utf8")).map((mutant) => [name(mutant), mutant.reason]),
);
let seed = Number(option("seed", "1"));
const random = () => ((seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31);
const everything = solidity("src")
  .filter((file) => !file.includes("interfaces") && !file.endsWith("DevToken.sol"))
  .flatMap(mutantsOf);
const stale = [...equivalents.keys()].filter((key) => !everything.some((mutant) => name(mutant) === key));
const [from, to] = option("lines", "1-99999").split("-").map(Number);
const log = option("after", "");
const before = new Set(log && readFileSync(log, "utf8").split("\n").map((line) => line.replace(/^\S+ \S+ /, "")));
const chosen = everything.filter(({ file, at }) => option("file", ".sol").split(",").some((end) => file.endsWith(end)) && at + 1 >= from && at < to);
const mutants = chosen
  .map((mutant) => [random(), mutant])
  .sort(([a], [b]) => a - b)
  .slice(0, Number(option("count", chosen.length)))
  .map(([, mutant]) => mutant)
  .filter((mutant) => !before.has(describe(mutant)));
const tests = solidity("test").filter((file) => file.endsWith(".t.sol"));
const reach = new Map(tests.map((test) => [test, closure(test)]));

const settings = JSON.parse(readFileSync(join(root, "solc.json"), "utf8"));

const read = (path) => {
  try {
    return { contents: readFileSync(join(root, path), "utf8") };
  } catch (error) {
    return { error: error.message };
  }
};
const sources = Object.fromEntries(solidity("src").map((file) => [file, { content: read(file).contents }]));

const PARTS = ["Lifecycle", "Disputes", "Fairshare"];

/** The creation code of each part with a mutant in it, or nothing if one does not compile. */
function compile(mutant) {
  const input = {
    language: "Solidity",
    sources: { ...sources, ...(mutant && { [mutant.file]: { content: mutant.text } }) },
    settings: {
      ...settings,
      // The optimizer takes four fifths of the time. Without it the code is too large for a chain, not for its tests.
      optimizer: { enabled: false },
      remappings: ["@openzeppelin/=node_modules/@openzeppelin/"],
      outputSelection: Object.fromEntries(PARTS.map((part) => [`src/${part}.sol`, { [part]: ["evm.bytecode.object"] }])),
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: read }));
  const codes = PARTS.map((part) => output.contracts?.[`src/${part}.sol`]?.[part].evm.bytecode.object);
  return codes.includes(undefined) ? undefined : codes;
}

/** A copy of this folder, as forge sees it. */
function copyTo(place) {
  const inside = join(place, "contracts");
  cpSync(root, inside, { recursive: true, filter: (path) => !/node_modules|\/(out|cache)($|\/)/.test(relative(root, path)) });
  symlinkSync(join(root, "node_modules"), join(inside, "node_modules"));
  cpSync(join(root, "..", "tests", "vectors"), join(place, "tests", "vectors"), { recursive: true });
  return inside;
}

/** Whether the unit tests of these files pass in a copy. */
function pass(inside, files, { except = "Invariants|Gas", environment = {} } = {}) {
  return new Promise((done) => {
    const run = spawn(
      process.execPath,
      [join(inside, "scripts", "forge.js"), "test", "--fail-fast", "--no-match-contract", except, "--match-path", `{${files.join(",")},none}`],
      { detached: true, stdio: "ignore", env: { ...process.env, ...environment } },
    );
    const limit = setTimeout(() => process.kill(-run.pid, "SIGKILL"), 600_000); // it was noticed, too
    run.on("close", (status) => {
      clearTimeout(limit);
      done(status === 0);
    });
  });
}

async function main(place) {
  // One copy whose tests deploy what was compiled here, so that forge compiles nothing: most mutants fall to it. What
  // it lets pass meets all tests, fuzzed in full, in another copy whose sources forge compiles as they will be.
  const quick = copyTo(join(place, "quick"));
  const full = copyTo(join(place, "full"));
  for (const [file, from, to] of [
    ["test/world/Vm.sol", "interface Vm {", "interface Vm {\n function deployCode(string calldata, bytes calldata) external returns (address);"],
    ["test/world/Escrow.sol", "import {IDisputes}", 'import {vm} from "./Vm.sol";\nimport {IDisputes}'],
    ["test/world/Escrow.sol", "address(new Lifecycle())", 'vm.deployCode("Lifecycle.json", "")'],
    ["test/world/Escrow.sol", "address(new Disputes(lifecycle))", 'vm.deployCode("Disputes.json", abi.encode(lifecycle))'],
    ["test/world/Escrow.sol", "address(new Fairshare(disputes))", 'vm.deployCode("Fairshare.json", abi.encode(disputes))'],
    ["test/Vectors.t.sol", "address(new Fairshare(address(0)))", 'vm.deployCode("Fairshare.json", abi.encode(address(0)))'],
  ]) {
    const text = readFileSync(join(quick, file), "utf8");
    if (!text.includes(from)) throw new Error(`${file} has no "${from}" to put the mutant in its place`);
    writeFileSync(join(quick, file), text.replace(from, to));
  }
  const deployers = tests.filter((test) => reach.get(test).has("src/Fairshare.sol"));
  const put = (codes) =>
    codes.forEach((code, at) =>
      writeFileSync(join(quick, `${PARTS[at]}.json`), JSON.stringify({ abi: [], bytecode: { object: `0x${code}` } })),
    );
  const gas = { FOUNDRY_GAS_LIMIT: "3000000000" }; // a loop without an end runs out of it in seconds
  const inQuick = {
    except: "Invariants|Gas|Attested",
    environment: { ...gas, FOUNDRY_FUZZ_RUNS: "8", FOUNDRY_CODE_SIZE_LIMIT: "1000000" },
  };
  const inFull = { environment: { ...gas, FOUNDRY_DYNAMIC_TEST_LINKING: "true" } };
  put(compile());
  if (!(await pass(quick, deployers, inQuick))) throw new Error("the tests fail without any mutant");

  const count = { noticed: 0, unbuilt: 0, equivalent: 0 };
  const wrong = stale.map((key) => `listed in equivalent.json, but there is no such mutant: ${key}`);
  for (const [number, mutant] of mutants.entries()) {
    const code = compile(mutant);
    let verdict = "unbuilt";
    const listed = equivalents.has(name(mutant));
    if (code !== undefined) {
      put(code);
      let survived = await pass(quick, deployers, inQuick);
      if (survived) {
        writeFileSync(join(full, mutant.file), mutant.text);
        survived = await pass(full, tests.filter((test) => reach.get(test).has(mutant.file)), inFull);
        writeFileSync(join(full, mutant.file), mutant.before);
      }
      verdict = !survived ? "noticed" : listed ? "equivalent" : "SURVIVED";
    }
    const what = describe(mutant);
    console.log(`${number + 1}/${mutants.length} ${verdict} ${what}`);
    if (verdict === "SURVIVED") wrong.push(`survived: ${what}`);
    else count[verdict]++;
    if (listed && verdict !== "equivalent") wrong.push(`listed in equivalent.json, but ${verdict}: ${what}`);
  }
  for (const problem of wrong) console.log(problem);
  console.log(JSON.stringify({ mutants: everything.length, tried: mutants.length, ...count, wrong: wrong.length }));
  return wrong.length === 0 ? 0 : 1;
}

const place = mkdtempSync(join(tmpdir(), "mutants-"));
main(place)
  .finally(() => rmSync(place, { recursive: true, force: true }))
  .then((status) => process.exit(status));
