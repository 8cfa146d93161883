// Takes the fix of each of an audit's findings 1 to 5 out of a copy of this folder, and expects the economic invariants to
// notice: they would be worth nothing if they held without. See test/invariant/README.md and SECURITY.md.
//
//   npm run unfix                     each fix (a minute or two each)
//   npm run unfix -- --finding 4      one of them
const { spawnSync } = require("child_process");
const { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } = require("fs");
const { tmpdir } = require("os");
const { join, relative } = require("path");

const root = join(__dirname, "..");

const RECEIPTS_PAY = [
  "src/Disputes.sol",
  "        _convict(t, header, msg.sender, 0, false);\n    }\n\n    /// @inheritdoc IDisputes\n    function proveDisorder",
  "        _convict(t, header, msg.sender, t.bond / 2, false);\n    }\n\n    /// @inheritdoc IDisputes\n    function proveDisorder",
];
const BOUNTY_COUNTS = ["src/Lifecycle.sol", "uint256 bond = t.bond - t.bounty;\n        uint256 refund", "uint256 bond = t.bond;\n        uint256 refund"];

// What each finding was, and the lines that bring it back: file, as it is, as it was.
const FIXES = {
  1: {
    was: "the sponsor escrows the coordinator's bond, half of which a proven receipt pays",
    changes: [
      RECEIPTS_PAY,
      BOUNTY_COUNTS,
      ["src/Lifecycle.sol", "uint256 pool = rest + bond - refund;", "uint256 pool = rest + bond - t.bounty - refund;"],
      ["src/Lifecycle.sol", "_pull(_token(t), msg.sender, t.bond);", "_pull(_token(t), t.sponsor, t.bond);"],
      ["src/Lifecycle.sol", "_credit(_token(t), t.coordinator, t.bond);", "_credit(_token(t), t.sponsor, t.bond);"],
      ["test/invariant/Economy.sol", "_fund(COORDINATOR, terms.bond);", "_fund(SPONSOR, terms.bond);"],
    ],
  },
  2: {
    was: "all that void rounds and those to come would have paid goes back to the sponsor",
    changes: [["src/Lifecycle.sol", "        if (refund > bond) refund = bond;\n", ""]],
  },
  3: {
    was: "convicting oneself by a receipt costs half of what silence does",
    changes: [
      RECEIPTS_PAY,
      BOUNTY_COUNTS,
      ["src/Lifecycle.sol", "uint256 pool = rest + bond - refund;", "uint256 pool = rest + bond - t.bounty - refund;"],
    ],
  },
  4: {
    was: "a demand costs by how many were made, whoever made them",
    changes: [
      ["src/Challenges.sol", "uint32 number = ++_demanded[id][msg.sender];", "uint32 number = ++_demanded[id][address(0)];"],
    ],
  },
  5: {
    was: "a challenge that fails leaves its round's window as it was",
    changes: [["src/Challenges.sol", "if (!hold.reopened && round <= p.posted()) {", "if (round > p.posted() && round <= p.posted()) {"]],
  },
  6: {
    was: "an evaluator's stake pays who shows its signature (no finding: the rule that nobody gets it)",
    changes: [["src/Evaluators.sol", "hold.burned += uint128(burned);", "_credit(_token(t), msg.sender, burned);"]],
  },
  7: {
    was: "an evaluator answers for receipts that it cannot know (no finding: the rule that it does not)",
    changes: [
      [
        "src/Disputes.sol",
        "        _convict(t, header, msg.sender, 0, false);\n    }\n\n    /// @inheritdoc IDisputes\n    function proveDisorder",
        "        _convict(t, header, msg.sender, 0, true);\n    }\n\n    /// @inheritdoc IDisputes\n    function proveDisorder",
      ],
    ],
  },
};

function copyTo(place) {
  const inside = join(place, "contracts");
  // Without the tests that have no part in it: most of the time goes into compiling.
  const left = /node_modules|^(out|cache)($|\/)|^test\/(?!invariant\/Economy).*\.t\.sol$|^test\/symbolic/;
  cpSync(root, inside, { recursive: true, filter: (path) => !left.test(relative(root, path)) });
  symlinkSync(join(root, "node_modules"), join(inside, "node_modules"));
  return inside;
}

/** What the economic invariants say of a copy: whether they hold, and what was broken if they do not. */
function play(inside) {
  const run = spawnSync(
    process.execPath,
    [join(inside, "scripts", "forge.js"), "test", "--fail-fast", "--match-contract", "EconomyInvariants"],
    { encoding: "utf8", env: { ...process.env, FOUNDRY_PROFILE: "quick", FOUNDRY_OPTIMIZER: "false", FOUNDRY_CODE_SIZE_LIMIT: "1000000" }, maxBuffer: 2 ** 28 },
  );
  const said = run.stdout + run.stderr;
  if (/Compiler run failed/.test(said)) throw new Error(said);
  const failures = [...said.matchAll(/\[FAIL[^\n]*?: ([^\]\n]*)\]? ?[^\n]*/g)].map(([line]) => line.slice(0, 160));
  return { holds: run.status === 0, failures: [...new Set(failures)] };
}

function main(place) {
  const inside = copyTo(place);
  const only = process.argv.indexOf("--finding");
  const chosen = Object.entries(FIXES).filter(([finding]) => only < 0 || finding === process.argv[only + 1]);
  const unnoticed = [];
  for (const [finding, { was, changes }] of chosen) {
    const files = new Map();
    for (const [file, now, then] of changes) {
      const text = files.get(file) ?? readFileSync(join(root, file), "utf8");
      if (text.split(now).length !== 2) throw new Error(`${file} has not once what takes out the fix of finding ${finding}: ${now}`);
      files.set(file, text.replace(now, () => then));
    }
    for (const [file, text] of files) writeFileSync(join(inside, file), text);
    const { holds, failures } = play(inside);
    for (const file of files.keys()) writeFileSync(join(inside, file), readFileSync(join(root, file), "utf8"));
    console.log(`${finding} ${holds ? "NOT NOTICED" : "noticed"}: ${was}`);
    for (const failure of failures) console.log(`    ${failure}`);
    if (holds) unnoticed.push(finding);
  }
  if (only < 0 && !play(inside).holds) throw new Error("the invariants fail with every fix in place, so that says nothing");
  return unnoticed.length === 0 ? 0 : 1;
}

const place = mkdtempSync(join(tmpdir(), "unfixed-"));
try {
  process.exitCode = main(place);
} finally {
  rmSync(place, { recursive: true, force: true });
}
