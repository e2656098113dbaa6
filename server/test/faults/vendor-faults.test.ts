/**
 * Everything that vendors do wrong, through the whole gateway: what the caller is told, what the attempt's row
 * says, and where the money goes. Each case has a gateway and a vendor of its own.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { systemClock } from "../../src/lib/time.ts";
import { startGateway } from "../support/app.ts";
import type { Misbehaviour, RecordedRequest } from "../emulators/vendor-server.ts";
import { collectPictures, pixelsOf } from "../support/pictures.ts";
import { readBooks } from "./books.ts";
import type { BookedAttempt } from "./books.ts";
import { creditLive } from "./funds.ts";
import { base64, bfl, expired, full, gemini, openAi, startForeign } from "./troubled.ts";
import type { Start } from "./troubled.ts";

type Row = Start & {
  /** `completed`, or the code of the task's error. */
  end: string;
  /** Of every attempt its state, the kind of its failure and the fate of its cost. */
  attempts: readonly string[];
  /** Pixels of the picture, for one that is delivered. */
  pixels?: string;
  /** The task's deadline in seconds, for a vendor that never answers; the kinds of failures are then left out. */
  deadlineSeconds?: number;
};

const metadata = "http://169.254.169.254/latest/meta-data/iam";
const html = Buffer.from("<!doctype html><title>Welcome</title>");
const page = (status: number): Misbehaviour => ({
  kind: "instead",
  reply: { status, headers: { "content-type": "text/html" }, body: html },
});
const astray: Misbehaviour = {
  kind: "instead",
  reply: { status: 302, headers: { location: metadata }, body: html },
};
const cut: Misbehaviour = { kind: "cut", share: 0.9 };
const cutQuietly: Misbehaviour = { kind: "cut_quietly", share: 0.9 };

const lost = ["unknown lost wasted"];
/** Whether the run or the sweep of overdue tasks ends it first is a race, and only the run knows a kind. */
const overdue = ["unknown wasted"];
const garbled = ["unknown garbled wasted"];
const delivered = ["done - delivered"];
const useless = ["done - wasted"];

const openAiRows: readonly Row[] = [
  {
    ...openAi("hangs", { kind: "hang" }),
    end: "generation_timeout",
    attempts: overdue,
    deadlineSeconds: 3,
  },
  {
    ...openAi("hangs within its reply", { kind: "hang_after_headers" }),
    end: "generation_timeout",
    attempts: overdue,
    deadlineSeconds: 3,
  },
  {
    ...openAi("refuses with status 200", {
      kind: "instead",
      reply: { status: 200, body: { error: { code: "moderation_blocked", message: "no" } } },
    }),
    end: "content_policy_violation",
    attempts: ["failed refused -"],
  },
  { ...openAi("ends at 90 % of its reply", cut), end: "outcome_unknown", attempts: lost },
  {
    ...openAi("ends in order at 90 % of its reply", cutQuietly),
    end: "outcome_unknown",
    attempts: garbled,
  },
  {
    ...openAi("dies between work and reply", { kind: "reset" }),
    end: "outcome_unknown",
    attempts: lost,
  },
  { ...openAi("answers with a page", page(200)), end: "outcome_unknown", attempts: garbled },
  {
    ...openAi("is behind a proxy that gave up", page(502)),
    end: "outcome_unknown",
    attempts: lost,
  },
  { ...openAi("sends wrong base64", base64("###")), end: "no_image", attempts: useless },
  {
    ...openAi("sends base64 with holes", base64("iVBO\nRw0K")),
    end: "no_image",
    attempts: useless,
  },
  {
    ...openAi("sends no picture in base64", base64("aGVsbG8=")),
    end: "no_image",
    attempts: useless,
  },
  {
    ...openAi("leads to the metadata service", astray),
    end: "provider_rejected",
    attempts: ["failed bad_request -"],
  },
];

const geminiRows: readonly Row[] = [
  {
    ...gemini("hangs", { trouble: { submit: { kind: "hang" } } }),
    end: "generation_timeout",
    attempts: overdue,
    deadlineSeconds: 3,
  },
  {
    ...gemini("refuses with status 200", {
      trouble: {
        submit: {
          kind: "instead",
          reply: { status: 200, body: { promptFeedback: { blockReason: "PROHIBITED_CONTENT" } } },
        },
      },
    }),
    end: "content_policy_violation",
    attempts: ["done - -"],
  },
  {
    ...gemini("ends at 90 % of its reply", { trouble: { submit: cut } }),
    end: "outcome_unknown",
    attempts: lost,
  },
  {
    ...gemini("answers with a page", { trouble: { submit: page(200) } }),
    end: "outcome_unknown",
    attempts: garbled,
  },
  {
    ...gemini("leads to the metadata service", { trouble: { submit: astray } }),
    end: "provider_rejected",
    attempts: ["failed bad_request -"],
  },
  {
    ...gemini("paints in odd dimensions", { dimensions: { width: 801, height: 333 } }),
    end: "completed",
    attempts: delivered,
    pixels: "801x333",
  },
];

const bflRows: readonly Row[] = [
  {
    ...bfl("dies between submit and reply", { submit: { kind: "reset" } }),
    end: "outcome_unknown",
    attempts: lost,
  },
  {
    ...bfl("hangs at the submit", { submit: { kind: "hang" } }),
    end: "generation_timeout",
    attempts: overdue,
    deadlineSeconds: 3,
  },
  {
    ...bfl("hangs at the poll", { poll: { kind: "hang" } }),
    end: "generation_timeout",
    attempts: overdue,
    deadlineSeconds: 3,
  },
  {
    ...bfl("hangs at the picture", { sample: { kind: "hang" } }),
    end: "generation_timeout",
    attempts: overdue,
    deadlineSeconds: 3,
  },
  {
    ...bfl("never finishes", { outcome: "stuck" }),
    end: "generation_timeout",
    attempts: overdue,
    deadlineSeconds: 3,
  },
  {
    ...bfl("refuses what it has made", { outcome: "content_moderated" }),
    end: "content_policy_violation",
    attempts: ["failed refused -"],
  },
  {
    ...bfl("leads the submit to the metadata service", { submit: astray }),
    end: "provider_rejected",
    attempts: ["failed bad_request -"],
  },
  {
    ...bfl("leads the picture to the metadata service", { sample: astray }),
    end: "no_image",
    attempts: useless,
  },
  {
    ...bfl("cuts the reply to a poll at 90 %", { poll: [cut] }),
    end: "completed",
    attempts: delivered,
  },
  {
    ...bfl("answers a poll with a page", { poll: [page(200)] }),
    end: "completed",
    attempts: delivered,
  },
  {
    ...bfl("is behind a proxy that gave a poll up", { poll: [page(502)] }),
    end: "completed",
    attempts: delivered,
  },
  {
    ...bfl("cuts the picture at 90 % once", { sample: [cut] }),
    end: "completed",
    attempts: delivered,
    pixels: "1440x1440",
  },
  {
    ...bfl("sends a page for a picture", { sample: page(200) }),
    end: "no_image",
    attempts: useless,
  },
  {
    ...bfl("lets the link to its picture expire", { sample: [expired()] }),
    end: "completed",
    attempts: delivered,
    pixels: "1440x1440",
  },
  {
    ...bfl("gives links that never work", { sample: expired() }),
    end: "no_image",
    attempts: useless,
  },
  {
    ...bfl("has no free place, twice", { submit: [full(), full()] }),
    end: "completed",
    attempts: ["failed rate_limited -", "failed rate_limited -", "done - delivered"],
  },
  {
    ...bfl("paints in odd dimensions", { pictureSize: { width: 1_100, height: 1_033 } }),
    end: "completed",
    attempts: delivered,
    pixels: "1440x1440",
  },
  {
    name: "bfl sends its polls to a foreign host, which does not see the key",
    start: startForeign,
    end: "outcome_unknown",
    attempts: garbled,
  },
  {
    name: "bfl moves the work to a region of its own, where it is polled",
    start: async () => {
      const troubled = await bfl("", {}).start();
      const polls = () => troubled.requests.filter(({ path }) => path.includes("/get_result"));
      const check = (): void => {
        assert.ok(polls().length > 0);
        for (const { path } of polls()) assert.match(path, /^\/eu2\/v1\/get_result/);
      };
      return { ...troubled, check };
    },
    end: "completed",
    attempts: delivered,
  },
];

describe("a vendor that", { concurrency: 4 }, () => {
  for (const row of [...openAiRows, ...geminiRows, ...bflRows]) test(row.name, () => runRow(row));
});

const deadlineSecondsDefault = 120;

async function runRow({ start, end, attempts, pixels, ...row }: Row): Promise<void> {
  const { deadlineSeconds = deadlineSecondsDefault } = row;
  const troubled = await start();
  const gateway = await startGateway({
    ...troubled.settings,
    DARKROOM_TASK_DEADLINE: String(deadlineSeconds),
    DARKROOM_PICTURE_PROCESSES: "1",
    // What goes wrong here is meant to.
    DARKROOM_LOG_LEVEL: "silent",
  });
  try {
    await creditLive(gateway.installation, 1_000_000);
    const caller = await gateway.connect({ mode: "live" });
    const task = await caller.run({ ...troubled.body, prompt: "A harbour" });
    assert.equal(task.error?.code ?? task.status, end);
    const [booked] = readBooks(gateway.folder, "A harbour");
    assert.deepEqual(
      booked?.attempts.map((attempt) => describeAttempt(attempt, row)),
      attempts,
    );
    const isDelivered = end === "completed";
    assert.equal(booked?.captures, isDelivered ? 1 : 0);
    assert.equal(task.cost > 0, isDelivered);
    for (const { cost } of booked?.attempts ?? []) assert.ok(cost === null || cost.amount > 0);
    const tookSeconds = (task.completed ?? Infinity) - task.created;
    assert.ok(tookSeconds <= deadlineSeconds + 5, `took ${tookSeconds} s`);
    assert.equal(countSubmits(troubled.requests), attempts.length, "one submit an attempt");
    if (pixels !== undefined) {
      const [picture] = await collectPictures(task);
      assert.ok(picture);
      assert.equal(pixelsOf(picture), pixels);
    }
    troubled.check?.();
  } finally {
    const begun = systemClock.monotonic();
    await gateway.stop();
    const tookMs = systemClock.monotonic() - begun;
    await troubled.stop();
    assert.ok(tookMs < 15_000, `the stop waited ${tookMs} ms for the vendor`);
  }
}

function describeAttempt({ state, kind, cost }: BookedAttempt, row: Pick<Row, "deadlineSeconds">) {
  const why = row.deadlineSeconds === undefined ? [kind ?? "-"] : [];
  return [state, ...why, cost?.fate ?? "-"].join(" ");
}

function countSubmits(requests: readonly RecordedRequest[]): number {
  return requests.filter(({ method, body }) => method === "POST" && body.includes("A harbour"))
    .length;
}
