// Proves what test/symbolic/ claims, by Halmos. It comes with a package:
// `pip install halmos==0.3.3`, in an environment of its own; HALMOS is that environment's bin folder if it is not on PATH.
const { spawnSync } = require("child_process");
const { readdirSync } = require("fs");
const { delimiter, join } = require("path");

const root = join(__dirname, "..");
const scope = join(root, "node_modules", "@foundry-rs");
const platform = readdirSync(scope).find((name) => name.startsWith("forge-"));
const path = [join(scope, platform, "bin"), process.env.HALMOS, process.env.PATH].filter(Boolean).join(delimiter);
const halmos = ["halmos", "--no-status", "--match-contract", "Symbolic", "--solver-timeout-assertion", "0", "--forge-build-out", "out"];
for (const [command, ...args] of [halmos]) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, PATH: path } });
  if (error) console.error(`${command}: ${error.message}; pip install halmos==0.3.3 and name its bin folder in HALMOS`);
  if (status !== 0) process.exit(status ?? 1);
}
