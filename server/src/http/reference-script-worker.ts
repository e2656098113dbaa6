/**
 * Takes the reference's browser script out of its package. The package holds it as one JavaScript text of
 * four megabytes beside libraries that are of no use here: on a thread of its own all of that is gone again
 * when the script has been handed over. `reference-script.ts` is the other half.
 */
import { parentPort } from "node:worker_threads";

import { fastify } from "fastify";
import fastifyApiReference from "@scalar/fastify-api-reference";

import { createAsset } from "./asset.ts";

async function readScript(): Promise<string> {
  const app = fastify();
  await app.register(fastifyApiReference, {
    routePrefix: "/docs",
    configuration: { url: "/openapi.json" },
  });
  const reply = await app.inject("/docs/js/scalar.js");
  await app.close();
  if (reply.statusCode !== 200) throw new Error(`the script is answered with ${reply.statusCode}`);
  // Its source map is not in the package; a browser's tools would ask for it.
  return reply.body.replace(/\n\/\/# sourceMappingURL=\S+\s*$/, "\n");
}

async function handOver(port: NonNullable<typeof parentPort>): Promise<void> {
  const asset = await createAsset("text/javascript; charset=utf-8", await readScript());
  port.postMessage(asset);
}

// Only the thread that `reference-script.ts` starts has a parent.
if (parentPort !== null) await handOver(parentPort);
