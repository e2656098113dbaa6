/** The contract of every model: parameters, prompts, references and masks. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { catalogue, contracts, submit } from "../../test/contracts/models.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";

const url = "https://example.com/a.png";
const dataUri = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
const bareBase64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB";

function assertRefused(model: string, fields: JsonObject, param: string): AppError {
  let thrown: unknown = null;
  try {
    submit(model, fields);
  } catch (error) {
    thrown = error;
  }
  const label = `${model} with ${JSON.stringify(fields).slice(0, 100)}`;
  assert(thrown instanceof AppError, `${label} is refused`);
  assert.equal(thrown.param, param, label);
  assert.match(thrown.message, new RegExp(param), `${label}: the message names the field`);
  return thrown;
}

it("the catalogue has exactly the models of the contract", () => {
  assert.deepEqual(
    catalogue
      .list()
      .map(({ id }) => id)
      .toSorted(),
    Object.keys(contracts).toSorted(),
  );
});

for (const [model, contract] of Object.entries(contracts)) {
  describe(model, () => {
    it("fills in the defaults, with and without a reference", () => {
      assert.deepEqual(submit(model).request.parameters, contract.defaults);
      const edited = submit(model, { image_urls: [url] });
      assert.deepEqual(edited.request.parameters, contract.defaultsWithReference);
      assert.deepEqual(submit(model).warnings, []);
    });

    it("takes null and the empty text for absent on every optional field", () => {
      const names = [...Object.keys(contract.accepted), "n", "image_urls", "mask_url"];
      names.push("official_fallback", "webhook", "language", "unknown_field");
      for (const nothing of [null, ""]) {
        const body = Object.fromEntries(names.map((name) => [name, nothing]));
        assert.deepEqual(submit(model, body), submit(model));
      }
    });

    it("accepts what its table lists", () => {
      for (const [name, pairs] of Object.entries(contract.accepted)) {
        for (const [value, canonical] of pairs) {
          const { parameters } = submit(model, { [name]: value }).request;
          assert.deepEqual(parameters[name], canonical, `${name} ${JSON.stringify(value)}`);
        }
      }
    });

    it("refuses every other value by name", () => {
      for (const [name, values] of Object.entries(contract.refused)) {
        for (const value of values) {
          const error = assertRefused(model, { [name]: value }, name);
          assert.equal(error.reason, "invalid_parameter");
        }
      }
    });

    it("treats n as its row says", () => {
      assert.equal(submit(model).request.pictures, 1);
      assert.equal(submit(model, { n: 1 }).request.pictures, 1);
      for (const value of ["1", "2", 1.5, true, [1]]) assertRefused(model, { n: value }, "n");
      if (contract.n === "1") {
        for (const value of [0, 2, -1]) {
          assert.equal(assertRefused(model, { n: value }, "n").reason, "unsupported_parameter");
        }
        return;
      }
      for (const value of [2, 3, 4])
        assert.equal(submit(model, { n: value }).request.pictures, value);
      for (const [value, clamped] of [
        [0, 1],
        [-7, 1],
        [5, 4],
        [1_000_000, 4],
      ] as const) {
        if (contract.n === "1-4") {
          assert.equal(assertRefused(model, { n: value }, "n").reason, "invalid_parameter");
          continue;
        }
        const { request, warnings } = submit(model, { n: value });
        assert.equal(request.pictures, clamped);
        assert.deepEqual(
          warnings.map(({ param, code }) => [param, code]),
          [["n", "clamped"]],
        );
      }
    });

    it("counts the prompt in code points", () => {
      const most = "🦊".repeat(contract.promptMax);
      assert.equal(submit(model, { prompt: most }).request.prompt, most);
      assertRefused(model, { prompt: `${most}a` }, "prompt");
      assertRefused(model, { prompt: "a".repeat(contract.promptMax * 3) }, "prompt");
    });

    it("bounds its references and takes the forms of its row", () => {
      const most = Array.from({ length: contract.referencesMax }, () => url);
      assert.equal(submit(model, { image_urls: most }).references.length, most.length);
      assertRefused(model, { image_urls: [...most, url] }, "image_urls");
      const forms = { url, data: dataUri, base64: bareBase64 };
      for (const form of ["url", "data", "base64"] as const) {
        for (const item of [forms[form], { url: forms[form] }]) {
          const body = { image_urls: [item] };
          if (!contract.forms.includes(form)) assertRefused(model, body, "image_urls");
          else {
            const [reference] = submit(model, body).references;
            assert.equal(reference?.kind, form === "url" ? "url" : "data");
          }
        }
      }
      const { references } = catalogue.load(model);
      assert.equal(references?.bytesMax, contract.referenceMebibytes * 1_048_576);
      assert.equal(references.pixelsMax, 50_000_000);
    });

    it("takes a mask or refuses it as its row says", () => {
      const body = { image_urls: [url], mask_url: "https://example.com/mask.png" };
      if (!contract.mask) {
        assert.equal(assertRefused(model, body, "mask_url").reason, "unsupported_parameter");
        return;
      }
      assert.deepEqual(submit(model, body).mask, { kind: "url", url: body.mask_url });
      assertRefused(model, { mask_url: body.mask_url }, "mask_url");
      assertRefused(model, { ...body, image_urls: [] }, "mask_url");
      assertRefused(model, { ...body, mask_url: [body.mask_url] }, "mask_url");
      assertRefused(model, { ...body, mask_url: { url: body.mask_url } }, "mask_url");
    });

    it("takes official_fallback false, and true only where its row says", () => {
      assert.equal(submit(model, { official_fallback: false }).request.officialFallback, false);
      for (const value of ["true", "false", 1, 0]) {
        const error = assertRefused(model, { official_fallback: value }, "official_fallback");
        assert.equal(error.reason, "invalid_parameter");
      }
      if (contract.officialFallback) {
        assert.equal(submit(model, { official_fallback: true }).request.officialFallback, true);
        return;
      }
      const error = assertRefused(model, { official_fallback: true }, "official_fallback");
      assert.equal(error.reason, "unsupported_parameter");
    });

    it("accepts unknown and foreign fields and says that they are ignored", () => {
      const foreign = ["style", "seed", "resolution", "quality", "output_format", "google_search"];
      const known = Object.keys(contract.accepted);
      const body = Object.fromEntries(
        foreign.filter((name) => !known.includes(name)).map((name) => [name, { any: "thing" }]),
      );
      const { warnings, request } = submit(model, body);
      assert.deepEqual(warnings.map(({ param }) => param).toSorted(), Object.keys(body).toSorted());
      assert(warnings.every(({ code }) => code === "ignored"));
      assert.deepEqual(request.parameters, contract.defaults);
    });
  });
}
