/** The channels of a server: those of its environment, and those that operators make beside it. */
import type { Channel } from "../channels/channel.ts";
import { createChannels } from "../channels/channels.ts";
import { createConnector } from "../channels/connect.ts";
import { applyEnvironment } from "../channels/environment.ts";
import type { Installation } from "../installation.ts";
import { createLoop } from "../lib/loop.ts";
import { secondMs } from "../lib/time.ts";

const refreshEveryMs = 2 * secondMs;

/** Nodes that only serve the API know the channels by their rows; the keys of vendors are for workers. */
export function composeChannels(
  installation: Installation,
  builtIn: readonly Channel[],
  { appliesEnvironment }: { appliesEnvironment: boolean },
) {
  const { config, clock, log, db, vault, catalogue, openEgress } = installation;
  const models = catalogue.list();
  const connector = createConnector({ openEgress, allow: config.egress.allow, models });
  const channels = createChannels({ db, clock, log, vault, connector, builtIn });
  const refreshing = createLoop({
    clock,
    everyMs: refreshEveryMs,
    turn: () => channels.refresh(),
    onError: (error) => log.warn({ err: error }, "the channels could not be looked at"),
  });
  return {
    channels,
    start: async () => {
      const accounts = config.upstreams.map(({ secret, ...account }) => ({
        ...account,
        secret: secret?.reveal() ?? null,
      }));
      if (appliesEnvironment) await applyEnvironment({ db, clock, vault, log, models }, accounts);
      await channels.refresh();
      refreshing.start();
    },
    stop: async () => {
      await refreshing.stop();
      await connector.close();
    },
  };
}
