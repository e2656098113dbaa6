import assert from "node:assert/strict";
import { execFile, fork } from "node:child_process";
import { once } from "node:events";
import test from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import { AppError } from "../lib/errors.ts";
import { createLog } from "../lib/log.ts";
import { systemClock } from "../lib/time.ts";
import { createTestClock } from "../../test/support/clock.ts";
import { createPicture, pngBomb } from "../../test/support/picture-bytes.ts";
import { PictureError } from "./picture.ts";
import type { Drawing } from "./picture.ts";
import { createPictureProcesses } from "./processes.ts";
import type { PicturePool, PictureProcessesLimits } from "./processes.ts";

const limits = { formats: ["png"], pixelsMax: 50e6, bytesMax: 20 * 2 ** 20 } as const;
/** Keeps a process busy for about a tenth of a second: long enough to be found at it. */
const largePicture = pngBomb(7_000);
const secondMs = 1_000;

const drawing: Drawing = {
  width: 512,
  height: 384,
  format: "png",
  compression: null,
  transparent: false,
  seed: "a seed",
  title: "A lighthouse at dawn",
  caption: "512x384",
  insets: [],
  base: null,
};

async function setup(context: TestContext, options: Partial<PictureProcessesLimits> = {}) {
  const clock = createTestClock();
  const log = createLog("silent");
  const pictures = createPictureProcesses({ clock, log, processesMax: 1, ...options });
  context.after(() => pictures.close());
  return { clock, pictures, png: await createPicture().png().toBuffer() };
}

/** A stopped process is one that hangs: it takes a job and never answers. */
function hang(pid: number | undefined): void {
  process.kill(pid!, "SIGSTOP");
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The id of the process that takes the place of one that has ended. */
async function anotherThan(pictures: PicturePool, ended: number | undefined): Promise<number> {
  for (;;) {
    const pid = pictures.pids.at(-1);
    if (pid !== undefined && pid !== ended) return pid;
    await nextTurn();
  }
}

const isBroken = (error: unknown) => error instanceof PictureError && error.problem === "broken";
const isReason = (reason: string) => (error: unknown) =>
  error instanceof AppError && error.reason === reason;

test("no process runs before the first picture, nor for one that its header betrays", async (context) => {
  const { pictures } = await setup(context);
  await assert.rejects(pictures.clean(Buffer.from("<svg/>".repeat(9)), limits), PictureError);
  await assert.rejects(pictures.clean(pngBomb(16_000), limits), PictureError);
  assert.deepEqual(pictures.pids, []);
});

test("pictures are worked on one after the other by one process, and by more when there may be more", async (context) => {
  const { pictures, png } = await setup(context, { processesMax: 2 });
  await pictures.clean(png, limits);
  await pictures.clean(png, limits);
  assert.equal(pictures.pids.length, 1);
  await Promise.all(Array.from({ length: 8 }, () => pictures.clean(png, limits)));
  assert.equal(pictures.pids.length, 2);
});

test("a hanging job is killed at its deadline, and the next picture gets a fresh process", async (context) => {
  const { clock, pictures, png } = await setup(context);
  await pictures.clean(png, limits);
  const [pid] = pictures.pids;
  hang(pid);
  const refused = assert.rejects(pictures.clean(png, limits), isBroken);
  await clock.advance(10 * secondMs - 1);
  assert.ok(isRunning(pid!));
  await clock.advance(1);
  await refused;
  assert.equal(isRunning(pid!), false);
  assert.equal((await pictures.clean(png, limits)).info.width, 48);
  assert.notDeepEqual(pictures.pids, [pid]);
});

test("a process that dies fails its own job alone", async (context) => {
  const { pictures, png } = await setup(context, { processesMax: 2 });
  await Promise.all([pictures.clean(png, limits), pictures.clean(png, limits)]);
  const [first, second] = pictures.pids;
  for (const pid of [first, second]) hang(pid);
  const jobs = [1, 2, 3].map(() => pictures.clean(png, limits).then(({ info }) => info.width));
  const outcomes = Promise.allSettled(jobs);
  await nextTurn();
  process.kill(first!, "SIGKILL");
  process.kill(second!, "SIGCONT");
  const failed = (await outcomes).filter(({ status }) => status === "rejected");
  assert.equal(failed.length, 1);
  assert.ok(failed[0]?.status === "rejected" && isBroken(failed[0].reason));
  assert.ok(isRunning(second!));
});

test("a drawing that loses its process is drawn by another one", async (context) => {
  const { pictures, png } = await setup(context);
  const undisturbed = await pictures.draw(drawing);
  const [pid] = pictures.pids;
  hang(pid);
  const drawn = pictures.draw(drawing);
  await nextTurn();
  process.kill(pid!, "SIGKILL");
  assert.deepEqual(await drawn, undisturbed);
  assert.deepEqual((await pictures.clean(undisturbed, limits)).info, {
    format: "png",
    contentType: "image/png",
    width: 512,
    height: 384,
    hasAlpha: false,
  });
  assert.notDeepEqual(pictures.pids, [pid]);
  assert.equal((await pictures.clean(png, limits)).info.width, 48);
});

test("a vendor's picture that loses its process is converted by another one, and once only", async (context) => {
  const { pictures, png } = await setup(context, { processesMax: 1 });
  const conversion = { width: 20, height: 20, format: "png", compression: null } as const;
  const undisturbed = await pictures.convert(png, limits, conversion);
  const [first] = pictures.pids;
  hang(first);
  const converted = pictures.convert(png, limits, conversion);
  await nextTurn();
  process.kill(first!, "SIGKILL");
  assert.deepEqual(await converted, undisturbed);

  const [second] = pictures.pids;
  hang(second);
  const refused = assert.rejects(
    pictures.convert(png, limits, conversion),
    isReason("unavailable"),
  );
  await nextTurn();
  process.kill(second!, "SIGKILL");
  process.kill(await anotherThan(pictures, second), "SIGKILL");
  await refused;
});

test("a drawing that loses two processes is given up", async (context) => {
  const { clock, pictures } = await setup(context, { processesMax: 1 });
  await pictures.draw(drawing);
  const [first] = pictures.pids;
  hang(first);
  const refused = assert.rejects(pictures.draw(drawing), isReason("unavailable"));
  await nextTurn();
  process.kill(first!, "SIGKILL");
  // The deadline of the first try is called off; then the second process starts and takes the job.
  process.kill(await anotherThan(pictures, first), "SIGKILL");
  await refused;
  assert.equal(clock.waiting, 0);
});

test("strangers' pictures wait beyond the bound in vain, and those that wait are served in order", async (context) => {
  const { pictures, png } = await setup(context, { waitingMax: 1 });
  await pictures.clean(png, limits);
  const [pid] = pictures.pids;
  hang(pid);
  const order: number[] = [];
  // One under way, one in the line, and the room that is kept for a drawing and an output.
  const jobs = [0, 1, 2, 3].map((job) => pictures.clean(png, limits).then(() => order.push(job)));
  await assert.rejects(
    pictures.clean(png, limits),
    (error) => isReason("overloaded")(error) && (error as AppError).retryAfterSeconds === 2,
  );
  process.kill(pid!, "SIGCONT");
  await Promise.all(jobs);
  assert.deepEqual(order, [0, 1, 2, 3]);
});

test("a line of waiting drawings does not keep a stranger's picture out", async (context) => {
  const { pictures, png } = await setup(context, { waitingMax: 4, drawingsWaitingMax: 50 });
  await pictures.clean(png, limits);
  const [pid] = pictures.pids;
  hang(pid);
  let drawn = 0;
  const drawings = Array.from({ length: 12 }, () =>
    pictures.draw(drawing).then(() => (drawn += 1)),
  );
  const cleaned = pictures.clean(png, limits).then(() => drawn);
  process.kill(pid!, "SIGCONT");
  assert.ok((await cleaned) <= 2);
  await Promise.all(drawings);
  assert.equal(drawn, 12);
});

test("a line of waiting drawings does not hold up a vendor's picture", async (context) => {
  const { pictures, png } = await setup(context, { waitingMax: 4, drawingsWaitingMax: 50 });
  await pictures.clean(png, limits);
  const [pid] = pictures.pids;
  hang(pid);
  let drawn = 0;
  const drawings = Array.from({ length: 12 }, () =>
    pictures.draw(drawing).then(() => (drawn += 1)),
  );
  const conversion = { width: 20, height: 20, format: "png", compression: null } as const;
  const converted = pictures.convert(png, limits, conversion).then(() => drawn);
  process.kill(pid!, "SIGCONT");
  assert.ok((await converted) <= 2);
  await Promise.all(drawings);
  assert.equal(drawn, 12);
});

test("an idle process is stopped, and no sooner", async (context) => {
  const { clock, pictures, png } = await setup(context);
  await pictures.clean(png, limits);
  await clock.advance(14 * secondMs);
  await pictures.clean(png, limits);
  const [pid] = pictures.pids;
  await clock.advance(15 * secondMs - 1);
  assert.deepEqual(pictures.pids, [pid]);
  await clock.advance(1);
  await waitUntilGone(pictures, pid);
  assert.deepEqual(pictures.pids, []);
  assert.equal(clock.waiting, 0);
  assert.equal((await pictures.clean(png, limits)).info.width, 48);
});

test("a process is replaced after its share of pictures, and when it keeps too much memory", async (context) => {
  const counted = await setup(context, { jobsMax: 3 });
  const seen = new Set<number>();
  for (let job = 0; job < 6; job++) {
    await counted.pictures.clean(counted.png, limits);
    for (const pid of counted.pictures.pids) seen.add(pid);
  }
  assert.equal(seen.size, 2);
  const weighed = await setup(context, { rssBytesMax: 2 ** 20 });
  await weighed.pictures.clean(weighed.png, limits);
  const [heavy] = weighed.pictures.pids;
  await weighed.pictures.clean(weighed.png, limits);
  await waitUntilGone(weighed.pictures, heavy);
  assert.equal(isRunning(heavy!), false);
});

test("closing ends idle, busy and starting processes, and answers who still waits", async (context) => {
  const { pictures, png } = await setup(context, { processesMax: 2 });
  await pictures.clean(png, limits);
  const [warm] = pictures.pids;
  hang(warm);
  const jobs = [1, 2, 3, 4].map(() =>
    assert.rejects(pictures.clean(png, limits), isReason("unavailable")),
  );
  const drawn = assert.rejects(pictures.draw(drawing), isReason("unavailable"));
  await nextTurn();
  const { pids } = pictures;
  assert.equal(pids.length, 2);
  await pictures.close();
  assert.deepEqual(pids.filter(isRunning), []);
  assert.deepEqual(pictures.pids, []);
  await Promise.all([...jobs, drawn]);
  await assert.rejects(pictures.clean(png, limits), isReason("unavailable"));
  await pictures.close();
});

test("a process outlives the signals that tell its parent to drain", async (context) => {
  const { pictures, png } = await setup(context);
  await pictures.clean(png, limits);
  const { pids } = pictures;
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.kill(pids[0]!, signal);
  await pictures.clean(largePicture, limits);
  assert.deepEqual(pictures.pids, pids);
});

test("a process ends in the middle of its work when its parent is gone", async () => {
  const child = fork(new URL("./child.ts", import.meta.url), { serialization: "advanced" });
  await once(child, "message");
  child.send({ operation: "clean", input: { bytes: largePicture, limits } }, () => {
    child.disconnect();
  });
  const [, signal] = await once(child, "exit");
  assert.equal(signal, "SIGKILL");
});

test("a process that cannot start is reported as our trouble, not as the picture's", async (context) => {
  const { clock, pictures, png } = await setup(context);
  const refused = assert.rejects(pictures.clean(png, limits), isReason("unavailable"));
  await nextTurn();
  hang(pictures.pids[0]);
  await clock.advance(30 * secondMs);
  await refused;
});

test("the main process never loads sharp", async () => {
  const script = `
    const { createPictureProcesses } = await import(${JSON.stringify(new URL("./processes.ts", import.meta.url).href)});
    await import(${JSON.stringify(new URL("./data-uri.ts", import.meta.url).href)});
    const { createLog } = await import(${JSON.stringify(new URL("../lib/log.ts", import.meta.url).href)});
    const { systemClock } = await import(${JSON.stringify(new URL("../lib/time.ts", import.meta.url).href)});
    const pictures = createPictureProcesses({ clock: systemClock, log: createLog("silent") });
    const png = Buffer.from(process.argv[1], "base64");
    const { info } = await pictures.clean(png, { formats: ["png"], pixelsMax: 1e6, bytesMax: 1e6 });
    const native = process.report.getReport().sharedObjects.filter((path) => /sharp|vips/.test(path));
    console.log(JSON.stringify({ width: info.width, native }));
  `;
  const png = (await createPicture().png().toBuffer()).toString("base64");
  const run = promisify(execFile);
  // It also ends by itself: an idle process does not keep its parent alive.
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script, png]);
  assert.deepEqual(JSON.parse(stdout), { width: 48, native: [] });
});

test("looking names up stays fast while pictures are decoded", async (context) => {
  const pictures = createPictureProcesses({
    clock: systemClock,
    log: createLog("silent"),
    processesMax: 1,
  });
  context.after(() => pictures.close());
  const { lookup } = await import("node:dns/promises");
  await pictures.clean(await createPicture().png().toBuffer(), limits);
  const decoding = { left: 8 };
  const decoded = Promise.all(
    Array.from({ length: decoding.left }, async () => {
      await pictures.clean(largePicture, limits);
      decoding.left -= 1;
    }),
  );
  const durations: number[] = [];
  while (decoding.left > 0) {
    const started = performance.now();
    await lookup("localhost");
    durations.push(performance.now() - started);
  }
  await decoded;
  const slow = durations.filter((duration) => duration > 100).length;
  assert.ok(slow <= durations.length / 100, `${slow} of ${durations.length} took over 100 ms`);
});

async function waitUntilGone(pictures: PicturePool, pid: number | undefined): Promise<void> {
  while (pictures.pids.some((running) => running === pid)) await nextTurn();
}
