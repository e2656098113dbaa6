import assert from "node:assert/strict";
import { test } from "node:test";

import { AppError } from "./errors.ts";
import { systemRandom } from "./random.ts";
import { createSecrets } from "./secrets.ts";
import { createVault } from "./vault.ts";
import type { Vault } from "./vault.ts";

const secret = "sk-vendor-key-0123456789";

function createTestVault(master = 1): Vault {
  const key = createSecrets(Buffer.alloc(32, master)).derive("vault");
  return createVault({ key, random: systemRandom });
}

function assertClosed(vault: Vault, name: string, envelope: string): void {
  assert.throws(
    () => vault.open(name, envelope),
    (error) => {
      assert.ok(error instanceof AppError);
      assert.equal(error.reason, "unavailable");
      assert.match(error.message, /the stored secret of channel \w+ cannot be opened: /);
      assert.doesNotMatch(error.message, /sk-vendor/);
      return true;
    },
    envelope,
  );
}

test("what is sealed opens again, under another process's vault of the same secret too", () => {
  for (const text of [secret, "", "käse ☃"]) {
    const envelope = createTestVault().seal("channel openai", text);
    assert.equal(createTestVault().open("channel openai", envelope), text);
  }
});

test("an envelope shows nothing of its text and is another one every time", () => {
  const vault = createTestVault();
  const [first, second] = [vault.seal("channel a", secret), vault.seal("channel a", secret)];
  assert.notEqual(first, second);
  assert.match(first, /^v1\.[\w-]{16}\.[\w-]+$/);
  const bytes = Buffer.from(first.split(".")[2]!, "base64url");
  assert.ok(!first.includes("vendor") && !bytes.includes("vendor"));
});

test("the nonce comes from the injected randomness", () => {
  const key = createSecrets(Buffer.alloc(32)).derive("vault");
  const random = { bytes: (size: number) => Buffer.alloc(size, 5), fraction: () => 0 };
  const vault = createVault({ key, random });
  assert.equal(vault.seal("a", secret), vault.seal("a", secret));
  assert.equal(vault.seal("a", secret).split(".")[1], Buffer.alloc(12, 5).toString("base64url"));
});

test("an envelope does not open for another name", () => {
  const vault = createTestVault();
  assertClosed(vault, "channel bfl", vault.seal("channel openai", secret));
});

test("an envelope does not open with another secret file", () => {
  assertClosed(createTestVault(2), "channel a", createTestVault(1).seal("channel a", secret));
});

test("an envelope of which any byte was changed does not open", () => {
  const vault = createTestVault();
  const parts = vault.seal("channel a", secret).split(".");
  for (const part of [1, 2]) {
    const length = Buffer.from(parts[part]!, "base64url").length;
    for (let at = 0; at < length; at += 1) {
      const bytes = Buffer.from(parts[part]!, "base64url");
      bytes[at] = bytes[at]! ^ 1;
      assertClosed(vault, "channel a", parts.with(part, bytes.toString("base64url")).join("."));
    }
  }
});

test("what is no envelope is refused in words", () => {
  const vault = createTestVault();
  const [, nonce, sealed] = vault.seal("channel a", secret).split(".");
  const broken = ["", "v1", `v2.${nonce}.${sealed}`, `v1.${nonce}`, `v1.AA.${sealed}`];
  for (const envelope of [...broken, `v1.${nonce}.${sealed}.x`, `v1.${nonce}.AAAA`, secret]) {
    assertClosed(vault, "channel a", envelope);
  }
});
