/** Masks that a caller sends or names, honest and not. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  collectPictures,
  colours,
  countColour,
  dataUri,
  paintGrid,
  paintMask,
  paintPlain,
  pixelsOf,
  readPicture,
} from "../support/pictures.ts";
import type { Box, Seen } from "../support/pictures.ts";
import { assertFailed, gemini, gpt, startReferring } from "../support/references.ts";

const { client, server } = await startReferring();

describe("a mask", () => {
  const hole: Box = { left: 30, top: 20, width: 100, height: 60 };

  test("on gemini-2.5 repaints its hole and keeps every other pixel of the first reference", async () => {
    const grid = await paintGrid(320, 240);
    const mask = await paintMask(320, 240, hole);
    const body = { ...gemini, image_urls: [dataUri(grid)], mask_url: dataUri(mask) };
    const { id, warnings } = await client.accept(body);
    assert.deepEqual(
      warnings.map(({ param, code }) => [param, code]),
      [["size", "ignored"]],
    );
    const [seen] = await collectPictures(await client.wait(id));
    assert.deepEqual([pixelsOf(seen!), seen!.format], ["320x240", "png"]);
    assertOnlyHoleChanged(seen!, await readPicture(grid), hole);
  });

  test("by URL is held against the first reference when both are there", async () => {
    const grid = await paintGrid(320, 240);
    const image_urls = [server.serve("/grid.png", grid)];
    const mask_url = server.serve("/mask.png", await paintMask(320, 240, hole));
    const [seen] = await collectPictures(await client.run({ ...gemini, image_urls, mask_url }));
    assertOnlyHoleChanged(seen!, await readPicture(grid), hole);
  });

  test("on gpt-image-1 gives the promised size, and keeps the pixels outside its hole", async () => {
    const grid = await paintGrid(1_024, 1_024);
    const mask_url = dataUri(await paintMask(1_024, 1_024, hole));
    const body = { ...gpt, image_urls: [dataUri(grid)], mask_url };
    const [seen] = await collectPictures(await client.run(body));
    assert.equal(pixelsOf(seen!), "1024x1024");
    assertOnlyHoleChanged(seen!, await readPicture(grid), hole);
    const [tall] = await collectPictures(await client.run({ ...body, size: "2:3" }));
    assert.equal(pixelsOf(tall!), "1024x1536");
  });

  test("shows the second reference in its hole", async () => {
    const magenta = { colour: colours.magenta, width: 90, height: 90, format: "png" } as const;
    const image_urls = [dataUri(await paintGrid(400, 300)), dataUri(await paintPlain(magenta))];
    const mask_url = dataUri(
      await paintMask(400, 300, { left: 0, top: 0, width: 400, height: 300 }),
    );
    const [seen] = await collectPictures(await client.run({ ...gemini, image_urls, mask_url }));
    assert.ok(countColour(seen!, colours.magenta) > 500);
  });

  const bad: [name: string, mask: () => Promise<Buffer>, words: RegExp][] = [
    ["without an alpha channel", () => paintGrid(320, 240), /^mask_url has no alpha channel/],
    ["without a transparent pixel", () => paintMask(320, 240, null), /^mask_url .*transparent/],
    ["of another size", () => paintMask(240, 320, hole), /^mask_url is 240x320.*320x240/],
  ];
  for (const [name, paint, words] of bad) {
    test(`${name} is refused at submit, or fails the task when it has to be fetched`, async () => {
      const mask = await paint();
      const grid = await paintGrid(320, 240);
      for (const model of [gemini, gpt]) {
        const body = { ...model, image_urls: [dataUri(grid)] };
        const refusal = await client.refuse({ ...body, mask_url: dataUri(mask) });
        const { status, reason, param } = refusal;
        assert.deepEqual([status, reason, param], [400, "invalid_mask", "mask_url"]);
        assert.match(refusal.message, words);
        const mask_url = server.serve(`/${name}.png`.replaceAll(" ", "-"), mask);
        assertFailed(await client.run({ ...body, mask_url }), "invalid_mask", "mask_url");
      }
    });
  }

  test("in the body and a reference by URL: its alpha is checked at once, its size later", async () => {
    const image_urls = [server.serve("/later.png", await paintGrid(320, 240))];
    const opaque = dataUri(await paintMask(320, 240, null));
    const refusal = await client.refuse({ ...gemini, image_urls, mask_url: opaque });
    assert.equal(refusal.reason, "invalid_mask");
    const wrong = dataUri(await paintMask(100, 100, { left: 0, top: 0, width: 9, height: 9 }));
    const task = await client.run({ ...gemini, image_urls, mask_url: wrong });
    assertFailed(task, "invalid_mask", "mask_url");
  });

  test("that is no picture is refused at submit, or fails the task", async () => {
    const image_urls = [dataUri(await paintGrid(320, 240))];
    const mask_url = dataUri(Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>"));
    assert.equal((await client.refuse({ ...gemini, image_urls, mask_url })).param, "mask_url");
    const gone = await client.run({ ...gemini, image_urls, mask_url: `${server.origin}/gone.png` });
    assertFailed(gone, "invalid_mask", "mask_url");
  });
});

/** Inside the hole something else is painted; outside of it every pixel is the reference's own. */
function assertOnlyHoleChanged(seen: Seen, reference: Seen, hole: Box): void {
  assert.deepEqual(pixelsOf(seen), pixelsOf(reference));
  let inside = 0;
  let outside = 0;
  for (let y = 0; y < seen.height; y++) {
    for (let x = 0; x < seen.width; x++) {
      const isInside =
        x >= hole.left && x < hole.left + hole.width && y >= hole.top && y < hole.top + hole.height;
      const at = y * seen.width + x;
      const isSame = [0, 1, 2].every(
        (band) =>
          seen.pixels[at * seen.channels + band] ===
          reference.pixels[at * reference.channels + band],
      );
      if (isInside && !isSame) inside += 1;
      if (!isInside && !isSame) outside += 1;
    }
  }
  assert.equal(outside, 0);
  assert.ok(inside > hole.width * hole.height * 0.95, `${inside} pixels of the hole are repainted`);
}
