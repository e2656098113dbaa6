/**
 * What the gateway is compared with: a Fastify route that parses the same body, holds it against the
 * same contract and answers in the same shape, and does nothing else. It keeps no promise at all.
 */
import { fastify } from "fastify";

import type { JsonObject } from "../server/src/lib/json.ts";
import { createIds } from "../server/src/lib/ids.ts";
import { systemRandom } from "../server/src/lib/random.ts";
import { systemClock } from "../server/src/lib/time.ts";
import { createCatalogue } from "../server/src/models/catalogue.ts";
import { parseModelField, validateSubmit } from "../server/src/models/validate.ts";

const catalogue = createCatalogue();
const ids = createIds(systemClock, systemRandom);
const app = fastify({ logger: false });

app.post("/v1/images/generations", (request) => {
  const body = request.body as JsonObject;
  const { warnings } = validateSubmit(catalogue.load(parseModelField(body)), body);
  return {
    code: 200,
    data: [{ status: "submitted", task_id: ids("task") }],
    ...(warnings.length === 0 ? {} : { warnings }),
  };
});

/** The text of a finished task, as long as a real one. */
const task = process.argv[2] ?? "{}";

app.get("/v1/tasks/:id", (_request, reply) =>
  reply.header("content-type", "application/json; charset=utf-8").send(task),
);

await app.listen({ host: "127.0.0.1", port: 0 });
const address = app.server.address();
process.stdout.write(
  `ready http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}\n`,
);
