/** What the tests of the documents that define the public contract ask of a running gateway. */
import assert from "node:assert/strict";

import type { Client } from "./client.ts";
import { collectPictures, colours, paintPlain, pixelsOf } from "./pictures.ts";
import type { Plain, Seen } from "./pictures.ts";
import type { ReferenceServer } from "./reference-server.ts";
import { startReferring } from "./references.ts";

/** What the documents' URLs lead to: a picture a path, each in a colour of its own. */
export const references: Record<string, Plain> = {
  "/images/cat_and_otter.png": plain("magenta", 400, 300, "png"),
  "/input.png": plain("green", 320, 320, "png"),
  "/input-a.png": plain("cyan", 300, 200, "png"),
  "/input-b.png": plain("red", 200, 300, "png"),
  "/input1.jpg": plain("magenta", 320, 240, "jpeg"),
  "/input2.jpg": plain("green", 240, 320, "jpeg"),
  "/photo.jpg": plain("cyan", 640, 480, "jpeg"),
};

export type Seeds = {
  client: Client;
  server: ReferenceServer;
  deliver(body: Record<string, unknown>): Promise<Seen[]>;
  /** Submits a task for every size at once and compares the pixels of what comes back. */
  assertPixels(
    body: Record<string, unknown>,
    sizes: Readonly<Record<string, string>>,
  ): Promise<void>;
  /** Fails unless the submit is refused for this field; returns the message. */
  assertRefused(body: Record<string, unknown>, expected: Expected): Promise<string>;
};

type Expected = { param: string; status?: number; reason?: string };

/** A gateway for the tests of one file, and what the documents' URLs lead to. */
export async function startSeeds(): Promise<Seeds> {
  const { client, server } = await startReferring({ DARKROOM_PICTURE_PROCESSES: "2" });
  for (const [path, picture] of Object.entries(references)) {
    server.serve(path, await paintPlain(picture));
  }
  return {
    client,
    server,
    deliver: (body) => deliver(client, body),
    assertPixels: (body, sizes) => assertPixels(client, body, sizes),
    assertRefused: (body, expected) => assertRefused(client, body, expected),
  };
}

export function plain(
  colour: keyof typeof colours,
  width: number,
  height: number,
  format: Plain["format"],
): Plain {
  return { colour: colours[colour], width, height, format };
}

async function deliver(client: Client, body: Record<string, unknown>): Promise<Seen[]> {
  return collectPictures(await client.run({ prompt: "A red fox", ...body }));
}

async function assertPixels(
  client: Client,
  body: Record<string, unknown>,
  sizes: Readonly<Record<string, string>>,
): Promise<void> {
  const found = await Promise.all(
    Object.keys(sizes).map(async (size) => {
      const [picture] = await deliver(client, { ...body, size });
      return [size, pixelsOf(picture!)];
    }),
  );
  assert.deepEqual(Object.fromEntries(found), sizes);
}

async function assertRefused(
  client: Client,
  body: Record<string, unknown>,
  { param, status = 400, reason }: Expected,
): Promise<string> {
  const refusal = await client.refuse({ prompt: "A red fox", ...body });
  const { message } = refusal;
  assert.deepEqual([refusal.status, refusal.param], [status, param], message);
  assert.ok(message.includes(param), message);
  if (reason !== undefined) assert.equal(refusal.reason, reason);
  return message;
}
