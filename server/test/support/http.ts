/** A server for the tests of `http/`: real Fastify, real limits, and as many verbs as a test gives it. */
import type { AddressInfo } from "node:net";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { text } from "node:stream/consumers";

import type { FastifyInstance } from "fastify";
import { pino } from "pino";

import type { Caller } from "../../src/accounts/caller.ts";
import { createRequestLimits } from "../../src/accounts/limits.ts";
import type { Auth } from "../../src/http/auth.ts";
import { createAuth } from "../../src/http/auth.ts";
import type { ServerDeps } from "../../src/http/server.ts";
import { createServer } from "../../src/http/server.ts";
import { createIds } from "../../src/lib/ids.ts";
import type { LogLevel } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { createTestClock } from "./clock.ts";
import type { TestClock } from "./clock.ts";

export const testToken = `sk-test-${"a".repeat(43)}`;
export const liveToken = `sk-live-${"b".repeat(43)}`;

export const testCaller: Caller = {
  accountId: "acc_1",
  accountName: "default",
  keyId: "key_1",
  keyName: "first",
  mode: "test",
  ratioPpm: 1_000_000,
  cap: null,
  models: null,
  ips: null,
  requestsPerMinute: null,
  tasksInFlight: null,
  spendPerDay: null,
  accountLimits: null,
  expiresAt: null,
};

export type TestServer = {
  app: FastifyInstance;
  auth: Auth;
  clock: TestClock;
  /** Lines that were logged, as JSON text. */
  logged: string[];
  ids: ServerDeps["ids"];
  log: ServerDeps["log"];
};

export type TestServerOptions = Partial<
  Pick<ServerDeps, "bodyBytesMax" | "isDraining" | "trustedProxies">
> & {
  /** Limits and lists of the test key. */
  key?: Partial<Caller>;
  logLevel?: LogLevel;
};

/** Knows two keys of one account: `testToken` and `liveToken`. Closed when the test ends. */
export function createTestServer(t: TestContext, options: TestServerOptions = {}): TestServer {
  const clock = createTestClock();
  const ids = createIds(clock, systemRandom);
  const logged: string[] = [];
  const log = pino(
    { level: options.logLevel ?? "info" },
    { write: (line: string) => void logged.push(line) },
  );
  const callers = new Map<string, Caller>([
    [testToken, { ...testCaller, ...options.key }],
    [liveToken, { ...testCaller, keyId: "key_2", mode: "live" }],
  ]);
  const app = createServer({
    ids,
    log,
    bodyBytesMax: options.bodyBytesMax ?? 33_554_432,
    trustedProxies: options.trustedProxies ?? [],
    isDraining: options.isDraining ?? (() => false),
  });
  const auth = createAuth({
    keys: { verify: (token) => Promise.resolve(callers.get(token) ?? null) },
    requestLimits: createRequestLimits({ clock, liveApiNodes: () => 1, allowancesMax: 100 }),
  });
  t.after(() => {
    // A test that failed may have left a connection open, on which closing would wait.
    app.server.closeAllConnections();
    return app.close();
  });
  return { app, auth, clock, logged, ids, log };
}

export const bearer = { authorization: `Bearer ${testToken}` };

/** Listens on a free port of the loopback address and returns the origin. */
export async function listen(app: FastifyInstance): Promise<string> {
  return app.listen({ host: "127.0.0.1", port: 0 });
}

/**
 * Sends bytes over a socket of its own, and only when all have left reads what comes back until the
 * server closes.
 */
export async function exchange(app: FastifyInstance, request: string): Promise<string> {
  if (!app.server.listening) await listen(app);
  // A listening TCP server has an address with a port.
  const { port } = app.server.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1");
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.write(request, () => resolve());
  });
  return text(socket);
}
