/** The free health call of a channel, and what to do about what it finds. */
import { vaultName } from "../channels/add.ts";
import { createConnector } from "../channels/connect.ts";
import type { Connection } from "../channels/connect.ts";
import { findRetired } from "../channels/check.ts";
import { clearFault } from "../channels/faults.ts";
import type { StoredChannel } from "../channels/settings.ts";
import type { Installation } from "../installation.ts";
import { EgressError } from "../lib/egress.ts";
import type { Health } from "../providers/adapter.ts";

export type Examination = {
  ok: boolean;
  /** What was found, for the operator. */
  detail: string;
  /** What to do next; null where nothing needs doing. */
  advice: string | null;
  warnings: string[];
};

/** Asks the upstream. A channel that works loses its fault. */
export async function examineChannel(
  installation: Installation,
  channel: StoredChannel,
): Promise<Examination> {
  const { db, clock } = installation;
  const warnings = findRetired(channel, clock.now());
  const { health, blocked } = await connected(installation, channel, async (connection) => {
    const refusal = findRefusal(connection, channel);
    if (refusal !== null) return { health: { ok: false, detail: refusal }, blocked: true };
    const found = await ask(installation, connection);
    return { health: found, blocked: /may not be connected to/.test(found.detail) };
  });
  const { ok, detail, upstreamModels } = health;
  if (!ok) return { ok, detail, advice: adviceFor(channel, blocked), warnings };
  await db.transaction((tx) => clearFault(tx, channel.name));
  await db.durable();
  const missing = findMissing(channel, upstreamModels);
  return { ok, detail, advice: null, warnings: [...warnings, ...missing] };
}

/** A sentence when the guard would not let the channel reach its own address. */
export async function findUnreachable(
  installation: Installation,
  channel: StoredChannel,
): Promise<string[]> {
  return connected(installation, channel, (connection) => {
    const refusal = findRefusal(connection, channel);
    return Promise.resolve(refusal === null ? [] : [`${refusal}; ${allowAdvice(channel)}`]);
  });
}

async function connected<T>(
  { config, catalogue, vault, openEgress }: Installation,
  channel: StoredChannel,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const { allow } = config.egress;
  const connector = createConnector({ openEgress, allow, models: catalogue.list() });
  const { name, secret } = channel;
  const key = secret === null ? null : vault.open(vaultName(name), secret);
  try {
    return await work(connector.connect(channel, key));
  } finally {
    await connector.close();
  }
}

function findRefusal({ egress }: Connection, { baseUrl }: StoredChannel): string | null {
  try {
    egress.checkUrl(baseUrl);
    return null;
  } catch (error) {
    if (!(error instanceof EgressError)) throw error;
    return `the base URL ${error.message}`;
  }
}

async function ask({ clock, ids }: Installation, { adapter }: Connection): Promise<Health> {
  if (adapter.check === undefined) return { ok: true, detail: "this provider has no free call" };
  const { signal } = new AbortController();
  return adapter.check({ attemptId: ids("request"), now: clock.now(), signal });
}

function adviceFor(channel: StoredChannel, blocked: boolean): string {
  if (blocked) return allowAdvice(channel);
  const again = `channels add ${channel.name} --provider ${channel.provider} --replace`;
  return channel.source === "environment"
    ? `check the variables ${channel.name.toUpperCase()}_API_KEY and ${channel.name.toUpperCase()}_BASE_URL, and restart the server`
    : `put the key or the address right with ${again}, and test again`;
}

function allowAdvice({ name, provider, source }: StoredChannel): string {
  const general = "set DARKROOM_EGRESS_ALLOW to its network, such as 127.0.0.0/8";
  if (source === "environment") return general;
  return `to allow it, give --allow CIDR to channels add ${name} --provider ${provider} --replace, or ${general}`;
}

/** Lists may be shortened by the upstream, so a name that is not there is only a warning. */
function findMissing({ models }: StoredChannel, listed: readonly string[] | undefined): string[] {
  if (listed === undefined || listed.length === 0) return [];
  return models
    .filter(({ upstreamModel }) => !listed.includes(upstreamModel))
    .map(
      ({ model, upstreamModel }) =>
        `${model}: the upstream does not list ${upstreamModel}; it may be retired, or not open to this key`,
    );
}
