/** The walk of `docs/adding-a-provider.md`, walked: its blocks are put into a copy of the server and run. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { promisify } from "node:util";

const root = join(import.meta.dirname, "../..");
const run = promisify(execFile);

type Block = { language: string; path: string; text: string };

function readWalk(): Promise<string> {
  return readFile(join(root, "docs/adding-a-provider.md"), "utf8");
}

/** What a run says that it has tested; the walk has a recording of one. */
function namesIn(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, name = ""]) => name);
}

/** The walk's fenced blocks that name a file behind their language. */
async function readBlocks(): Promise<Block[]> {
  return [...(await readWalk()).matchAll(/^```(\w+) (\S+)\n(.*?)^```$/gms)].map(
    ([, language = "", path = "", text = ""]) => ({ language, path, text }),
  );
}

/** A copy of the server with the blocks put into it; it ends with the test. */
async function buildWalk(context: TestContext, blocks: readonly Block[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-walk-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  await copyServer(folder);
  for (const block of blocks) await applyBlock(folder, block);
  return folder;
}

/** Puts the added lines of a block behind its other ones, which stand in the file once. */
function applyDiff(file: string, { path, text }: Block): string {
  const lines = text.trimEnd().split("\n");
  const textOf = (sign: string): string =>
    lines
      .filter((line) => line.startsWith(sign))
      .map((line) => `${line.slice(1)}\n`)
      .join("");
  const place = textOf(" ");
  assert.equal(file.split(place).length, 2, `${path} has this once: ${place}`);
  return file.replace(place, () => place + textOf("+"));
}

async function copyServer(folder: string): Promise<void> {
  for (const part of ["server/src", "server/test", "client/src"]) {
    await cp(join(root, part), join(folder, part), { recursive: true });
  }
  for (const part of [
    "package.json",
    "tsconfig.base.json",
    "server/package.json",
    "server/tsconfig.json",
  ]) {
    await cp(join(root, part), join(folder, part));
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
}

async function applyBlock(folder: string, block: Block): Promise<void> {
  const file = join(folder, block.path);
  if (block.language === "diff") {
    await writeFile(file, applyDiff(await readFile(file, "utf8"), block));
    return;
  }
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, block.text, { flag: "wx" });
}

test("the walk through adding a provider ends in a provider that keeps the adapter contract", async (context) => {
  const blocks = await readBlocks();
  assert.deepEqual(
    blocks.map(({ path }) => path),
    [
      "server/src/providers/kiln.ts",
      "server/src/providers/registry.ts",
      "server/src/providers/registry.ts",
      "server/test/fixtures/kiln/errors.json",
      "server/src/providers/kiln.test.ts",
    ],
  );
  const folder = await buildWalk(context, blocks);

  const suite = "server/src/providers/kiln.test.ts";
  // A run inside a run would report to the outer one instead of its own output.
  const { NODE_TEST_CONTEXT: _outer, ...env } = process.env;
  const { stdout } = await run(
    process.execPath,
    ["--test", "--test-reporter=tap", "--test-timeout=60000", suite],
    { cwd: folder, env },
  );
  assert.match(stdout, /^# fail 0$/m);
  const recorded = namesIn(await readWalk(), /^ +[✔﹣] (.*?)(?: # .*)?$/gmu);
  assert.ok(recorded.length > 10);
  assert.deepEqual(namesIn(stdout, /^ +ok \d+ - (.*?)(?: # SKIP.*)?$/gm), recorded);

  const registry =
    'import { loadProvider } from "./server/src/providers/registry.ts";' +
    'process.stdout.write(loadProvider("kiln").baseUrl ?? "");';
  const found = await run(process.execPath, ["--input-type=module", "-e", registry], {
    cwd: folder,
  });
  assert.equal(found.stdout, "https://api.kiln.example");
});

test("the walk's code passes the type checker", async (context) => {
  const folder = await buildWalk(context, await readBlocks());
  const files = ["kiln.ts", "kiln.test.ts", "registry.ts"].map(
    (name) => `server/src/providers/${name}`,
  );
  await writeFile(
    join(folder, "server/tsconfig.walk.json"),
    JSON.stringify({
      extends: "./tsconfig.json",
      include: [],
      files: files.map((file) => `../${file}`),
    }),
  );
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  await run(process.execPath, [tsc, "--noEmit", "-p", "server/tsconfig.walk.json"], {
    cwd: folder,
  });
});
