/** Where an S3 bucket is and how it is addressed, as `DARKROOM_STORAGE` says it. */
import { isObjectName } from "./names.ts";
import { assert } from "../lib/errors.ts";

export type S3Target = {
  readonly bucket: string;
  readonly region: string;
  /** Where requests go: an origin with an optional path, no trailing slash. */
  readonly endpoint: string;
  /** `host` puts the bucket before the endpoint's host name, `path` behind the endpoint. */
  readonly style: "path" | "host";
  /** Empty, or ends with a slash. */
  readonly prefix: string;
  /** The endpoint as callers reach it, for presigned links; null when downloads go through us. */
  readonly publicEndpoint: string | null;
};

export const s3TargetForm =
  "s3://bucket with any of region=, endpoint= (an http:// or https:// address), prefix=, " +
  "style=path or host, downloads=redirect or stream, public_endpoint= (what callers reach; not " +
  "with downloads=stream), each once and without credentials: s3://pictures?region=eu-central-1";

const parameters = ["region", "endpoint", "prefix", "style", "downloads", "public_endpoint"];
const bucketPattern = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const regionPattern = /^[a-z0-9-]{1,40}$/;
// Nothing in here is encoded in a path, so a key, its URL and what is signed are one text.
const prefixPattern = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;
const prefixLengthMax = 200;

/** Null for a text that is not of the form `s3TargetForm`. */
export function findS3Target(text: string): S3Target | null {
  const url = text.startsWith("s3://") ? URL.parse(text) : null;
  if (url === null || !bucketPattern.test(url.host) || url.hash !== "") return null;
  if ((url.pathname !== "" && url.pathname !== "/") || url.username + url.password !== "") {
    return null;
  }
  const names = [...url.searchParams.keys()];
  if (names.some((name) => !parameters.includes(name)) || new Set(names).size < names.length) {
    return null;
  }
  return createTarget(url.host, url.searchParams);
}

function createTarget(bucket: string, given: URLSearchParams): S3Target | null {
  const region = given.get("region") ?? "us-east-1";
  const prefix = (given.get("prefix") ?? "").replace(/\/$/, "");
  const ownEndpoint = given.get("endpoint");
  const endpoint = findEndpoint(ownEndpoint ?? `https://s3.${region}.amazonaws.com`);
  const style = given.get("style") ?? chooseStyle(bucket, ownEndpoint);
  if (!regionPattern.test(region) || endpoint === null) return null;
  if (prefix !== "" && (!prefixPattern.test(prefix) || prefix.length > prefixLengthMax))
    return null;
  if (style !== "path" && style !== "host") return null;
  const publicEndpoint = findPublicEndpoint(endpoint, given);
  if (publicEndpoint === undefined) return null;
  return Object.freeze<S3Target>({
    bucket,
    region,
    endpoint,
    style,
    prefix: prefix === "" ? "" : `${prefix}/`,
    publicEndpoint,
  });
}

/** Amazon wants the bucket in the host name; a bucket with a dot has no certificate there. */
function chooseStyle(bucket: string, ownEndpoint: string | null): string {
  return ownEndpoint === null && !bucket.includes(".") ? "host" : "path";
}

/** Undefined when what was given makes no sense together. */
function findPublicEndpoint(endpoint: string, given: URLSearchParams): string | null | undefined {
  const ownPublic = given.get("public_endpoint");
  // A store that speaks plain HTTP is usually one that only we can reach.
  const usual = ownPublic !== null || endpoint.startsWith("https:") ? "redirect" : "stream";
  const downloads = given.get("downloads") ?? usual;
  if (downloads === "stream") return ownPublic === null ? null : undefined;
  if (downloads !== "redirect") return undefined;
  return ownPublic === null ? endpoint : (findEndpoint(ownPublic) ?? undefined);
}

function findEndpoint(text: string): string | null {
  const url = /^https?:\/\/[^\s\\?#@]+$/i.test(text) ? URL.parse(text) : null;
  if (url === null) return null;
  return `${url.origin}${url.pathname.replace(/\/$/, "")}`;
}

/** The URL of the bucket under an endpoint, without a trailing slash. */
export function locateBucket({ bucket, style }: S3Target, endpoint: string): string {
  if (style === "path") return `${endpoint}/${bucket}`;
  return endpoint.replace("://", `://${bucket}.`);
}

/** The key of an object; a name that is not ours is an assertion. */
export function keyOf({ prefix }: S3Target, name: string): string {
  assert(isObjectName(name), "an object name is 32 characters of lower-case base32");
  return `${prefix}${name}`;
}
