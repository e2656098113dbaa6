/** Wake-ups: inside this process, and on PostgreSQL between all nodes of the database. */
import { openNotices } from "../db/open.ts";
import type { Notices } from "../db/postgres-notices.ts";
import type { Installation } from "../installation.ts";
import { createSharedWatch } from "../tasks/shared-watch.ts";
import { createWatch } from "../tasks/watch.ts";
import type { Watch } from "../tasks/watch.ts";

export type WakeUps = { watch: Watch; start(): Promise<void>; stop(): Promise<void> };

export function composeWatch({ config, clock, ids, log }: Installation): WakeUps {
  const local = createWatch();
  const { database } = config.data;
  if (database.kind === "sqlite") {
    return { watch: local, start: () => Promise.resolve(), stop: () => Promise.resolve() };
  }
  const { url } = database;
  let notices: Notices | null = null;
  const shared = createSharedWatch(local, {
    clock,
    node: ids("node"),
    send: (text) => notices?.send(text) ?? Promise.resolve(),
  });
  return {
    watch: shared.watch,
    start: async () => {
      notices = await openNotices({ clock, log }, { url: url.reveal(), onNotice: shared.receive });
      notices.start();
    },
    stop: async () => notices?.stop(),
  };
}
