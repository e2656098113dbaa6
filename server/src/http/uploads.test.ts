import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import type { FastifyInstance } from "fastify";

import { bearer, createTestServer, exchange, listen, testToken } from "../../test/support/http.ts";
import type { TestServer, TestServerOptions } from "../../test/support/http.ts";
import type { UploadInput } from "../images/uploads.ts";
import { AppError } from "../lib/errors.ts";
import { registerUploads, uploadBytesMax } from "./uploads.ts";

type Setup = TestServer & { saved: UploadInput[] };

function setup(t: TestContext, options: TestServerOptions & { failure?: AppError } = {}): Setup {
  const server = createTestServer(t, options);
  const saved: UploadInput[] = [];
  registerUploads(server.app, {
    auth: server.auth,
    saveUpload: async (input) => {
      if (options.failure !== undefined) throw options.failure;
      saved.push(input);
      return {
        url: "https://pictures.example.com/f/1.a.b/c.png",
        filename: input.filename,
        contentType: "image/png",
        bytes: input.bytes.length,
        createdAt: server.clock.now(),
      };
    },
  });
  return { ...server, saved };
}

type Part = { name: string; filename?: string; bytes: Buffer | string };

function encode(parts: readonly Part[]): Buffer {
  const chunks = parts.flatMap(({ name, filename, bytes }) => [
    Buffer.from(
      `--edge\r\nContent-Disposition: form-data; name="${name}"` +
        `${filename === undefined ? "" : `; filename="${filename}"`}\r\n\r\n`,
    ),
    Buffer.from(bytes),
    Buffer.from("\r\n"),
  ]);
  return Buffer.concat([...chunks, Buffer.from("--edge--\r\n")]);
}

const multipart = { ...bearer, "content-type": "multipart/form-data; boundary=edge" };

async function upload(app: FastifyInstance, payload: Buffer, headers: object = multipart) {
  return app.inject({
    method: "POST",
    url: "/v1/uploads/images",
    headers: { ...headers },
    payload,
  });
}

test("an upload is answered with exactly five flat fields", async (t) => {
  const { app, saved, clock } = setup(t);
  const reply = await upload(app, encode([{ name: "file", filename: "fox.png", bytes: "png" }]));
  assert.equal(reply.statusCode, 200);
  assert.deepEqual(reply.json(), {
    url: "https://pictures.example.com/f/1.a.b/c.png",
    filename: "fox.png",
    content_type: "image/png",
    bytes: 3,
    created_at: clock.now() / 1_000,
  });
  assert.equal(Buffer.from(saved[0]!.bytes).toString(), "png");
  assert.deepEqual([saved[0]!.accountId, saved[0]!.mode], ["acc_1", "test"]);
});

test("a form of a real client arrives byte for byte", async (t) => {
  const { app, saved } = setup(t);
  const origin = await listen(app);
  const bytes = Buffer.alloc(5_000_000, "\r\n--edge");
  const form = new FormData();
  form.append("purpose", "reference");
  form.append("file", new Blob([bytes], { type: "image/png" }), "füchse.png");
  const reply = await fetch(`${origin}/v1/uploads/images`, {
    method: "POST",
    headers: bearer,
    body: form,
  });
  assert.equal(reply.status, 200);
  assert.equal(saved[0]!.filename, "füchse.png");
  assert.ok(bytes.equals(saved[0]!.bytes));
});

test("a file of 20 MiB passes, one byte more is 413 whether its length is declared or not", async (t) => {
  const { app, saved } = setup(t);
  const fits = encode([{ name: "file", filename: "a.png", bytes: Buffer.alloc(uploadBytesMax) }]);
  assert.equal((await upload(app, fits)).statusCode, 200);
  assert.equal(saved[0]!.bytes.length, uploadBytesMax);

  const over = encode([
    { name: "file", filename: "a.png", bytes: Buffer.alloc(uploadBytesMax + 1) },
  ]);
  const reply = await upload(app, over);
  assert.equal(reply.statusCode, 413);
  assert.equal(reply.json().error.reason, "image_too_large");
  assert.equal(reply.json().error.param, "file");
  assert.match(reply.json().error.message, /20971520 bytes \(20 MiB\)/);
  assert.equal(saved.length, 1);
});

test("what is declared far too large is refused before it is read", async (t) => {
  const { app } = setup(t);
  const reply = await exchange(
    app,
    `POST /v1/uploads/images HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${testToken}\r\n` +
      "Content-Type: multipart/form-data; boundary=edge\r\n" +
      // The body never comes: only an answer that does not wait for it can be read.
      "Content-Length: 500000000\r\nConnection: close\r\n\r\n",
  );
  assert.match(reply, /^HTTP\/1\.1 413 /);
  assert.match(reply, /the upload has 500000000 bytes, more than the 20971520 bytes/);
});

test("a client that sends on after a refusal reads it, and its connection goes on", async (t) => {
  const { app } = setup(t);
  const body = encode([
    { name: "picture", filename: "a.png", bytes: "early refusal" },
    { name: "file", filename: "a.png", bytes: Buffer.alloc(10_000_000, "x") },
  ]).toString("latin1");
  const reply = await exchange(
    app,
    `POST /v1/uploads/images HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${testToken}\r\n` +
      "Content-Type: multipart/form-data; boundary=edge\r\n" +
      `Content-Length: ${body.length}\r\n\r\n${body}` +
      "GET /nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
  );
  assert.match(reply, /^HTTP\/1\.1 400 /);
  assert.match(reply, /HTTP\/1\.1 404 /);
});

const refusedForms: [what: string, payload: Buffer, message: RegExp][] = [
  ["has no parts", encode([]), /part file is missing/],
  ["is empty", Buffer.alloc(0), /part file is missing/],
  ["has only texts", encode([{ name: "a", bytes: "b" }]), /part file is missing/],
  ["has file as a text", encode([{ name: "file", bytes: "png" }]), /part file is a text/],
  [
    "has its file under another name",
    encode([{ name: "image", filename: "a.png", bytes: "png" }]),
    /a file in part "image" is not accepted/,
  ],
  [
    "has two files",
    encode([
      { name: "file", filename: "a.png", bytes: "png" },
      { name: "file", filename: "b.png", bytes: "png" },
    ]),
    /a second part file is not accepted/,
  ],
  ["has an empty file", encode([{ name: "file", filename: "a.png", bytes: "" }]), /file is empty/],
  ["names a part __proto__", encode([{ name: "__proto__", bytes: "x" }]), /not well-formed/],
  [
    "breaks off inside the file",
    encode([{ name: "file", filename: "a.png", bytes: "png".repeat(1_000) }]).subarray(0, 500),
    /not well-formed/,
  ],
  ["has another boundary", Buffer.from("--other\r\n\r\nx\r\n--other--\r\n"), /missing|well-formed/],
  ["is noise", Buffer.from("\r\n\r\n\u0000\u0001--edge"), /missing|well-formed/],
  [
    "has a hundred texts",
    encode(Array.from({ length: 100 }, (_, i) => ({ name: `n${i}`, bytes: "x" }))),
    /not well-formed/,
  ],
];

for (const [what, payload, message] of refusedForms) {
  test(`a form that ${what} is 400 and says what is wanted`, async (t) => {
    const { app, saved } = setup(t);
    const reply = await upload(app, payload);
    assert.equal(reply.statusCode, 400, reply.body);
    assert.match(reply.json().error.message, message);
    assert.deepEqual(saved, []);
  });
}

test("anything but multipart is 415 and says what is wanted", async (t) => {
  const { app } = setup(t);
  for (const type of ["application/json", "image/png", "multipart/mixed; boundary=edge"]) {
    const reply = await upload(app, Buffer.from("{}"), { ...bearer, "content-type": type });
    assert.equal(reply.statusCode, 415, type);
    assert.match(reply.json().error.message, /use multipart\/form-data with one part named file/);
  }
  const bare = await upload(app, Buffer.alloc(0), bearer);
  assert.equal(bare.statusCode, 415);
  assert.match(bare.json().error.message, /Content-Type is missing/);
});

test("multipart without a boundary is 400", async (t) => {
  const { app } = setup(t);
  const headers = { ...bearer, "content-type": "multipart/form-data" };
  const reply = await upload(app, encode([]), headers);
  assert.equal(reply.statusCode, 400);
  assert.equal(reply.json().error.reason, "invalid_body");
});

test("a name for display has no path, no control characters and at most 100 characters", async (t) => {
  const { app, saved } = setup(t);
  const names: Record<string, string> = {
    "../../etc/passwd": "passwd",
    "C:\\\\pictures\\\\fox.png": "fox.png",
    "a\u0007\u202Eb.png": "ab.png",
    "": "file",
    [`${"x".repeat(200)}.png`]: "x".repeat(100),
    [`${"x".repeat(99)}😀`]: `${"x".repeat(99)}\ufffd`,
  };
  for (const [filename, shown] of Object.entries(names)) {
    const reply = await upload(app, encode([{ name: "file", filename, bytes: "png" }]));
    assert.equal(reply.statusCode, 200, reply.body);
    assert.equal(saved.at(-1)!.filename, shown);
  }
});

test("what the verb refuses is answered as it says", async (t) => {
  const failure = new AppError("invalid_image", "part file is no picture", { param: "file" });
  const { app } = setup(t, { failure });
  const reply = await upload(app, encode([{ name: "file", filename: "a.png", bytes: "x" }]));
  assert.equal(reply.statusCode, 400);
  assert.equal(reply.json().error.reason, "invalid_image");
});

test("uploads count against the key's allowance, and need a key", async (t) => {
  const { app } = setup(t, { key: { requestsPerMinute: 1 } });
  const form = encode([{ name: "file", filename: "a.png", bytes: "png" }]);
  assert.equal((await upload(app, form)).statusCode, 200);
  assert.equal((await upload(app, form)).statusCode, 429);
  const { authorization: _none, ...headers } = multipart;
  assert.equal((await upload(app, form, headers)).statusCode, 401);
});
