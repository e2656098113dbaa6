/** What a request passes before it is worked on: the key, its limits, and whether there is room. */
import type { FastifyInstance } from "fastify";

import { createRequestLimits } from "../accounts/limits.ts";
import { createAuth } from "../http/auth.ts";
import type { Installation } from "../installation.ts";
import { readDiskRoom } from "../lib/disk-room.ts";
import { watchEventLoopDelay } from "../lib/event-loop-delay.ts";
import type { EventLoopDelay } from "../lib/event-loop-delay.ts";
import { createOverload } from "../tasks/overload.ts";

export function composeAdmission(
  { config, clock, log, db, keys }: Installation,
  liveApiNodes: () => number,
) {
  const requestLimits = createRequestLimits({ clock, liveApiNodes });
  let delay: EventLoopDelay | null = null;
  const overload = createOverload({
    db,
    clock,
    log,
    readLoopDelay: () => delay?.read() ?? 0,
    readDiskRoom: () => readDiskRoom(config.data.folder),
    deadlineMs: config.tasks.deadlineMs,
  });
  return {
    requestLimits,
    auth: createAuth({ keys, requestLimits }),
    overload,
    /** Measures the load for as long as the server runs. */
    watchLoad: (http: FastifyInstance): void => {
      http.addHook("onReady", (done) => {
        delay = watchEventLoopDelay();
        overload.start();
        done();
      });
      http.addHook("onClose", async () => {
        await overload.stop();
        delay?.stop();
      });
    },
  };
}
