import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32, deflateSync } from "node:zlib";

import { createPictureProcesses } from "../src/images/processes.ts";
import { createLog } from "../src/lib/log.ts";
import { systemClock } from "../src/lib/time.ts";
import type { Job } from "../src/providers/adapter.ts";
import { createSandbox } from "../src/providers/sandbox.ts";
import { adapterConformance } from "./contracts/adapter.ts";
import { finish, referenceOf } from "./contracts/adapter-driver.ts";

const limits = { formats: ["png", "jpeg", "webp"] as const, pixelsMax: 1e6, bytesMax: 1e7 };

adapterConformance("sandbox with its drawings", async () => {
  const processes = createPictureProcesses({ clock: systemClock, log: createLog("silent") });
  return {
    create: () =>
      createSandbox({ draw: (drawing) => processes.draw(drawing), usageOf: () => ({}) }),
    job: jobOf,
    reference: greenSquare(),
    isDeterministic: true,
    secrets: [],
    faults: [
      {
        name: "a reference that no longer is a picture",
        arrange: () => jobOf({ references: [referenceOf(Buffer.from("no picture"))] }),
        kind: "garbled",
        taskError: "internal_error",
      },
    ],
    hangs: [],
    close: () => processes.close(),
  };
});

test("n pictures of one prompt differ, and each has the promised pixels and format", async () => {
  const processes = createPictureProcesses({ clock: systemClock, log: createLog("silent") });
  try {
    const sandbox = createSandbox({
      draw: (drawing) => processes.draw(drawing),
      usageOf: () => ({}),
    });
    const pictures: string[] = [];
    for (const slot of [0, 1, 2, 3]) {
      const job = jobOf({ slots: [slot], width: 384, height: 688, format: "webp" });
      const [picture] = (await finish(sandbox, job, `att_${slot}`)).pictures;
      assert.ok(picture?.kind === "bytes");
      const { width, height, format } = (await processes.clean(picture.bytes, limits)).info;
      assert.deepEqual({ width, height, format }, { width: 384, height: 688, format: "webp" });
      pictures.push(Buffer.from(picture.bytes).toString("base64"));
    }
    assert.equal(new Set(pictures).size, 4);
  } finally {
    await processes.close();
  }
});

/** A PNG of 8 by 8 pixels, by hand: the tests' own process does not load sharp. */
function greenSquare(): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(8, 0);
  header.writeUInt32BE(8, 4);
  header.set([8, 2], 8);
  const row = Buffer.concat([Buffer.of(0), Buffer.alloc(24, Buffer.of(0, 200, 0))]);
  const rows = deflateSync(Buffer.concat(Array.from({ length: 8 }, () => row)));
  const signature = Buffer.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", rows),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(name: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(name), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, checksum]);
}

function jobOf(wishes: Partial<Job>): Job {
  return {
    model: "gemini-3.1-flash-lite-image",
    upstreamModel: "gemini-3.1-flash-lite-image",
    prompt: "赛博朋克风格的城市夜景,霓虹灯闪烁",
    parameters: { size: "1:1" },
    slots: [0],
    width: 256,
    height: 256,
    format: "png",
    references: [],
    mask: null,
    test: true,
    ...wishes,
  };
}
