/** A server: an installation in, running parts out. What it is made of stands in compose/. */
import { join } from "node:path";

import { createEngine } from "./compose/engine.ts";
import { createHealthServer } from "./compose/health.ts";
import { createHttp } from "./compose/http.ts";
import type { HttpState } from "./compose/http.ts";
import { assertNotMoved } from "./db/copy-marks.ts";
import { lockFolder } from "./db/folder-lock.ts";
import { callInProcess, closeServer, finishReplies, listen } from "./http/listen.ts";
import type { ApiRequest } from "./http/listen.ts";
import type { Installation, Role } from "./installation.ts";

export type App = {
  /** Listens and starts what the role asks for; resolves with the address under which it is reached. */
  start(): Promise<string>;
  /**
   * Says that it leaves and takes requests for a little longer; then stops accepting, finishes what is
   * under way, gives the rest back, closes everything.
   */
  stop(): Promise<void>;
  /** One request through the whole API, without a socket; resolves with the parsed body. */
  call(request: ApiRequest): Promise<unknown>;
};

export function createApp(installation: Installation, role: Role = "all"): App {
  const { config, clock } = installation;
  const draining = new AbortController();
  const state: HttpState = {
    listening: "",
    isLeaving: false,
    draining: draining.signal,
    dialectCalls: undefined,
  };
  const engine = createEngine(installation, state, role);
  const http =
    role === "worker"
      ? createHealthServer(installation, engine, state)
      : createHttp(installation, engine, state);
  let release = (): void => {};
  let starting: Promise<string> | null = null;
  async function begin(): Promise<string> {
    release = await takeFolder(installation);
    // Links carry the address, also those that are written down when a task ends.
    state.listening = await listen(http, config.http);
    await engine.start();
    return state.listening;
  }
  return {
    start: () => (starting = begin()),
    stop: async () => {
      state.isLeaving = true;
      // A part that is stopped before it has begun would begin afterwards.
      const isUp = await Promise.resolve(starting).then(
        (address) => address !== null,
        () => false,
      );
      if (isUp && role !== "worker") await clock.sleep(config.http.drainMs);
      draining.abort();
      // Calls that are paid for may take minutes more: a supervisor must not take the process for dead.
      if (role !== "api") {
        // What they wait for would be made here, and is not any more.
        state.dialectCalls?.end();
        await finishReplies(http, clock);
        await engine.stop();
      }
      await closeServer(http, clock, state.dialectCalls);
      if (role === "api") await engine.stop();
      await installation.close().finally(() => release());
    },
    call: (request) => callInProcess(http, request),
  };
}

/** On SQLite one server has the data folder; what an earlier one has begun to write there is removed. */
async function takeFolder({ config, db, storage }: Installation): Promise<() => void> {
  // Nodes that share a database may share a folder of pictures too, and write there now.
  if (db.dialect === "postgres") return () => undefined;
  const { release } = lockFolder(join(config.data.folder, "server.lock"));
  try {
    // A move that had the folder until now may have ended since the installation was opened.
    await assertNotMoved(db.read);
    await storage.sweepTemporaryFiles();
  } catch (error) {
    release();
    throw error;
  }
  return release;
}
