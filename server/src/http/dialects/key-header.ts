import type { FastifyRequest } from "fastify";

/** A hook before `identify`: the key may stand in the header in which a vendor's clients send it. */
export function acceptKeyHeader(name: string): (request: FastifyRequest) => Promise<void> {
  return async ({ headers }) => {
    const key = headers[name];
    if (headers.authorization === undefined && typeof key === "string") {
      headers.authorization = `Bearer ${key}`;
    }
  };
}
