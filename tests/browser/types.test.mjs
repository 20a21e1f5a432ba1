// The types of the library and the page, for the compiler of TypeScript.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** @param {string[]} args */
function compile(...args) {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [here("node_modules/typescript/bin/tsc"), ...args], (error, output) => {
      if (error) reject(new Error(`tsc ${args.join(" ")}:\n${output}`));
      else resolve(output);
    });
  });
}

test("library and page are well typed, and the library's types are what its users need", async () => {
  await compile("--project", here("."));
});

test("the library's types need no DOM", async () => {
  await compile("--project", here("tsconfig.node.json"));
});

test("the .d.ts files are what the compiler makes of the library: if not, run `npm run types`", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "statesync-types-"));
  t.after(() => rm(directory, { recursive: true }));
  await compile("--project", here("tsconfig.declaration.json"), "--outDir", directory);
  for (const name of ["statesync.d.ts", "json_patch.d.ts"]) {
    const made = await readFile(join(directory, name), "utf8");
    assert.equal(await readFile(here(`../../web/${name}`), "utf8"), made);
  }
});
