/** Tells the channels what an attempt has shown about our account there. */
import { faultKinds } from "../channels/channel.ts";
import { redact } from "../lib/log.ts";
import type { ProviderError } from "../providers/adapter.ts";
import type { EngineDeps } from "./engine.ts";
import type { Attempt } from "./task.ts";

/**
 * Writes a fault for a key or an account that was refused, and strikes one after work that was accepted.
 * The attempt is committed already: what goes wrong here is logged, and the next attempt tells it again.
 */
export async function reportOutcome(
  { channels, log }: Pick<EngineDeps, "channels" | "log">,
  { channel, upstreamModel }: Pick<Attempt, "channel" | "upstreamModel">,
  failures: readonly ProviderError[],
): Promise<void> {
  for (const { kind, message } of failures) {
    if (kind !== "unserved") continue;
    const said = redact(message, 500);
    log.warn({ channel, upstreamModel, said }, "the channel does not serve what was asked of it");
  }
  const fault = faultKinds.find((kind) => failures.some((failure) => failure.kind === kind));
  try {
    if (fault !== undefined) {
      const message = failures.find(({ kind }) => kind === fault)?.message ?? fault;
      log.error({ channel, fault }, "the upstream refuses our account; live work keeps away");
      await channels.reportFault(channel, fault, message);
    } else if (failures.length === 0) {
      await channels.reportSuccess(channel);
    }
  } catch (error) {
    log.error({ err: error, channel }, "the health of a channel could not be written");
  }
}
