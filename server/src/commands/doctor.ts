import { statfs } from "node:fs/promises";

import { findLockedUsage, listUsages } from "../accounts/key-usage.ts";
import { checkLedger } from "../billing/check.ts";
import type { LedgerCheck } from "../billing/check.ts";
import type { Installation } from "../installation.ts";
import type { JsonObject } from "../lib/json.ts";
import { minuteMs } from "../lib/time.ts";
import { loadOverdue } from "../tasks/store.ts";
import { listOpenTaskIds } from "../tasks/sweep-store.ts";
import { checkChannels, checkPlaces, checkWaste } from "./doctor-channels.ts";
import { formatTable } from "./command.ts";
import type { Command } from "./command.ts";

export const doctorCommands: readonly Command[] = [
  {
    name: "doctor",
    usage: "[--json]",
    summary: "Checks the installation; exits with 1 when it finds an error.",
    options: {},
    positionals: [],
    run: examine,
  },
];

type State = "ok" | "warning" | "error";
type Finding = { check: string; state: State; detail: string };

const freeBytesMin = 2 ** 30;
const overdueGraceMs = minuteMs;

async function examine(installation: Installation) {
  const ledger = await checkLedger({
    db: installation.db,
    listOpenTaskIds,
    listUsages,
    findLockedUsage,
  });
  const findings: Finding[] = [
    await attempt("storage", async () => {
      await installation.storage.check();
      return ["ok", "pictures can be written"];
    }),
    await attempt("disk", () => checkDisk(installation)),
    await attempt("tasks", () => checkTasks(installation)),
    await attempt("channels", () => checkChannels(installation)),
    await attempt("places", () => checkPlaces(installation)),
    await attempt("waste", () => checkWaste(installation)),
    checkProtection(installation),
    describeLedger(ledger),
  ];
  const ok = findings.every(({ state }) => state !== "error");
  const rows = findings.map(({ check, state, detail }) => [check, state, detail]);
  return {
    text: formatTable(["CHECK", "STATE", "DETAIL"], rows),
    json: {
      ok,
      checks: findings.map((finding): JsonObject => ({ ...finding })),
      ledger: {
        ok: ledger.ok,
        accounts: ledger.accounts,
        entries: ledger.entries,
        ...(ledger.ok ? {} : { problems: ledger.problems }),
      },
    },
    ok,
  };
}

async function attempt(
  check: string,
  work: () => Promise<readonly [State, string]>,
): Promise<Finding> {
  try {
    const [state, detail] = await work();
    return { check, state, detail };
  } catch (error) {
    return { check, state: "error", detail: error instanceof Error ? error.message : "failed" };
  }
}

async function checkDisk({ config }: Installation): Promise<readonly [State, string]> {
  const { bavail, bsize } = await statfs(config.data.folder);
  const free = bavail * bsize;
  const detail = `${(free / 2 ** 30).toFixed(1)} GiB free`;
  return [free < freeBytesMin ? "warning" : "ok", detail];
}

async function checkTasks({ db, clock }: Installation): Promise<readonly [State, string]> {
  const overdue = await loadOverdue(db.read, clock.now() - overdueGraceMs, 100);
  if (overdue.length === 0) return ["ok", "every task is within its deadline"];
  const ids = overdue.map(({ id }) => id).slice(0, 5);
  // Without a running server nobody ends them; the next start does.
  return ["warning", `${overdue.length} tasks are past their deadline: ${ids.join(", ")}`];
}

function checkProtection({ config }: Installation): Finding {
  const { host, port, publicUrl } = config.http;
  const isOpen = host !== "127.0.0.1" && host !== "::1" && host !== "localhost";
  if (config.data.database.kind === "postgres" && publicUrl === null) {
    const detail = "without DARKROOM_PUBLIC_URL the links of each node begin with its own address";
    return { check: "address", state: "warning", detail };
  }
  const isPlain = publicUrl === null || publicUrl.startsWith("http://");
  if (isOpen && isPlain) {
    const detail = "listens beyond this machine without an https DARKROOM_PUBLIC_URL";
    return { check: "address", state: "warning", detail };
  }
  return { check: "address", state: "ok", detail: publicUrl ?? `http://${host}:${port}` };
}

function describeLedger({ ok, accounts, entries, problems }: LedgerCheck): Finding {
  const detail = ok
    ? `${accounts} accounts, ${entries} entries, every balance adds up`
    : problems.slice(0, 5).join("; ");
  return { check: "ledger", state: ok ? "ok" : "error", detail };
}
