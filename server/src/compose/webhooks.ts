/** Webhooks: what ended tasks leave in the outbox, who sends it, and the verbs on endpoints and deliveries. */
import type { Installation } from "../installation.ts";
import type { Egress } from "../lib/egress.ts";
import { createTaskEvents } from "../tasks/events.ts";
import type { Watch } from "../tasks/watch.ts";
import { createDeliverer } from "../webhooks/deliverer.ts";
import { createEndpoints } from "../webhooks/endpoints.ts";
import { createDeliveryLog } from "../webhooks/log.ts";
import { loadAccountSecret, rotateAccountSecret } from "../webhooks/secrets.ts";
import { createWebhookSweeper } from "../webhooks/sweep.ts";
import type { Linking } from "./links.ts";

export type Webhooks = ReturnType<typeof createWebhooks>;

export function createWebhooks(
  installation: Installation,
  parts: Linking & { egress: Egress; watch: Watch },
) {
  const deps = { ...installation, ...parts };
  const deliverer = createDeliverer(deps);
  const sweeper = createWebhookSweeper(deps);
  const nudged = { ...deps, nudgeOrigin: deliverer.nudgeOrigin };
  return {
    events: createTaskEvents({ ...deps, nudge: deliverer.nudge }),
    verbs: {
      endpoints: createEndpoints(nudged),
      deliveryLog: createDeliveryLog(nudged),
      loadAccountSecret: (owner: Parameters<typeof loadAccountSecret>[1]) =>
        loadAccountSecret(deps, owner),
      rotateAccountSecret: (owner: Parameters<typeof rotateAccountSecret>[1]) =>
        rotateAccountSecret(deps, owner),
    },
    start: () => {
      deliverer.start();
      sweeper.start();
    },
    stop: async () => {
      await deliverer.stop();
      await sweeper.stop();
    },
  };
}
