import assert from "node:assert/strict";
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { inspect } from "node:util";

import { systemRandom } from "./random.ts";
import { SecretFileError, createSecrets, hide, loadOrCreateSecrets } from "./secrets.ts";

async function setup(t: TestContext): Promise<{ folder: string; path: string }> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-secrets-"));
  t.after(() => rm(folder, { recursive: true }));
  return { folder, path: join(folder, "secret") };
}

test("the first start makes the file for its owner only, later ones read it", async (t) => {
  const { folder, path } = await setup(t);
  const first = await loadOrCreateSecrets(path, systemRandom);
  assert.equal(first.created, true);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.match(await readFile(path, "utf8"), /^[0-9a-f]{64}\n$/);
  assert.deepEqual(await readdir(folder), ["secret"]);
  const second = await loadOrCreateSecrets(path, systemRandom);
  assert.equal(second.created, false);
  assert.equal(second.secrets.fingerprint, first.secrets.fingerprint);
  assert.deepEqual(second.secrets.derive("links"), first.secrets.derive("links"));
});

test("processes that start at the same moment share one secret, and one of them made it", async (t) => {
  const { folder, path } = await setup(t);
  const starts = Array.from({ length: 20 }, () => loadOrCreateSecrets(path, systemRandom));
  const all = await Promise.all(starts);
  assert.equal(new Set(all.map(({ secrets }) => secrets.fingerprint)).size, 1);
  assert.equal(all.filter(({ created }) => created).length, 1);
  assert.deepEqual(await readdir(folder), ["secret"]);
});

test("a file that others can read is refused, with the way out", async (t) => {
  if (process.platform === "win32") return t.skip("no such modes");
  const { path } = await setup(t);
  await loadOrCreateSecrets(path, systemRandom);
  for (const mode of [0o640, 0o604, 0o660, 0o622, 0o644, 0o601, 0o444, 0o460, 0o450]) {
    await chmod(path, mode);
    await assert.rejects(loadOrCreateSecrets(path, systemRandom), (error: Error) => {
      assert.ok(error instanceof SecretFileError);
      assert.match(error.message, /secret is open to other users/);
      assert.ok(error.message.includes(mode.toString(8)), error.message);
      assert.match(error.message, /chmod 600/);
      return true;
    });
  }
  await chmod(path, 0o400);
  await loadOrCreateSecrets(path, systemRandom);
});

test("a file that was handed over to a group is taken: read-only, or of another owner", async (t) => {
  if (process.platform === "win32") return t.skip("no such modes");
  const { path } = await setup(t);
  const { secrets } = await loadOrCreateSecrets(path, systemRandom);
  const assertTaken = async (): Promise<void> => {
    const again = await loadOrCreateSecrets(path, systemRandom);
    assert.equal(again.secrets.fingerprint, secrets.fingerprint);
  };
  await chmod(path, 0o440);
  await assertTaken();
  // Only root can give a file away.
  if (process.getuid?.() !== 0) return;
  await chown(path, 65_534, 0);
  await chmod(path, 0o640);
  await assertTaken();
  await chmod(path, 0o660);
  await assert.rejects(loadOrCreateSecrets(path, systemRandom), /is open to other users/);
});

const malformed = {
  empty: "",
  short: "ab".repeat(31),
  long: "ab".repeat(33),
  "not hexadecimal": "zz".repeat(32),
  "two lines": `${"ab".repeat(32)}\n\n`,
  "a space before": ` ${"ab".repeat(32)}`,
};

for (const [name, text] of Object.entries(malformed)) {
  test(`a malformed file is refused and left as it is: ${name}`, async (t) => {
    const { path } = await setup(t);
    await writeFile(path, text, { mode: 0o600 });
    await assert.rejects(loadOrCreateSecrets(path, systemRandom), (error: Error) => {
      assert.ok(error instanceof SecretFileError);
      assert.match(error.message, /malformed; it must hold 64 hexadecimal characters/);
      assert.ok(text === "" || !error.message.includes(text.trim()), "the secret is not shown");
      return true;
    });
    assert.equal(await readFile(path, "utf8"), text);
  });
}

test("a secret made by another tool is taken, with or without an end of line", async (t) => {
  const { path } = await setup(t);
  const master = systemRandom.bytes(32);
  for (const end of ["", "\n", "\r\n"]) {
    await writeFile(path, `${master.toString("hex").toUpperCase()}${end}`, { mode: 0o600 });
    const { secrets } = await loadOrCreateSecrets(path, systemRandom);
    assert.equal(secrets.fingerprint, createSecrets(master).fingerprint);
  }
});

test("a folder in the place of the file, and a missing folder, are told apart", async (t) => {
  const { folder, path } = await setup(t);
  await mkdir(path);
  await assert.rejects(loadOrCreateSecrets(path, systemRandom), /is not a file/);
  const lost = join(folder, "missing", "secret");
  await assert.rejects(loadOrCreateSecrets(lost, systemRandom), /cannot be made: ENOENT/);
});

test("every purpose has its own key, and the fingerprint is part of none", () => {
  const secrets = createSecrets(Buffer.alloc(32, 1));
  const [links, keys] = [secrets.derive("links"), secrets.derive("api-keys")];
  assert.equal(links.byteLength, 32);
  assert.notDeepEqual(links, keys);
  assert.match(secrets.fingerprint, /^[0-9a-f]{16}$/);
  for (const key of [links, keys]) assert.ok(!key.toString("hex").includes(secrets.fingerprint));
});

test("the derivation never changes: links and API keys of old installations depend on it", () => {
  const secrets = createSecrets(Buffer.from("00".repeat(31) + "01", "hex"));
  assert.equal(
    secrets.derive("links").toString("hex"),
    "8ef4dfffff95d3e028137f460e19065cb50f3f0715847fe712a99ddd7e181f6b",
  );
  assert.equal(
    secrets.derive("api-keys").toString("hex"),
    "fd092a67d1225e146960ef5b8829593e317820f5925cff119cb0938cb1468584",
  );
  assert.equal(secrets.fingerprint, "186aee7e2990430c");
});

test("secrets and hidden values are not printed", () => {
  const master = Buffer.from("never-print-me-never-print-me-no");
  const shown = [createSecrets(master), hide("password")].flatMap((value) => [
    inspect(value, { depth: 9, showHidden: true }),
    JSON.stringify(value),
  ]);
  assert.doesNotMatch(shown.join(), /never-print-me|password/);
  assert.equal(String(hide("password")), "***");
  assert.equal(JSON.stringify({ url: hide("password") }), '{"url":"***"}');
  assert.equal(hide("password").reveal(), "password");
});
