/**
 * Kills a server at every commit and every send of a piece of work, one life after the other on the same data
 * folder, and compares what each task came to with what was committed when its server died.
 */
import assert from "node:assert/strict";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { addChannel } from "../../src/channels/add.ts";
import { parseConfig } from "../../src/config.ts";
import { openInstallation } from "../../src/installation.ts";
import { auditFolder } from "../crash/audit.ts";
import { testEnvironment } from "../support/app.ts";
import { createClient, until } from "../support/client.ts";
import { readBooks } from "./books.ts";
import { creditLive } from "./funds.ts";
import { findProblems } from "./judge.ts";
import { startLife } from "./life.ts";
import type { Life } from "./life.ts";
import { vendors } from "./vendors.ts";
import type { Vendor, VendorName } from "./vendors.ts";

export type Scenario = {
  vendor: VendorName;
  /** Submitted at the same time. */
  tasks: number;
  /** Of each task. */
  pictures: number;
};

export type KillReport = {
  problems: readonly string[];
  /** Where the server was killed, in order. */
  killedAt: readonly string[];
  /** Tasks by what they came to. */
  ends: Readonly<Record<string, number>>;
};

/** More passages than any of the scenarios has. */
const passagesMax = 250;

type Stage = {
  scenario: Scenario;
  vendor: Vendor;
  folder: string;
  token: string;
  settings: Readonly<Record<string, string>>;
};

export async function killEverywhere(
  scenario: Scenario,
  log: (line: string) => void = () => undefined,
): Promise<KillReport> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "darkroom-faults-")));
  const vendor = await vendors[scenario.vendor]();
  try {
    const settings = testEnvironment(folder, {
      DARKROOM_LOG_LEVEL: "error",
      DARKROOM_PICTURE_PROCESSES: "1",
    });
    const token = await prepareFolder(settings, vendor);
    return await runLives({ scenario, vendor, folder, token, settings }, log);
  } finally {
    await vendor.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** An account with money, a live key of it, and the channel to the vendor. */
async function prepareFolder(
  settings: Readonly<Record<string, string>>,
  vendor: Vendor,
): Promise<string> {
  const installation = await openInstallation(parseConfig(settings));
  const { db, clock, vault, catalogue, accounts, keys } = installation;
  try {
    const { id: accountId } = await accounts.createAccount("default");
    await creditLive(installation, 1_000_000_000);
    const deps = { db, clock, vault, models: catalogue.list() };
    await addChannel(deps, { ...vendor.channel, name: "vendor", isReplacing: false });
    const { token } = await keys.createKey({ accountId, mode: "live", name: "faults" });
    return token;
  } finally {
    await installation.close();
  }
}

async function runLives(stage: Stage, log: (line: string) => void): Promise<KillReport> {
  const problems: string[] = [];
  const killedAt: string[] = [];
  const ends: Record<string, number> = {};
  let life = await startLife(stage.folder, stage.settings);
  try {
    const expected = await countPassages(stage, life);
    log(`${describe(stage.scenario)}: ${expected.length} passages`);
    for (let dieAt = 1; dieAt <= passagesMax; dieAt += 1) {
      const mark = markOf(stage.scenario, dieAt);
      const place = await dieOnce(stage, life, { dieAt, mark });
      // Work that has ended before the passage has none left to be killed at.
      if (place === null) break;
      killedAt.push(place);
      const atDeath = readBooks(stage.folder, mark);
      life = await startLife(stage.folder, stage.settings);
      const ids = await submitAll(stage, life, mark);
      const client = createClient(life.origin, stage.token);
      const tasks = await Promise.all(ids.map((id) => client.wait(id)));
      const after = readBooks(stage.folder, mark);
      const { vendor, scenario } = stage;
      const found = findProblems({
        scenario,
        isSafe: vendor.isSafe,
        place,
        atDeath,
        after,
        tasks,
        log: vendor.look(mark),
      });
      problems.push(...found.map((problem) => `killed ${place} (${dieAt}): ${problem}`));
      for (const { status, error } of tasks) {
        const end = error === undefined ? status : `${status}: ${error.code}`;
        ends[end] = (ends[end] ?? 0) + 1;
      }
      log(`${dieAt} ${place}: ${tasks.map(({ status }) => status).join()}`);
    }
    const missed = expected.length - killedAt.length;
    // Heartbeats come in between, and work at the same time may share a commit.
    if (missed > expected.length / 4)
      problems.push(`${missed} of ${expected.length} passages were not killed at`);
    await life.stop();
  } finally {
    life.kill();
  }
  const audit = await auditFolder(stage.folder);
  problems.push(...audit.problems.filter((problem) => !isMeant(problem)));
  return { problems, killedAt, ends };
}

/** Outcomes that nobody knows are what this suite is about; the other crash tests have no vendors. */
function isMeant(problem: string): boolean {
  return problem.startsWith("an attempt that no crash should fail has failed");
}

async function countPassages(stage: Stage, life: Life): Promise<readonly string[]> {
  await life.arm(null);
  const client = createClient(life.origin, stage.token);
  const ids = await submitAll(stage, life, markOf(stage.scenario, 0));
  for (const id of ids) {
    const { status, error } = await client.wait(id);
    if (status !== "completed") throw new Error(`without a kill, ${status}: ${error?.code}`);
  }
  return life.passages();
}

/** The passage that killed the server, or null when the work ended before it. */
async function dieOnce(
  stage: Stage,
  life: Life,
  { dieAt, mark }: { dieAt: number; mark: string },
): Promise<string | null> {
  await life.arm(dieAt);
  const client = createClient(life.origin, stage.token);
  const work = submitAll(stage, life, mark)
    .then((ids) => Promise.all(ids.map((id) => client.wait(id))))
    .then(() => life.arm(null));
  const finished = work.then(
    () => true,
    () => false,
  );
  // What the caller sees of a death is a broken connection: the process itself says that it was one.
  if (await Promise.race([finished, life.ended.then(() => false)])) return null;
  const place = await life.ended;
  if (place === null) throw new Error(`the server ended at no fail point: ${String(await work)}`);
  return place;
}

/** Under the same idempotency keys whenever it is called, so that nothing is made twice. */
function submitAll(
  { scenario, vendor, token }: Stage,
  life: Life,
  mark: string,
): Promise<readonly string[]> {
  const client = createClient(life.origin, token);
  const body = {
    ...vendor.body,
    ...(scenario.pictures === 1 ? {} : { n: scenario.pictures }),
    prompt: `A harbour ${mark}`,
  };
  return Promise.all(
    Array.from({ length: scenario.tasks }, async (_, index) => {
      const headers = { "idempotency-key": `${mark}-${index}` };
      const isTaken = ({ status }: { status: number }): boolean => status !== 503;
      // A start that was slow may find itself overloaded for a moment; that has run nothing.
      const reply = await until(() => client.submit(body, headers), isTaken);
      assert.equal(reply.status, 200, JSON.stringify(reply.body));
      return reply.body.data[0].task_id;
    }),
  );
}

function markOf(scenario: Scenario, dieAt: number): string {
  return `at-${scenario.vendor}-${String(dieAt).padStart(3, "0")}`;
}

export function describe({ vendor, tasks, pictures }: Scenario): string {
  return `${vendor}, ${tasks} tasks of ${pictures} pictures`;
}
