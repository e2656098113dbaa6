import { once } from "node:events";
import { Worker } from "node:worker_threads";

import type { Asset } from "./asset.ts";

/** The browser script of `/docs`. Takes about a second, on a thread of its own. */
export async function loadReferenceScript(): Promise<Asset> {
  const worker = new Worker(new URL("./reference-script-worker.ts", import.meta.url));
  // A stopping server does not wait for it.
  worker.unref();
  try {
    // The other half posts one asset and nothing else; an error of the thread rejects.
    const [asset] = (await once(worker, "message")) as [Asset];
    return asset;
  } finally {
    await worker.terminate();
  }
}
