/** A server of `http/` with a few routes, for tests of what holds for every one. */
import type { TestContext } from "node:test";

import { parseBody } from "../../src/http/json-body.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import { bearer, createTestServer } from "./http.ts";
import type { TestServer, TestServerOptions } from "./http.ts";

type Setup = TestServer & { bodies: JsonObject[] };

/** Routes that stand for all: one that reads, one that takes a body, one that throws what it is told to. */
export function createRoutedServer(
  t: TestContext,
  options: TestServerOptions & { failure?: unknown } = {},
): Setup {
  const server = createTestServer(t, options);
  const bodies: JsonObject[] = [];
  const onRequest = [server.auth.identify];
  server.app.get("/v1/things/:id", { onRequest }, () => ({ thing: 1 }));
  server.app.post("/v1/things", { onRequest }, (request) => {
    bodies.push(parseBody(request));
    return { taken: true };
  });
  server.app.get("/v1/failure", () => {
    throw options.failure;
  });
  server.app.get("/inside", () => ({ inside: true }));
  return { ...server, bodies };
}

/** Headers of a request with a JSON body. */
export const json = { ...bearer, "content-type": "application/json" };
