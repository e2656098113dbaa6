/** Bad input, over real sockets: each refusal names the field, what was wrong and what is allowed. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { BalanceReply } from "../../../client/src/balance.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { exchange, refusalOf, submitPath } from "../support/client.ts";
import type { Client } from "../support/client.ts";

const links = (count: number) =>
  Array.from({ length: count }, (_, index) => `https://example.com/${index}.png`);

/** Name, body, field at fault, words of the message. */
type Case = [name: string, body: Record<string, unknown>, param: string, words: RegExp];

const cases: Case[] = [
  ["no model", {}, "model", /required.*\/v1\/models/],
  ["a model that is no text", { model: 7 }, "model", /string/],
  ["a number in quotes", { n: "2" }, "n", /without quotes.*1 to 4/],
  ["half a picture", { n: 1.5 }, "n", /integer/],
  ["n out of range", { model: "gemini-2.5-flash-image-preview", n: 5 }, "n", /5.*1 to 4/],
  ["n above one on FLUX", { model: "flux-2-pro", n: 2 }, "n", /flux-2-pro.*one picture/],
  [
    "a boolean in quotes",
    { model: "flux-kontext-pro", prompt_upsampling: "false" },
    "prompt_upsampling",
    /without quotes/,
  ],
  ["a foreign ratio", { model: "flux-2-pro", size: "21:9" }, "size", /"21:9".*1:1, 4:3/],
  ["a foreign word", { quality: "best" }, "quality", /"best".*auto, low, medium, high/],
  ["a size of the wrong type", { size: 1024 }, "size", /string/],
  [
    "a data URI where only URLs are taken",
    { model: "flux-2-pro", image_urls: ["data:image/png;base64,AAAA"] },
    "image_urls",
    /image_urls\[0\].*uploads/,
  ],
  [
    "bare base64 where a data URI is needed",
    { image_urls: ["A".repeat(64)] },
    "image_urls",
    /image_urls\[0\].*data:image/,
  ],
  [
    "a fifteenth Gemini reference",
    { model: "gemini-3.1-flash-image-preview", image_urls: links(15) },
    "image_urls",
    /15.*at most 14/,
  ],
  ["a sixteenth gpt-image-1 reference", { image_urls: links(16) }, "image_urls", /16.*at most 15/],
  [
    "a ninth flux-2 reference",
    { model: "flux-2-flex", image_urls: links(9) },
    "image_urls",
    /9.*at most 8/,
  ],
  [
    "a second Kontext reference",
    { model: "flux-kontext-max", image_urls: links(2) },
    "image_urls",
    /2.*at most 1/,
  ],
  [
    "references that are no list",
    { image_urls: "https://example.com/a.png" },
    "image_urls",
    /array/,
  ],
  [
    "a reference that is no text",
    { image_urls: ["https://example.com/a.png", 7] },
    "image_urls",
    /image_urls\[1\]/,
  ],
  ["an empty reference", { image_urls: [""] }, "image_urls", /image_urls\[0\] is empty/],
  ["a file URL", { image_urls: ["file:///etc/passwd"] }, "image_urls", /http/],
  ["an address without a scheme", { image_urls: ["example.com/a.png"] }, "image_urls", /http/],
  [
    "an address with a password",
    { image_urls: ["https://u:p@example.com/a.png"] },
    "image_urls",
    /password/,
  ],
  [
    "an address longer than 8,192 characters",
    { image_urls: [`https://example.com/${"a".repeat(8_192)}`] },
    "image_urls",
    /8,192/,
  ],
  [
    "a data URI of SVG",
    { image_urls: ["data:image/svg+xml;base64,PHN2Zz4="] },
    "image_urls",
    /jpeg|png|webp/,
  ],
  [
    "a data URI with blanks in it",
    { image_urls: ["data:image/png;base64,iVBO Rw0K"] },
    "image_urls",
    /base64/,
  ],
  [
    "a data URI in the URL alphabet",
    { image_urls: ["data:image/png;base64,iVBORw0K_-8="] },
    "image_urls",
    /base64/,
  ],
  [
    "a data URI without data",
    { image_urls: ["data:image/png;base64,"] },
    "image_urls",
    /without data/,
  ],
  [
    "a mask without references",
    { mask_url: "https://example.com/m.png" },
    "mask_url",
    /needs image_urls/,
  ],
  ["a list of masks", { image_urls: links(1), mask_url: links(1) }, "mask_url", /one string/],
  [
    "a mask on FLUX",
    { model: "flux-2-pro", image_urls: links(1), mask_url: links(1)[0] },
    "mask_url",
    /not supported by flux-2-pro/,
  ],
  ["no prompt", { prompt: undefined }, "prompt", /required/],
  ["an empty prompt", { prompt: "" }, "prompt", /blank|required/],
  ["a blank prompt", { prompt: " \n\u3000\u200b\u00ad" }, "prompt", /blank/],
  ["a prompt that is no text", { prompt: ["fox"] }, "prompt", /string/],
  ["a prompt with NUL", { prompt: "fox\u0000" }, "prompt", /NUL/],
  ["a prompt with half a character", { prompt: "fox \ud83d" }, "prompt", /surrogate/],
  ["a prompt above 32,000 characters", { prompt: "a".repeat(32_001) }, "prompt", /32,000/],
  [
    "a prompt above 1,000 characters on gemini-2.5",
    { model: "gemini-2.5-flash-image-preview", prompt: "é".repeat(1_001) },
    "prompt",
    /1,000/,
  ],
  [
    "a fallback on an official id",
    { official_fallback: true },
    "official_fallback",
    /not supported by gpt-image-1-official/,
  ],
  [
    "a fallback in quotes",
    { model: "gemini-2.5-flash-image-preview", official_fallback: "true" },
    "official_fallback",
    /true or false/,
  ],
  [
    "an image search without a search",
    { model: "gemini-3.1-flash-image-preview", google_image_search: true },
    "google_image_search",
    /needs google_search/,
  ],
];

let gateway: Gateway;
let client: Client;

before(async () => {
  gateway = await startGateway();
  client = await gateway.connect();
});

after(() => gateway.stop());

describe("a submit is refused with 400, without holding money, for", () => {
  for (const [name, body, param, words] of cases) {
    test(name, async () => {
      const model = name === "no model" ? {} : { model: "gpt-image-1-official" };
      const refusal = await client.refuse({ ...model, prompt: "A red fox", ...body });
      assert.deepEqual([refusal.status, refusal.type], [400, "invalid_request_error"]);
      assert.equal(refusal.param, param);
      assert.match(refusal.message, new RegExp(`^${param}`));
      assert.match(refusal.message, words);
      assert.equal(refusal.code, 400);
      await assertNothingHeld();
    });
  }
});

test("an unknown model is 404 with the nearest names", async () => {
  for (const [model, nearest] of [
    ["flux2-pro", "flux-2-pro"],
    ["gpt-image-1", "gpt-image-1-official"],
    ["gemini-3.1-flash-lite-image-official", "gemini-3.1-flash-lite-image"],
  ] as const) {
    const refusal = await client.refuse({ model, prompt: "fox" });
    const { status, type, reason, param } = refusal;
    assert.deepEqual([status, type, reason, param], [404, "not_found", "model_not_found", "model"]);
    assert.ok(refusal.message.includes(nearest), refusal.message);
  }
});

describe("a body is refused that", () => {
  const broken: [name: string, body: string | Uint8Array, reason: string][] = [
    ["is empty", "", "invalid_body"],
    ["breaks off", '{"model":"flux-2-pro","prompt":"fo', "invalid_json"],
    ["has a comma too many", '{"model":"flux-2-pro",}', "invalid_json"],
    ["is no JSON", "model=flux-2-pro", "invalid_json"],
    ["is a list", "[]", "invalid_body"],
    ["is null", "null", "invalid_body"],
    ["is text", '"flux-2-pro"', "invalid_body"],
    ["is not UTF-8", Buffer.from('{"prompt":"\xff\xfe"}', "latin1"), "invalid_json"],
    ["poisons prototypes", '{"__proto__":{"n":4},"prompt":"fox"}', "invalid_json"],
    [
      "is nested a thousand levels deep",
      `${'{"a":'.repeat(1_000)}1${"}".repeat(1_000)}`,
      "invalid_body",
    ],
  ];
  for (const [name, body, reason] of broken) {
    test(name, async () => {
      const refusal = await client.refuse(body);
      assert.deepEqual([refusal.status, refusal.reason], [400, reason], refusal.message);
      assert.match(refusal.message, /body|JSON/);
    });
  }

  test("is larger than 32 MiB, with a hint at uploads, declared or not", async () => {
    const bytes = 32 * 2 ** 20 + 1;
    const body = JSON.stringify({ model: "flux-2-pro", prompt: "fox", pad: "" });
    const refusal = await client.refuse(body.padEnd(bytes, " "));
    const { status, reason, type } = refusal;
    assert.deepEqual([status, reason, type], [413, "body_too_large", "invalid_request_error"]);
    assert.match(refusal.message, /32 MiB.*\/v1\/uploads\/images/);
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(2 ** 20).fill(32)),
    });
    const undeclared = await fetch(`${gateway.origin}${submitPath}`, {
      method: "POST",
      headers: { authorization: `Bearer ${client.token}`, "content-type": "application/json" },
      body: stream,
      duplex: "half",
    });
    assert.equal(undeclared.status, 413);
  });

  test("is of another content type", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
      const refusal = await client.refuse('{"model":"flux-2-pro"}', { "content-type": type });
      const { status, reason, param } = refusal;
      assert.deepEqual([status, reason, param], [415, "unsupported_media_type", "Content-Type"]);
      assert.match(refusal.message, /application\/json/);
    }
    assertStatus(
      await exchange(gateway.origin, `${requestHead([["Content-Length", "2"]])}{}`),
      415,
    );
  });

  test("is compressed or in another character set", async () => {
    const compressed = await client.refuse("{}", { "content-encoding": "gzip" });
    assert.deepEqual([compressed.status, compressed.param], [415, "Content-Encoding"]);
    const latin = await client.refuse("{}", { "content-type": "application/json; charset=latin1" });
    assert.equal(latin.status, 415);
  });
});

describe("a header that is given twice is refused by its name:", () => {
  const json: Header = ["Content-Type", "application/json"];
  for (const [name, headers] of [
    ["Authorization", [["authorization", "Bearer sk-test-x"], json]],
    ["Content-Type", [json, json]],
    ["Idempotency-Key", [json, ["Idempotency-Key", "a"], ["idempotency-key", "a"]]],
  ] as [string, Header[]][]) {
    test(name, async () => {
      const body = '{"model":"flux-2-pro","prompt":"fox"}';
      const length: Header = ["Content-Length", String(body.length)];
      const reply = await exchange(gateway.origin, `${requestHead([...headers, length])}${body}`);
      const error = assertStatus(reply, 400);
      assert.equal(error.reason, "invalid_header");
      assert.equal(error.param, name);
      assert.match(error.message, new RegExp(`${name} is given twice`));
      await assertNothingHeld();
    });
  }
});

test("an ill-formed idempotency key is refused", async () => {
  for (const key of ["", "a b", "é", "a".repeat(192)]) {
    const bytes = Buffer.from(key).toString("latin1");
    const refusal = await client.refuse({ model: "flux-2-pro" }, { "idempotency-key": bytes });
    assert.deepEqual([refusal.status, refusal.param], [400, "Idempotency-Key"]);
    assert.match(refusal.message, /1 to 191/);
  }
});

test("wrong methods and unknown routes answer in the same body", async () => {
  for (const method of ["GET", "PUT", "DELETE", "PATCH"]) {
    const reply = await client.request(method, submitPath);
    const refusal = refusalOf(reply);
    assert.deepEqual([refusal.status, refusal.reason], [405, "method_not_allowed"]);
    assert.match(refusal.message, /use POST/);
    assert.match(reply.headers.get("allow") ?? "", /POST/);
  }
  for (const path of ["/v1/image/generations", "/nothing", "/v1/task", "/v1/%ff"]) {
    const refusal = refusalOf(await client.get(path));
    assert.deepEqual(
      [refusal.status, refusal.type, refusal.reason],
      [404, "not_found", "route_not_found"],
    );
  }
});

test("a key that is missing, ill-formed, unknown or of another scheme is 401, always the same", async () => {
  const tokens = ["sk-test-unknown", "nonsense", `sk-test-${"a".repeat(43)}`];
  const replies = await Promise.all(
    tokens.map((token) => gateway.clientOf(token).get("/v1/models")),
  );
  const texts = new Set(replies.map((reply) => refusalOf(reply).message));
  assert.equal(texts.size, 1);
  const nobody = gateway.clientOf(null);
  const schemes: Record<string, string>[] = [
    {},
    { authorization: "Basic abc" },
    { authorization: "Bearer" },
  ];
  for (const headers of schemes) {
    const refusal = refusalOf(await nobody.get("/v1/models", headers));
    const { status, type, reason } = refusal;
    assert.deepEqual([status, type, reason], [401, "authentication_error", "invalid_api_key"]);
    assert.match(refusal.message, /keys create/);
  }
});

test("bytes that are no HTTP are answered in the same body, and the server goes on", async () => {
  const error = assertStatus(await exchange(gateway.origin, "HELLO\r\n\r\n"), 400);
  assert.equal(error.reason, "invalid_header");
  const long = `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${"a".repeat(20_000)}\r\n\r\n`;
  assertStatus(await exchange(gateway.origin, long), 400);
  assert.equal((await client.get("/v1/models")).status, 200);
});

type Header = [name: string, value: string];

/** The head of a submit, with the key and whatever headers a test wants, twice or not. */
function requestHead(headers: readonly Header[]): string {
  const lines = [
    `POST ${submitPath} HTTP/1.1`,
    "Host: 127.0.0.1",
    "Connection: close",
    `Authorization: Bearer ${client.token}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

function assertStatus(
  reply: string,
  status: number,
): { reason: string; param?: string; message: string } {
  assert.match(reply, new RegExp(`^HTTP/1.1 ${status} `));
  const parsed = JSON.parse(reply.slice(reply.indexOf("\r\n\r\n"))) as {
    error: { reason: string; param?: string; message: string };
  };
  return parsed.error;
}

async function assertNothingHeld(): Promise<void> {
  const { body } = await client.get<BalanceReply>("/v1/user/balance");
  assert.equal(body.remain_balance, 1_000);
}
