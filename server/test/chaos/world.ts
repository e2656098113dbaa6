/**
 * What a cluster stands on, all of it real and all of it behind faults: PostgreSQL, an S3 server, two vendors
 * that keep their own log of what they were paid for, and a receiver of webhooks.
 */
import type { ChannelWish } from "../../src/channels/check.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/lib/time.ts";
import { emulatedBflKey, startBflEmulator } from "../emulators/bfl.ts";
import type { BflEmulator } from "../emulators/bfl.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../emulators/openai.ts";
import type { OpenAiEmulator } from "../emulators/openai.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import type { FaultProxy } from "../support/fault-proxy.ts";
import {
  findBinaries,
  runStatement,
  startPostgres,
  startServer,
  withDatabase,
} from "../support/postgres-server.ts";
import { startReceiver } from "../support/receiver.ts";
import type { Receiver } from "../support/receiver.ts";
import { startS3Server } from "../support/s3-server.ts";
import type { S3TestServer } from "../support/s3-server.ts";

export type World = {
  postgres: {
    /** Around every proxy. */
    url: string;
    /** Ends every session, as a restart of the server does; a server that is ours alone is restarted. */
    restart(): Promise<void>;
  };
  s3: S3TestServer;
  bfl: BflEmulator;
  openai: OpenAiEmulator;
  vendorProxies: readonly FaultProxy[];
  channels: readonly (ChannelWish & { name: string; secret: string })[];
  receiver: Receiver;
  stop(): Promise<void>;
};

/** Pictures take the vendors a moment, so that faults fall into calls. */
const openAiDelayMs = 300;
const channelTimeoutMs = 20_000;
const timePassesEveryMs = 6_000;

export async function startWorld(): Promise<World> {
  const ends: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of ends.splice(0).toReversed()) await end();
  };
  try {
    const postgres = await openPostgres(ends);
    const s3 = await startS3Server({ after: (end) => void ends.push(end) });
    const bfl = await startBflEmulator();
    const openai = await startOpenAiEmulator();
    const receiver = await startReceiver();
    ends.push(bfl.stop, openai.stop, receiver.stop);
    const bflProxy = await startFaultProxy(bfl.origin);
    const openAiProxy = await startFaultProxy(openai.origin);
    const vendorProxies = [bflProxy, openAiProxy];
    for (const proxy of vendorProxies) ends.push(async () => proxy[Symbol.asyncDispose]());
    bfl.set({ credits: 1e12, pollingOrigin: `${originOf(bflProxy)}/eu2` });
    setUsualPace(openai);
    const common = { timeoutMs: channelTimeoutMs };
    return {
      postgres,
      s3,
      bfl,
      openai,
      vendorProxies,
      channels: [
        {
          ...common,
          name: "bfl",
          provider: "bfl",
          baseUrl: originOf(bflProxy),
          secret: emulatedBflKey,
        },
        {
          ...common,
          name: "openai",
          provider: "openai",
          baseUrl: `${originOf(openAiProxy)}/v1`,
          secret: emulatedOpenAiKey,
        },
      ],
      receiver,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

export function setUsualPace(openai: OpenAiEmulator): void {
  openai.set({ refusal: null, reply: { kind: "slow", delayMs: openAiDelayMs } });
}

export function originOf(proxy: FaultProxy): string {
  return new URL(proxy.url).origin;
}

/**
 * What nobody asks after stays active in the emulator for ever, and would use up the account's places: to a
 * real vendor time passes. Runs until the signal.
 */
export async function letTimePass(bfl: BflEmulator, signal: AbortSignal): Promise<void> {
  let passed = 0;
  let seen = 0;
  while (!signal.aborted) {
    await systemClock.sleep(timePassesEveryMs, signal);
    for (; passed < seen && !signal.aborted; passed += 1) {
      for (let poll = 0; poll < 4; poll += 1) await askFor(bfl, bfl.works[passed]?.id ?? "");
    }
    seen = bfl.works.length;
  }
}

async function askFor(bfl: BflEmulator, id: string): Promise<void> {
  const headers = { "x-key": emulatedBflKey };
  // A fault that was meant for the gateway is no matter here.
  await fetch(`${bfl.origin}/eu2/v1/get_result?id=${id}`, { headers })
    .then((reply) => reply.arrayBuffer())
    .catch(() => undefined);
}

async function openPostgres(ends: (() => Promise<void>)[]): Promise<World["postgres"]> {
  const database = `darkroom_chaos_${systemRandom.bytes(6).toString("hex")}`;
  if (findBinaries() === null) {
    const { url: server, stop } = await startPostgres();
    ends.push(stop, () => runStatement(server, `drop database ${database} with (force)`));
    await runStatement(server, `create database ${database}`);
    const url = withDatabase(server, database);
    return { url, restart: () => runStatement(server, endSessionsOf(database)) };
  }
  const own = await startServer();
  ends.push(own.stop);
  await runStatement(own.url, `create database ${database}`);
  let restarting = Promise.resolve();
  return {
    url: withDatabase(own.url, database),
    // One at a time: the server of a second one would find the folder taken.
    restart: () => (restarting = restarting.then(own.restart)),
  };
}

function endSessionsOf(database: string): string {
  return `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${database}'`;
}
