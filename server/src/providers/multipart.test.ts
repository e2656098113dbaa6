import assert from "node:assert/strict";
import { test } from "node:test";

import { encodeForm } from "./multipart.ts";
import type { FormPart } from "./multipart.ts";

test("a form is read back as it was given, by another reader", async () => {
  const bytes = new Uint8Array([0, 13, 10, 45, 45, 255]);
  const { contentType, body } = encodeForm(
    [
      { name: "prompt", value: 'two\r\nlines, "quotes" and 猫' },
      { name: "empty", value: "" },
      { name: "image[]", filename: "ref-0.png", contentType: "image/png", bytes },
    ],
    "att_1",
  );
  const form = await new Response(new Uint8Array(body), {
    headers: { "content-type": contentType },
  }).formData();
  assert.equal(form.get("prompt"), 'two\r\nlines, "quotes" and 猫');
  assert.equal(form.get("empty"), "");
  const file = form.get("image[]");
  assert.ok(file instanceof File);
  assert.deepEqual([file.name, file.type], ["ref-0.png", "image/png"]);
  assert.deepEqual(new Uint8Array(await file.arrayBuffer()), bytes);
});

test("no text can carry its own form's boundary, and none is the same twice", () => {
  const boundaryFor = (value: string, attemptId: string): string => {
    const parts: FormPart[] = [{ name: "prompt", value }];
    return encodeForm(parts, attemptId).contentType.split("boundary=")[1] ?? "";
  };
  const known = boundaryFor("a cat", "att_1");
  assert.match(known, /^darkroom-[0-9a-f]{40}$/);
  assert.notEqual(boundaryFor(`--${known}--`, "att_1"), known);
  assert.notEqual(boundaryFor("a cat", "att_2"), known);
});
