/** From a channel's row to what calls its upstream. */
import type { Egress } from "../lib/egress.ts";
import type { Adapter } from "../providers/adapter.ts";
import { loadProvider } from "../providers/registry.ts";
import type { CatalogueRow } from "../providers/registry.ts";
import { createReplies } from "../providers/replies.ts";
import { createSend } from "../providers/request.ts";
import type { ChannelSettings } from "./settings.ts";

export type Connection = { adapter: Adapter; egress: Egress };

export type Connector = {
  /** `secret`: the opened key. Throws `AppError` for settings that the provider does not take. */
  connect(
    channel: Pick<ChannelSettings, "provider" | "baseUrl" | "settings" | "allow">,
    secret: string | null,
  ): Connection;
  close(): Promise<void>;
};

export type ConnectorDeps = {
  /** Opens a way out that reaches these networks too. */
  openEgress(allow: readonly string[]): Egress;
  /** CIDRs that every channel may reach. */
  allow: readonly string[];
  models: readonly CatalogueRow[];
};

/**
 * Channels that may reach the same networks share one way out, which stays open while it is connected to:
 * a channel that changes must not break the calls that are under way.
 */
export function createConnector({ openEgress, allow, models }: ConnectorDeps): Connector {
  const ways = new Map<string, Egress>();
  const replies = createReplies();
  const wayOf = (own: readonly string[]): Egress => {
    const all = [...new Set([...allow, ...own])].toSorted();
    const key = all.join();
    const way = ways.get(key) ?? openEgress(all);
    ways.set(key, way);
    return way;
  };
  return {
    connect: ({ provider, baseUrl, settings, allow: own }, secret) => {
      const egress = wayOf(own);
      const send = createSend(egress, replies);
      const adapter = loadProvider(provider).create(
        { baseUrl, secret, settings },
        { send, models },
      );
      return { adapter, egress };
    },
    close: async () => {
      await Promise.all([...ways.values()].map((way) => way.close()));
    },
  };
}
