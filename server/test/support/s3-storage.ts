/** The storage of `storage/s3.ts` on a server of the test. */
import type { TestContext } from "node:test";

import { must } from "../../src/lib/errors.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/lib/time.ts";
import type { S3Credentials } from "../../src/storage/s3-signer.ts";
import { findS3Target } from "../../src/storage/s3-target.ts";
import { createS3Storage } from "../../src/storage/s3.ts";
import type { S3StorageDeps } from "../../src/storage/s3.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { startS3Server } from "./s3-server.ts";
import type { S3TestServer } from "./s3-server.ts";

/** The least that the protocol allows. */
export const partBytes = 5 * 2 ** 20;

export type Place = { setting: string; credentials: S3Credentials };
type Options = Partial<Pick<S3StorageDeps, "clock" | "partBytes" | "pageKeysMax">>;

export function createTestStorage(t: TestContext, place: Place, options: Options = {}): Storage {
  const storage = createS3Storage({
    target: must(findS3Target(place.setting), place.setting),
    credentials: place.credentials,
    clock: systemClock,
    random: systemRandom,
    retryPauseMs: 1,
    ...options,
  });
  t.after(() => storage.close());
  return storage;
}

export function settingOf(server: S3TestServer, more = ""): string {
  return `s3://${server.bucket}?endpoint=${server.endpoint}&prefix=a/b${more}`;
}

type Setup = { server: S3TestServer; storage: Storage };

export async function setUpS3(
  t: TestContext,
  options: Options & { more?: string } = {},
): Promise<Setup> {
  const { more, ...others } = options;
  const server = await startS3Server(t);
  const place = { setting: settingOf(server, more), credentials: server.credentials };
  return { server, storage: createTestStorage(t, place, others) };
}
