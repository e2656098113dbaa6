/** Signs requests to an S3 store (Signature Version 4), in headers or in a URL that others may use. */
import { AwsV4Signer } from "aws4fetch";

import type { Hidden } from "../lib/secrets.ts";
import type { Clock } from "../lib/time.ts";

export type S3Credentials = {
  readonly accessKeyId: string;
  readonly secretAccessKey: Hidden;
  /** For temporary credentials; links signed with them end when the credentials do. */
  readonly sessionToken: Hidden | null;
};

export type S3Signer = {
  /** The headers to send, signature included. */
  sign(request: SignableRequest): Promise<Record<string, string>>;
  /** The URL with a signature in its query, for GET only. */
  presign(url: URL, expiresInSeconds: number): Promise<string>;
};

export type SignableRequest = {
  method: string;
  url: URL;
  headers: Readonly<Record<string, string>>;
  /** SHA-256 of the body in hexadecimal: the store refuses bytes that have changed on the way. */
  bodySha256: string;
};

export type S3SignerDeps = {
  region: string;
  credentials: S3Credentials;
  clock: Pick<Clock, "now">;
};

/** Keys that are derived for a day; a new one is added each day. */
const cachedKeysMax = 8;

export function createS3Signer(deps: S3SignerDeps): S3Signer {
  const cache = new Map<string, ArrayBuffer>();
  const common = () => {
    if (cache.size > cachedKeysMax) cache.clear();
    const { accessKeyId, secretAccessKey, sessionToken } = deps.credentials;
    return {
      service: "s3",
      region: deps.region,
      accessKeyId,
      secretAccessKey: secretAccessKey.reveal(),
      ...(sessionToken === null ? {} : { sessionToken: sessionToken.reveal() }),
      cache,
      datetime: formatTime(deps.clock.now()),
    };
  };
  return {
    sign: async ({ method, url, headers, bodySha256 }) => {
      const signed = await new AwsV4Signer({
        ...common(),
        method,
        url: url.href,
        headers: { ...headers, "x-amz-content-sha256": bodySha256 },
      }).sign();
      return Object.fromEntries(signed.headers);
    },
    presign: async (url, expiresInSeconds) => {
      const limited = new URL(url);
      limited.searchParams.set("X-Amz-Expires", String(expiresInSeconds));
      const signer = new AwsV4Signer({
        ...common(),
        method: "GET",
        url: limited.href,
        signQuery: true,
      });
      const { url: signed } = await signer.sign();
      // A space is signed as `%20` and would leave as `+`, which not every store takes for the same.
      signed.search = signed.search.replaceAll("+", "%20");
      return signed.href;
    },
  };
}

/** As in `20260727T120000Z`. */
function formatTime(ms: number): string {
  return new Date(ms).toISOString().replaceAll(/[:-]|\.\d{3}/g, "");
}
