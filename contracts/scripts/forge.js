// Runs the pinned forge on this folder. The binary lies in the platform package even where npm skips install scripts.
const { spawnSync } = require("child_process");
const { readdirSync } = require("fs");
const { join } = require("path");

const root = join(__dirname, "..");
const scope = join(root, "node_modules", "@foundry-rs");
const platform = readdirSync(scope).find((name) => name.startsWith("forge-"));
if (!platform) throw new Error("no forge in node_modules; run `npm ci` in contracts/ first");
const args = process.argv.slice(2);
const run = spawnSync(join(scope, platform, "bin", "forge"), [...args, "--root", root], { stdio: "inherit", cwd: root });
process.exit(run.status ?? 1);
