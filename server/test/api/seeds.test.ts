/**
 * The five documents that define the public contract, held against a running gateway: every request
 * body they print.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";

import type { Task } from "../../../client/src/tasks.ts";
import { collectPictures, countColour, leastAlpha, pixelsOf } from "../support/pictures.ts";
import type { Rgb, Seen } from "../support/pictures.ts";
import { references, startSeeds } from "../support/seeds.ts";

type Body = { model: string; prompt: string; image_urls?: string[]; [field: string]: unknown };

type Printed = {
  /** As the document prints it; the origin of its URLs is replaced when it is sent. */
  body: Body;
  promised: {
    pixels: string;
    format: string;
    pictures: number;
    transparent: boolean;
    /** USD. */
    cost: number;
  };
};

const folder = new URL("../fixtures/seeds/", import.meta.url);
const documents = readdirSync(folder).toSorted();

const { client, server } = await startSeeds();

describe("every request body that the documents print", { concurrency: 3 }, () => {
  assert.equal(documents.length, 5);
  for (const name of documents) {
    for (const { body, promised } of readPrinted(name)) {
      const shown = `${body.prompt.slice(0, 45)} (${Object.keys(body).length} fields)`;
      test(`${name}: ${shown} gives the promised pictures`, async () => {
        const accepted = await client.accept(atLoopback(body));
        assert.deepEqual(accepted.warnings, []);
        const task = await client.wait(accepted.id);
        const pictures = await collectPictures(task);
        for (const picture of pictures) {
          assert.equal(pixelsOf(picture), promised.pixels);
          assert.equal(picture.format, promised.format);
          assert.equal(leastAlpha(picture) === 0, promised.transparent);
          assertReferencesShown(picture, body.image_urls ?? []);
        }
        assert.equal(pictures.length, promised.pictures);
        assert.equal(
          new Set(pictures.map(({ pixels }) => pixels.toString("latin1"))).size,
          pictures.length,
        );
        assert.equal(task.cost, promised.cost);
        assert.equal(task.model, body.model);
        assertExpiresAfterADay(task);
      });
    }
  }
});

function readPrinted(name: string): Printed[] {
  return JSON.parse(readFileSync(new URL(name, folder), "utf8")) as Printed[];
}

/** The body with the origin of each URL replaced by the reference server's. */
function atLoopback(body: Body): Body {
  if (body.image_urls === undefined) return body;
  const image_urls = body.image_urls.map((url) => `${server.origin}${new URL(url).pathname}`);
  return { ...body, image_urls };
}

/** Each reference shows in its colour, and no colour of another reference does. */
function assertReferencesShown(picture: Seen, urls: readonly string[]): void {
  const shown = urls.map((url) => references[new URL(url).pathname]!.colour);
  for (const colour of Object.values(references).map((reference): Rgb => reference.colour)) {
    const count = countColour(picture, colour, 12);
    if (shown.includes(colour))
      assert.ok(count > 1_000, `${colour.join()} shows in ${count} pixels`);
    else assert.ok(count < 100, `${colour.join()} shows in ${count} pixels`);
  }
}

function assertExpiresAfterADay({ completed = 0, result }: Task): void {
  for (const image of result?.images ?? []) assert.equal(image.expires_at, completed + 86_400);
}
