import type { App } from "../app.ts";
import type { Installation } from "../installation.ts";
import { AppError } from "../lib/errors.ts";
import { minuteMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";

const firstAccount = "default";
const samplePauseMs = 100;
const sampleTimeoutMs = minuteMs;

/**
 * A test key where no key was ever made, with the first account if there is none; null everywhere
 * else. A first start that was killed half-way is made good by the next.
 */
export async function makeFirstKey({ accounts, keys }: Installation): Promise<string | null> {
  const [existing] = await accounts.listAccounts({ limit: 1 });
  const account = existing ?? (await accounts.createAccount(firstAccount));
  if (account.name !== firstAccount) return null;
  const [key] = await keys.listKeys(account.id, { limit: 1 });
  if (key !== undefined) return null;
  const { token } = await keys.createKey({ accountId: account.id, mode: "test", name: "first" });
  return token;
}

/** Submits a body through the public API and resolves with the link to its finished picture. */
export async function makeSample(
  clock: Clock,
  app: App,
  { token, body }: { token: string; body: string },
): Promise<string> {
  const submitted = await app.call({ method: "POST", path: "/v1/images/generations", token, body });
  const id = (submitted as { data: [{ task_id: string }] }).data[0].task_id;
  const end = clock.monotonic() + sampleTimeoutMs;
  while (clock.monotonic() < end) {
    const reply = await app.call({ method: "GET", path: `/v1/tasks/${id}`, token });
    const { status, result } = (reply as { data: Sample }).data;
    const url = result?.images[0]?.url[0];
    if (status === "completed" && url !== undefined) return url;
    if (status === "failed") break;
    await clock.sleep(samplePauseMs);
  }
  throw new AppError("internal_error", `the sample task ${id} did not complete`);
}

type Sample = { status: string; result?: { images: { url: string[] }[] } };
