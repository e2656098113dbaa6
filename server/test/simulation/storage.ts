import { StorageError } from "../../src/storage/storage.ts";
import type { Storage } from "../../src/storage/storage.ts";

/** What outlives every process: names and their bytes, and whether the store answers at present. */
export type SimulatedStorage = Storage & { readonly objects: Map<string, Buffer>; isAway: boolean };

export function createSimulatedStorage(): SimulatedStorage {
  const objects = new Map<string, Buffer>();
  const answer = (): void => {
    if (storage.isAway) throw new StorageError("the store is away");
  };
  const storage: SimulatedStorage = {
    objects,
    isAway: false,
    put: async (name, source) => {
      answer();
      const chunks: Uint8Array[] = [];
      for await (const chunk of source instanceof Uint8Array ? [source] : source) {
        chunks.push(chunk);
      }
      const bytes = Buffer.concat(chunks);
      objects.set(name, bytes);
      return { bytes: bytes.length };
    },
    open: () => Promise.reject(new Error("nobody downloads from a simulation")),
    read: async (name) => {
      answer();
      return objects.get(name) ?? null;
    },
    stat: async (name) => {
      answer();
      const bytes = objects.get(name)?.length;
      return bytes === undefined ? null : { bytes };
    },
    remove: async (name) => {
      answer();
      objects.delete(name);
    },
    removeMany: async (names) => {
      answer();
      for (const name of names) objects.delete(name);
      return [];
    },
    list: () => Promise.reject(new Error("nobody looks for orphans in a simulation")),
    claim: () => Promise.reject(new Error("nobody looks for orphans in a simulation")),
    check: async () => answer(),
    sweepTemporaryFiles: async () => 0,
    close: async () => {},
  };
  return storage;
}
