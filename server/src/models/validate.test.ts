import assert from "node:assert/strict";
import { it } from "node:test";

import * as fc from "fast-check";

import { AppError } from "../lib/errors.ts";
import { isJsonObject } from "../lib/json.ts";
import type { JsonObject, JsonValue } from "../lib/json.ts";
import { createCatalogue } from "./catalogue.ts";
import type { Submit } from "./model.ts";
import { parseModelField, validateSubmit } from "./validate.ts";
import type { SubmitOptions } from "./validate.ts";

const catalogue = createCatalogue();
const flash = "gemini-2.5-flash-image-preview";
const lite = "gemini-3.1-flash-lite-image";
const url = "https://example.com/a.png";

function submit(id: string, fields: JsonObject, options?: SubmitOptions): Submit {
  return validateSubmit(catalogue.load(id), { model: id, prompt: "a fox", ...fields }, options);
}

function refusal(run: () => unknown): AppError {
  try {
    run();
  } catch (error) {
    assert(error instanceof AppError, String(error));
    return error;
  }
  return assert.fail("nothing was refused");
}

it("a refusal names the field, what was wrong and what is allowed", () => {
  const rows: [string, JsonObject, string][] = [
    [
      "flux-2-pro",
      { size: "3:5" },
      'size "3:5" is not offered by flux-2-pro; use one of 1:1, 4:3, 3:4, 16:9, 9:16, 3:2, 2:3',
    ],
    [
      "gpt-image-1-official",
      { image_urls: [url], mask_url: { url } },
      "mask_url must be one string, not an object; a mask is an http(s) URL or a data URI, as one string",
    ],
    [
      flash,
      { image_urls: [url], mask_url: "a.png" },
      'mask_url "a.png" is not an http or https URL; a mask is an http(s) URL or a data URI, as one string',
    ],
    [
      flash,
      { prompt: "🦊".repeat(1_001) },
      `prompt has 1,001 characters; ${flash} takes at most 1,000`,
    ],
    [
      flash,
      { prompt: "a".repeat(1_000_001) },
      `prompt has more than 500,000 characters; ${flash} takes at most 1,000`,
    ],
    [flash, { n: "2" }, "n must be an integer without quotes, not a string; use 1 to 4"],
    [flash, { n: 5 }, `n 5 is not offered by ${flash}; use 1 to 4`],
    [flash, { n: 1.5 }, "n must be an integer without quotes, not 1.5; use 1 to 4"],
    [
      "flux-kontext-max",
      { safety_tolerance: 7 },
      "safety_tolerance 7 is not offered by flux-kontext-max; use 0 to 6",
    ],
    [
      "gpt-image-1-official",
      { background: "transparent", output_format: "jpeg" },
      'background "transparent" does not go with output_format "jpeg"; use output_format png',
    ],
    [
      "gpt-image-2-official",
      { size: "4096x4096" },
      'size "4096x4096" is not offered by gpt-image-2-official; sides are multiples of 16 up to 3,840, at most 3:1, with 655,360 to 8,294,400 pixels',
    ],
    [
      "gemini-3.1-flash-image-preview",
      { google_image_search: true },
      "google_image_search needs google_search; set google_search to true as well",
    ],
  ];
  for (const [id, fields, message] of rows) {
    const error = refusal(() => submit(id, fields));
    assert.equal(error.message, message);
    assert.equal(error.reason, "invalid_parameter");
  }
});

it("a data URI for a model that takes URLs only is answered with the way to upload", () => {
  const error = refusal(() =>
    submit("flux-2-flex", { image_urls: [url, "data:image/png;base64,iVBORw0KGgo="] }),
  );
  assert.equal(error.param, "image_urls");
  assert.match(error.message, /^image_urls\[1\] is a data URI.*POST \/v1\/uploads\/images/);
});

it("a prompt is required, and blank, NUL or half characters are refused", () => {
  const model = catalogue.load(lite);
  for (const body of [{}, { prompt: null }]) {
    assert.equal(refusal(() => validateSubmit(model, body)).reason, "missing_parameter");
  }
  const bad: JsonValue[] = [
    "",
    "   \n\t",
    "\u200b\u00a0",
    "a\0b",
    "a\ud800",
    "\udc00b",
    7,
    ["a"],
    {},
  ];
  for (const prompt of bad) {
    const error = refusal(() => validateSubmit(model, { prompt }));
    assert.equal(error.reason, "invalid_parameter");
    assert.equal(error.param, "prompt");
  }
  for (const prompt of ["𝒳", "1.", "🦊", "a\nb", "ก"]) {
    assert.equal(validateSubmit(model, { prompt }).request.prompt, prompt);
  }
});

it("the model is required and is text", () => {
  for (const body of [{}, { model: null }, { model: "" }]) {
    assert.equal(refusal(() => parseModelField(body)).reason, "missing_parameter");
  }
  for (const model of [1, true, ["a"], {}]) {
    const error = refusal(() => parseModelField({ model }));
    assert.equal(error.reason, "invalid_parameter");
    assert.equal(error.param, "model");
  }
  assert.equal(parseModelField({ model: "any" }), "any");
});

it("references that are no address, data URI or object with url are refused with their index", () => {
  const bad: JsonValue[] = [
    "",
    "not a url",
    "example.com/a.png",
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "http:/example.com/a.png",
    "http://",
    "https:///a.png",
    "https://exa\tmple.com/a.png",
    "https://example.com/a.png\u0000",
    "https://example.com/\ud800",
    "https://user:secret@example.com/a.png",
    `https://example.com/${"a".repeat(8_192)}`,
    "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
    "data:image/svg+xml;base64,PHN2Zy8+",
    "data:text/plain;base64,aGVsbG8=",
    "data:image/png,iVBORw0KGgo=",
    "data:image/png;base64",
    "data:image/png;base64,",
    "data:image/png;charset=utf-8;base64,iVBORw0KGgo=",
    "data:,",
    null,
    1,
    true,
    [url],
    {},
    { url: "" },
    { url: 1 },
    { image_url: url },
  ];
  for (const item of bad) {
    const error = refusal(() => submit(lite, { image_urls: [url, item] }));
    assert.equal(error.param, "image_urls", JSON.stringify(item));
    assert.match(error.message, /^image_urls\[1\]/);
    assert.doesNotMatch(error.message, /secret/);
  }
  for (const value of [url, { url }, 1, true]) {
    assert.equal(refusal(() => submit(lite, { image_urls: value })).param, "image_urls");
  }
});

it("references keep their order, their text and their declared type", () => {
  const { references } = submit(lite, {
    image_urls: [
      ` ${url} `,
      { url: "HTTP://EXAMPLE.com:8080/b c.png" },
      "data:image/jpg;base64,/9j/4AAQ",
      "DATA:image/WEBP;BASE64,UklGRg==",
    ],
  });
  assert.deepEqual(references, [
    { kind: "url", url },
    { kind: "url", url: "HTTP://EXAMPLE.com:8080/b c.png" },
    { kind: "data", mediaType: "image/jpeg", base64: "/9j/4AAQ" },
    { kind: "data", mediaType: "image/webp", base64: "UklGRg==" },
  ]);
  const text = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB";
  assert.deepEqual(submit(flash, { image_urls: [text] }).references, [
    { kind: "data", mediaType: null, base64: text },
  ]);
});

it("members of a reference object other than url are reported", () => {
  const { references, warnings } = submit(lite, { image_urls: [{ url, role: "style" }] });
  assert.deepEqual(references, [{ kind: "url", url }]);
  assert.deepEqual(
    warnings.map(({ param, code }) => [param, code]),
    [["image_urls", "ignored"]],
  );
});

it("what has no effect in a request is left out and reported", () => {
  const rows: [string, JsonObject, string][] = [
    [flash, { size: "16:9", image_urls: [url], mask_url: url }, "size"],
    ["gpt-image-1-official", { output_compression: 50 }, "output_compression"],
    [
      "gpt-image-1-official",
      { output_compression: 50, output_format: "png" },
      "output_compression",
    ],
    ["gpt-image-2-official", { size: "1024x1024", resolution: "4k" }, "resolution"],
  ];
  for (const [id, fields, param] of rows) {
    const { request, warnings } = submit(id, fields);
    assert.deepEqual(
      warnings.map((warning) => [warning.param, warning.code]),
      [[param, "ignored"]],
    );
    assert.equal(request.parameters[param], undefined);
  }
  const jpeg = submit("gpt-image-1-official", { output_compression: 50, output_format: "jpeg" });
  assert.equal(jpeg.request.parameters["output_compression"], 50);
  assert.deepEqual(jpeg.warnings, []);
  assert.deepEqual(submit(flash, { image_urls: [url], mask_url: url }).warnings, []);
});

it("a lowered resolution and ignored search flags are reported on Lite", () => {
  const { request, warnings } = submit(lite, {
    resolution: "4K",
    google_search: true,
    google_image_search: "yes",
  });
  assert.equal(request.parameters["resolution"], "1K");
  assert.deepEqual(
    warnings.map(({ param, code }) => [param, code]),
    [
      ["resolution", "lowered"],
      ["google_search", "ignored"],
      ["google_image_search", "ignored"],
    ],
  );
});

it("search for pictures is taken together with search", () => {
  const { parameters } = submit("gemini-3.1-flash-image-preview", {
    google_search: true,
    google_image_search: true,
  }).request;
  assert.equal(parameters["google_image_search"], true);
});

it("a body with thousands of unknown fields gets a bounded list of warnings", () => {
  const foreign = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`field_${i}`, i]));
  const { warnings } = submit(lite, { ...foreign, ["x".repeat(9_000)]: 1 });
  assert.equal(warnings.length, 17);
  assert.match(warnings[16]?.message ?? "", /4,984 more/);
  assert(JSON.stringify(warnings).length < 5_000);
});

it("webhook takes an http or https base address on ports 80 and 443, or what the operator allows", () => {
  for (const good of [
    "https://h.example/api/",
    "http://h.example",
    "https://h.example:443",
    "http://h.example:443/x?y=1",
  ]) {
    assert.equal(submit(lite, { webhook: good }).webhook, good);
  }
  const bad: JsonValue[] = [
    "h.example",
    "ftp://h.example",
    "https://",
    "https://u:p@h.example",
    "https://h.example:8443",
    1,
    [],
    {},
    true,
  ];
  for (const value of bad) {
    const error = refusal(() => submit(lite, { webhook: value }));
    assert.equal(error.param, "webhook", JSON.stringify(value));
  }
  const options = { isWebhookPortAllowed: ({ hostname }: URL) => hostname === "127.0.0.1" };
  const local = "http://127.0.0.1:9000/hook";
  assert.equal(submit(lite, { webhook: local }, options).webhook, local);
});

it("language is lenient in spelling and strict in type", () => {
  const rows: [JsonValue, string | null][] = [
    ["ZH", "zh"],
    [" ja ", "ja"],
    ["zh-CN", "en"],
    ["klingon", "en"],
    [null, null],
    ["", null],
  ];
  for (const [value, language] of rows) {
    assert.equal(submit(lite, { language: value }).language, language);
  }
  for (const value of [1, true, ["en"], {}]) {
    assert.equal(refusal(() => submit(lite, { language: value })).param, "language");
  }
});

it("with several mistakes the first in the fixed order is named", () => {
  const wrong: JsonObject = { prompt: "", n: "1", image_urls: 1, mask_url: 1, size: 1, webhook: 1 };
  const order = ["prompt", "n", "image_urls", "mask_url", "size", "webhook"];
  for (const [index, param] of order.entries()) {
    const kept = Object.fromEntries(order.slice(index).map((name) => [name, wrong[name] ?? null]));
    const error = refusal(() => submit(flash, { image_urls: [url], ...kept }));
    assert.equal(error.param, param);
  }
});

it("any JSON is either accepted or refused with a short message free of its bytes", () => {
  const ids = catalogue.list().map(({ id }) => id);
  const common = "prompt n image_urls mask_url official_fallback webhook language".split(" ");
  const own = catalogue.list().flatMap(({ parameters }) => parameters.map(({ name }) => name));
  const names = [...new Set([...common, ...own, "__proto__", "constructor", "toString", "style"])];
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 200 }),
    fc.constantFrom("data:image/png;base64,iVBOR", "constructor", "__proto__", "1024x1024", "auto"),
    fc.constantFrom("https://example.com/", "http://[::1", "1K", "a".repeat(40_000)),
    fc
      .string({ maxLength: 50 })
      .map((tail) => `data:image/png;base64,${"QUJD".repeat(500)}${tail}`),
  );
  const value = fc.oneof(
    text,
    fc.jsonValue({ maxDepth: 3 }),
    fc.array(text, { maxLength: 20 }),
    fc.constantFrom(0, 1, 4, -0, 1e308, Infinity, 0.1, true, false, null),
  );
  const body = fc.dictionary(fc.constantFrom(...names), value, { noNullPrototype: true });
  fc.assert(
    fc.property(fc.constantFrom(...ids), body, fc.boolean(), (id, fields, hasPrompt) => {
      const given: unknown = { ...fields, ...(hasPrompt ? { prompt: "a fox" } : {}) };
      assert(isJsonObject(given));
      try {
        const { warnings } = validateSubmit(catalogue.load(id), given);
        for (const { message } of warnings) assert(message.length <= 1_000);
      } catch (error) {
        assert(error instanceof AppError, String(error));
        assert(error.message.length <= 1_000);
        assert(error.message.isWellFormed());
        assert.doesNotMatch(error.message, /QUJDQUJDQUJD/);
        assert(error.param !== undefined && names.includes(error.param));
      }
    }),
    { numRuns: 2_000 },
  );
});
