import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import sharp from "sharp";
import { createPicture } from "../../test/support/picture-bytes.ts";
import { restrictSharp } from "./operations.ts";

test("a restricted libvips opens the four formats from memory and nothing else", async (context) => {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-operations-"));
  context.after(() => rm(folder, { recursive: true }));
  const png = await createPicture().png().toBuffer();
  const file = join(folder, "picture.png");
  await writeFile(file, png);
  const foreign = {
    svg: Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    tiff: await createPicture().tiff().toBuffer(),
    avif: await createPicture().avif({ effort: 0 }).toBuffer(),
    file,
  };
  for (const [name, input] of Object.entries(foreign)) {
    assert.ok((await sharp(input).metadata()).width > 0, name);
  }
  restrictSharp();
  for (const [name, input] of Object.entries(foreign)) {
    await assert.rejects(sharp(input).metadata(), /unsupported/, name);
  }
  const accepted = {
    png,
    jpeg: await createPicture().jpeg().toBuffer(),
    webp: await createPicture().webp().toBuffer(),
    gif: await createPicture().gif().toBuffer(),
  };
  for (const [name, bytes] of Object.entries(accepted)) {
    assert.equal((await sharp(bytes).metadata()).format, name);
  }
  assert.equal(sharp.concurrency(), 1);
});
