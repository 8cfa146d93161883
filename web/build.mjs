// Bundles src/ into the files that the Python package ships. `--check` builds in memory and compares instead of writing.
//
// The first line of a bundle names the pinned versions in it, the sources that went into it, and one sha256 of those sources
// and the build's own files, so that a test can tell without Node.js whether a committed bundle is that of these sources.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const shipped = join(here, "..", "fl");
const BUNDLES = {
  "report/static/charts.js": "src/charts.ts",
  "dashboard/static/page.js": "src/page.tsx",
};

// What every bundle depends on, beside its own sources.
const BUILD = ["build.mjs", "package-lock.json", "package.json", "tsconfig.json"];

function sourcesIn(metafile) {
  return Object.keys(metafile.inputs).filter((path) => path.startsWith("src/")).sort();
}

function hashOf(sources) {
  const hash = createHash("sha256");
  for (const name of [...BUILD, ...sources].sort()) {
    hash.update(`${name}\0`).update(readFileSync(join(here, name))).update("\0");
  }
  return hash.digest("hex");
}

function packagesIn(metafile) {
  const [output] = Object.values(metafile.outputs);
  const kept = Object.entries(output.inputs).filter(([, input]) => input.bytesInOutput > 0);
  const names = kept.map(([path]) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  return [...new Set(names.filter(Boolean))].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
    return { name, version, license, text: file ? readFileSync(join(folder, file), "utf8").trim() : "" };
  });
}

// The licences ask to stand in every copy, and a report.html is one. Packages that share a text share its place.
function notices(packages) {
  const byText = new Map();
  for (const { name, version, license, text } of packages) {
    byText.set(text, [...(byText.get(text) ?? []), `${name} ${version}, ${license}`]);
  }
  const parts = [...byText].map(([text, names]) => `${names.join("\n")}\n\n${text}`);
  return `/*\n${parts.join(`\n\n${"-".repeat(80)}\n\n`).replaceAll("*/", "* /").replaceAll("</", "< /")}\n*/\n`;
}

const check = process.argv.includes("--check");
let stale = false;

function emit(path, text) {
  const target = join(shipped, path);
  if (check) {
    let old = "";
    try {
      old = readFileSync(target, "utf8");
    } catch {} // absent, so stale
    if (old !== text) {
      stale = true;
      console.error(`fl/${path} is not what these sources build; run npm run build in web/ and commit it`);
    }
    return;
  }
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, text);
  console.log(`fl/${path}  ${(text.length / 1024).toFixed(0)} KiB`);
}

for (const [target, entry] of Object.entries(BUNDLES)) {
  const result = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: "iife",
    target: "es2022",
    legalComments: "none", // the licences stand whole at the end
    charset: "utf8",
  });
  const packages = packagesIn(result.metafile);
  const versions = packages.map((wanted) => `${wanted.name} ${wanted.version}`).join(", ");
  const sources = sourcesIn(result.metafile);
  const line = `/* from ${sources.join(" ")}, sha256 ${hashOf(sources)}; with ${versions} */`;
  emit(target, `${line}\n${result.outputFiles[0].text}${notices(packages)}`);
}
process.exitCode = stale ? 1 : 0;
