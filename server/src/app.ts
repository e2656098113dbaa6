/** A server: an installation in, running parts out. What it is made of stands in compose/. */
import { join } from "node:path";

import { createEngine } from "./compose/engine.ts";
import { createHttp } from "./compose/http.ts";
import type { HttpState } from "./compose/http.ts";
import { lockFolder } from "./db/folder-lock.ts";
import { callInProcess, closeServer, listen } from "./http/listen.ts";
import type { ApiRequest } from "./http/listen.ts";
import type { Installation } from "./installation.ts";

export type App = {
  /** Takes the data folder, starts the engine, listens; resolves with the address under which it is reached. */
  start(): Promise<string>;
  /** Stops accepting, finishes what is under way, gives the rest back, closes everything. */
  stop(): Promise<void>;
  /** One request through the whole API, without a socket; resolves with the parsed body. */
  call(request: ApiRequest): Promise<unknown>;
};

export function createApp(installation: Installation): App {
  const { config } = installation;
  const state: HttpState = { listening: "", isDraining: false };
  const engine = createEngine(installation);
  const http = createHttp(installation, engine, state);
  let release = (): void => {};
  let starting: Promise<string> | null = null;
  async function begin(): Promise<string> {
    release = lockFolder(join(config.data.folder, "server.lock")).release;
    await installation.storage.sweepTemporaryFiles();
    await engine.start();
    state.listening = await listen(http, config.http);
    return state.listening;
  }
  return {
    start: () => (starting = begin()),
    stop: async () => {
      state.isDraining = true;
      // A part that is stopped before it has begun would begin afterwards.
      await starting?.catch(() => undefined);
      await closeServer(http, installation.clock);
      await engine.stop();
      await installation.close().finally(() => release());
    },
    call: (request) => callInProcess(http, request),
  };
}
