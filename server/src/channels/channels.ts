import type { Database } from "../db/database.ts";
import type { ChannelRow, Mode } from "../db/schema.ts";
import type { Log } from "../lib/log.ts";
import type { Clock } from "../lib/time.ts";
import type { Vault } from "../lib/vault.ts";
import type { Tier } from "../models/model.ts";
import type { Adapter } from "../providers/adapter.ts";
import { vaultName } from "./add.ts";
import type { Channel, FaultKind } from "./channel.ts";
import type { Connector } from "./connect.ts";
import { clearFault, saveFault } from "./faults.ts";
import { toStoredChannel } from "./settings.ts";
import type { StoredChannel } from "./settings.ts";
import { listRevisions, selectChannels } from "./store.ts";

/** The channels this installation has, as of the last refresh. */
export type Channels = {
  /** In order of name, disabled and faulted ones too; the built-in ones first. */
  list(): readonly Channel[];
  /** Disabled ones too: work under way there is still asked about. */
  find(name: string): Channel | null;
  /** True when a channel that is not disabled could serve the model under keys of this mode, at one of the tiers. */
  serves(model: string, mode: Mode, tiers?: readonly Tier[]): boolean;
  /** Takes over what other processes changed: resolves once the changes committed before the call are seen. */
  refresh(): Promise<void>;
  /** Writes down what is wrong with our account, for all nodes; live work keeps away for a while. */
  reportFault(name: string, kind: FaultKind, reason: string): Promise<void>;
  /** The upstream has answered: a fault that was written down is over. Costs nothing where there is none. */
  reportSuccess(name: string): Promise<void>;
};

export type ChannelsDeps = {
  db: Pick<Database, "read" | "transaction">;
  clock: Pick<Clock, "now">;
  log: Pick<Log, "error">;
  vault: Pick<Vault, "open">;
  connector: Pick<Connector, "connect">;
  /** Channels without a row, such as the sandbox. */
  builtIn: readonly Channel[];
};

/** A channel with the revision of the row that it was made from; null where it could not be made. */
type Known = { revision: number; channel: Channel | null };

const everyTier: readonly Tier[] = ["standard", "official"];

/** Knows the built-in channels only until the first refresh. */
export function createChannels(deps: ChannelsDeps): Channels {
  let known: ReadonlyMap<string, Known> = new Map();
  let all = deps.builtIn;
  const refresh = joinCalls(async () => {
    known = await loadChanges(deps, known);
    all = [...deps.builtIn, ...[...known.values()].flatMap(({ channel }) => channel ?? [])];
  });
  const find = (name: string): Channel | null =>
    all.find((channel) => channel.name === name) ?? null;
  return {
    list: () => all,
    find,
    serves: (model, mode, tiers = everyTier) =>
      all.some(
        (channel) =>
          !channel.isDisabled &&
          channel.mode === mode &&
          tiers.some((tier) => channel.tiers.includes(tier)) &&
          channel.upstreamModel(model) !== null,
      ),
    refresh,
    reportFault: async (name, kind, reason) => {
      const now = deps.clock.now();
      await deps.db.transaction((tx) => saveFault(tx, { name, kind, reason, now }));
      await refresh();
    },
    reportSuccess: async (name) => {
      if ((find(name)?.fault ?? null) === null) return;
      await deps.db.transaction((tx) => clearFault(tx, name));
      await refresh();
    },
  };
}

/** The built-in channel behind every test key: all models, both tiers, no vendor. */
export function createSandboxChannel(adapter: Adapter): Channel {
  return {
    name: "sandbox",
    adapter,
    mode: "test",
    tiers: ["standard", "official"],
    upstreamModel: (model) => model,
    priority: 0,
    weight: 1,
    // The task's deadline is its only limit: waiting to be drawn is no vendor's silence.
    timeoutMs: Number.POSITIVE_INFINITY,
    costRatioPpm: 0,
    caps: new Map(),
    unknownOutcome: "fail",
    isDisabled: false,
    fault: null,
  };
}

async function loadChanges(
  deps: ChannelsDeps,
  known: ReadonlyMap<string, Known>,
): Promise<ReadonlyMap<string, Known>> {
  const revisions = await listRevisions(deps.db.read);
  const isSame =
    revisions.length === known.size &&
    revisions.every(({ name, revision }) => known.get(name)?.revision === revision);
  if (isSame) return known;
  const rows = await selectChannels(deps.db.read);
  return new Map(rows.map((row) => [row.name, takeOver(deps, known.get(row.name), row)]));
}

function takeOver(deps: ChannelsDeps, before: Known | undefined, row: ChannelRow): Known {
  const { revision } = row;
  if (before?.revision === revision) return before;
  try {
    return { revision, channel: buildChannel(deps, toStoredChannel(row)) };
  } catch (error) {
    // One channel that cannot be made must not take the others with it.
    deps.log.error({ err: error, channel: row.name }, "the channel cannot be used");
    return { revision, channel: null };
  }
}

function buildChannel({ vault, connector }: ChannelsDeps, stored: StoredChannel): Channel {
  const secret = stored.secret === null ? null : vault.open(vaultName(stored.name), stored.secret);
  const upstreamNames = new Map(stored.models.map((one) => [one.model, one.upstreamModel]));
  return {
    name: stored.name,
    ...connector.connect(stored, secret),
    mode: "live",
    tiers: stored.tiers,
    upstreamModel: (model) => upstreamNames.get(model) ?? null,
    priority: stored.priority,
    weight: stored.weight,
    timeoutMs: stored.timeoutMs,
    costRatioPpm: stored.costRatioPpm,
    caps: new Map(Object.entries(stored.caps)),
    unknownOutcome: stored.unknownOutcome,
    isDisabled: stored.disabled !== null,
    fault: stored.fault,
  };
}

/** Runs `work` once for all calls that come while an earlier run is under way; never two at the same time. */
function joinCalls(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  let next: Promise<void> | null = null;
  return () => {
    next ??= running
      .catch(() => undefined)
      .then(() => {
        next = null;
        return work();
      });
    running = next;
    return next;
  };
}
