import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";

import { systemRandom } from "../lib/random.ts";
import { createLinks } from "./links.ts";
import type { CheckedLink, Links } from "./links.ts";
import { objectName } from "./names.ts";

const startMs = Date.UTC(2026, 6, 27, 12);

type Setup = {
  links: Links;
  secret: Buffer;
  object: string;
  now: { ms: number };
  verify: (path: string) => CheckedLink;
};

function setup(): Setup {
  const now = { ms: startMs };
  const secret = systemRandom.bytes(32);
  const links = createLinks({ secret, clock: { now: () => now.ms } });
  const verify = (path: string) => links.verify(...segmentsOf(path));
  return { links, secret, now, object: objectName(systemRandom), verify };
}

function segmentsOf(path: string): [segment: string, file: string] {
  const [empty, f, segment, file, ...rest] = path.split("/");
  assert.deepEqual([empty, f, rest], ["", "f", []]);
  return [segment!, file!];
}

test("a signed link leads back to its object until the second of its expiry", () => {
  const { links, object, now, verify } = setup();
  const path = links.sign(object, "png", startMs + 60_000);
  const expected = { object, extension: "png", expiresAtMs: startMs + 60_000 };
  assert.deepEqual(verify(path), { state: "valid", ...expected });
  now.ms = startMs + 59_999;
  assert.deepEqual(verify(path), { state: "valid", ...expected });
  now.ms = startMs + 60_000;
  assert.deepEqual(verify(path), { state: "expired", ...expected });
});

test("signing again gives the same link, so polling never prolongs one", () => {
  const { links, object, now } = setup();
  const first = links.sign(object, "png", startMs + 60_999);
  now.ms += 30_000;
  assert.equal(links.sign(object, "png", startMs + 60_000), first);
});

test("the signature is HMAC-SHA256 over version, expiry, object and extension", () => {
  const { links, secret, object } = setup();
  const path = links.sign(object, "jpg", startMs);
  const expiry = startMs / 1_000;
  const keyId = createHmac("sha256", secret).update("darkroom link key id").digest("hex");
  const signature = createHmac("sha256", secret)
    .update(`darkroom link v1\n${expiry}\n${object}\njpg`)
    .digest("base64url");
  assert.equal(path, `/f/${expiry}.${keyId.slice(0, 8)}.${signature}/${object}.jpg`);
});

test("a link has no query and its last segment is a file name", () => {
  const { links, object } = setup();
  const url = new URL(links.sign(object, "webp", startMs), "https://x.example");
  assert.equal(url.search, "");
  assert.equal(url.pathname.split("/").at(-1), `${object}.webp`);
});

test("no character of a link can be changed", () => {
  const { links, object, verify } = setup();
  const path = links.sign(object, "png", startMs + 60_000);
  for (let at = "/f/".length; at < path.length; at++) {
    for (const other of "0aA-_.7") {
      if (path[at] === other) continue;
      const changed = `${path.slice(0, at)}${other}${path.slice(at + 1)}`;
      assert.deepEqual(verify(changed), { state: "invalid" }, changed);
    }
  }
});

test("a signature has one spelling: the spare bits of its last character count", () => {
  const { links, object, verify } = setup();
  const path = links.sign(object, "png", startMs + 60_000);
  const [, segment] = /^\/f\/([^/]+)\//.exec(path)!;
  const signature = segment!.split(".")[2]!;
  const digest = Buffer.from(signature, "base64url");
  const spellings = Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    .map((last) => `${signature.slice(0, -1)}${last}`)
    .filter((text) => Buffer.from(text, "base64url").equals(digest));
  assert.equal(spellings.length, 4);
  const accepted = spellings.filter(
    (text) => verify(path.replace(signature, text)).state === "valid",
  );
  assert.deepEqual(accepted, [signature]);
});

test("parts of two links cannot be combined", () => {
  const { links, object, verify } = setup();
  const [early] = segmentsOf(links.sign(object, "png", startMs + 1_000));
  const [late, file] = segmentsOf(links.sign(object, "png", startMs + 9_000));
  const [, other] = segmentsOf(links.sign(objectName(systemRandom), "png", startMs + 9_000));
  const [expiry] = late.split(".");
  const mixed = [`${expiry}.${early.split(".").slice(1).join(".")}`, file];
  assert.deepEqual(verify(`/f/${mixed.join("/")}`), { state: "invalid" });
  assert.deepEqual(links.verify(late, other), { state: "invalid" });
  assert.deepEqual(links.verify(late, file.replace("png", "jpg")), { state: "invalid" });
});

const malformed: [segment: string, file: string][] = [
  ["", ""],
  ["..", ".."],
  ["1.2.3", "a.png"],
  ["9".repeat(200), "a".repeat(200)],
  [`1.00000000.${"A".repeat(43)}`, "../../etc/passwd"],
  [`1.00000000.${"é".repeat(43)}`, `${"a".repeat(32)}.png`],
  [`1.00000000.${"A".repeat(43)}\n`, `${"a".repeat(32)}.png`],
  [`-1.00000000.${"A".repeat(43)}`, `${"a".repeat(32)}.png`],
  [`1.00000000.${"A".repeat(43)}`, `${"a".repeat(32)}.svg`],
  [`1.00000000.${"A".repeat(43)}`, `${"a".repeat(32)}.constructor`],
];

test("malformed links are invalid and never an error", () => {
  const { links } = setup();
  for (const [segment, file] of malformed) {
    assert.deepEqual(links.verify(segment, file), { state: "invalid" });
  }
});

test("after a rotation the links of the previous key still work, and new ones use the new key", () => {
  const { links: old, secret, object } = setup();
  const clock = { now: () => startMs };
  const next = systemRandom.bytes(32);
  const rotated = createLinks({ secret: next, previousSecret: secret, clock });
  const oldPath = old.sign(object, "png", startMs + 1_000);
  const newPath = rotated.sign(object, "png", startMs + 1_000);
  assert.notEqual(newPath, oldPath);
  assert.equal(rotated.verify(...segmentsOf(oldPath)).state, "valid");
  assert.equal(rotated.verify(...segmentsOf(newPath)).state, "valid");
  assert.equal(old.verify(...segmentsOf(newPath)).state, "invalid");
  const later = createLinks({ secret: next, clock });
  assert.equal(later.verify(...segmentsOf(oldPath)).state, "invalid");
  assert.equal(later.verify(...segmentsOf(newPath)).state, "valid");
});

test("what cannot be served cannot be signed, and a short key cannot sign", () => {
  const { links, object } = setup();
  assert.throws(() => links.sign("../escape", "png", startMs));
  assert.throws(() => links.sign(object, "svg", startMs));
  assert.throws(() => links.sign(object, "png", 0));
  assert.throws(() => links.sign(object, "png", Number.NaN));
  const clock = { now: () => startMs };
  assert.throws(() => createLinks({ secret: Buffer.alloc(31), clock }));
});

const bases = ["https://pictures.example.com", "http://127.0.0.1:8787", "https://x.example/a/b"];

test("our own links are recognised under every address of ours", () => {
  const { links, object } = setup();
  const path = links.sign(object, "png", startMs + 1_000);
  const urls = [
    `https://pictures.example.com${path}`,
    `HTTPS://Pictures.Example.COM:443${path}`,
    `https://pictures.example.com${path}?download=1#top`,
    `http://127.0.0.1:8787${path}`,
    `https://x.example/a/b${path}`,
  ];
  const expected = { state: "valid", object, extension: "png", expiresAtMs: startMs + 1_000 };
  for (const url of urls) assert.deepEqual(links.recognise(url, bases), expected, url);
});

test("an expired link is still recognised as ours", () => {
  const { links, object, now } = setup();
  const url = `https://pictures.example.com${links.sign(object, "png", startMs + 1_000)}`;
  now.ms += 2_000;
  assert.equal(links.recognise(url, bases)?.state, "expired");
});

test("links of other hosts, schemes, ports, paths and keys are strangers", () => {
  const { links, object } = setup();
  const path = links.sign(object, "png", startMs + 1_000);
  const foreign = createLinks({ secret: systemRandom.bytes(32), clock: { now: () => startMs } });
  const urls = [
    `http://pictures.example.com${path}`,
    `https://pictures.example.com:8443${path}`,
    `https://pictures.example.com.evil.example${path}`,
    `https://evil.example${path}`,
    `https://pictures.example.com@evil.example${path}`,
    `https://user@pictures.example.com${path}`,
    `https://x.example${path}`,
    `https://x.example/a/bc${path}`,
    `https://pictures.example.com/other${path}`,
    `https://pictures.example.com${path}/more`,
    `https://pictures.example.com${path.replace("/f/", "/g/")}`,
    `https://pictures.example.com${foreign.sign(object, "png", startMs + 1_000)}`,
    "https://pictures.example.com/f/",
    "https://pictures.example.com/",
    path,
    "not a url",
    "",
  ];
  for (const url of urls) assert.equal(links.recognise(url, bases), null, url);
  assert.equal(links.recognise(`https://pictures.example.com${path}`, []), null);
});
