// Prints the coverage of src/ by the unit tests, and fails below 100 % of lines or 95 % of branches.
const { execFileSync } = require("child_process");
const { join } = require("path");

const args = ["coverage", "--report", "summary", "--no-match-contract", "Invariants|Gas", "--no-match-coverage", "test|node_modules"];
const output = execFileSync(process.execPath, [join(__dirname, "forge.js"), ...args], {
  encoding: "utf8",
  stdio: ["ignore", "pipe", "inherit"],
  maxBuffer: 1 << 28,
});
const table = output.slice(output.indexOf("╭"));
console.log(table);
const [lines, , branches] = table.match(/^\| Total.*$/m)[0].match(/[\d.]+(?=%)/g).map(Number);
if (lines < 100 || branches < 95) {
  console.error(`lines ${lines} % (expected 100), branches ${branches} % (expected 95 or more)`);
  process.exit(1);
}
