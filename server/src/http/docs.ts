/**
 * Documentation for programs and for people. Everything is made at the first request for it: a gateway
 * that nobody reads about pays nothing. No page loads anything from elsewhere.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import type { ModelDocsReply } from "../../../client/src/models.ts";
import { AppError } from "../lib/errors.ts";
import { toUnixSeconds } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import type { Catalogue } from "../models/catalogue.ts";
import type { Asset } from "./asset.ts";
import { createAsset, sendAsset } from "./asset.ts";
import type { Auth } from "./auth.ts";
import type { PublicPrices } from "./pricing.ts";
import { modelDocsQuery, parseQuery } from "./schemas.ts";

export type DocsDeps = {
  auth: Auth;
  catalogue: Pick<Catalogue, "list" | "load">;
  clock: Pick<Clock, "now">;
  publicPrices: PublicPrices;
  publicUrl: () => string;
  version: string;
};

type PageRoute = { Params: { file: string } };

/** Seconds; existing clients keep a page this long. */
const pageTtlSeconds = 604_800;

/** Tags are cheap to compare, so a new version of the server is seen at once. */
const revalidated = "public, no-cache";

export function registerDocs(app: FastifyInstance, deps: DocsDeps): void {
  const openDocument = createKept((publicUrl: string) => makeDocument(deps, publicUrl));
  const openScript = createKept(async () => {
    const { loadReferenceScript } = await import("./reference-script.ts");
    return loadReferenceScript();
  });
  app.get("/openapi.json", async (request, reply) => {
    reply.header("access-control-allow-origin", "*");
    return sendAsset(request, reply, await openDocument(deps.publicUrl()), revalidated);
  });
  app.get("/docs", (_request, reply) => sendReference(reply));
  app.get("/docs/reference.js", async (request, reply) =>
    sendAsset(request, reply, await openScript(""), revalidated),
  );
  app.get<PageRoute>("/docs/models/:file", (request, reply) =>
    sendPage(deps, reply, request.params.file),
  );
  app.get("/llms.txt", (_request, reply) => sendIndex(deps, reply));
  const onRequest = [deps.auth.identify, deps.auth.limit];
  app.get("/v1/model-docs", { onRequest }, (request) => showDocs(deps, request));
}

/** Makes a value once for its key, for everybody who asks meanwhile too; what failed is tried again. */
function createKept<T>(make: (key: string) => Promise<T>): (key: string) => Promise<T> {
  let kept: { key: string; value: Promise<T> } | null = null;
  return (key) => {
    if (kept?.key === key) return kept.value;
    const made = { key, value: make(key) };
    kept = made;
    made.value.catch(() => {
      if (kept === made) kept = null;
    });
    return made.value;
  };
}

async function makeDocument(deps: DocsDeps, publicUrl: string): Promise<Asset> {
  const { createDocument } = await import("./openapi/document.ts");
  const { version } = deps;
  const document = createDocument({ models: deps.catalogue.list(), publicUrl, version });
  return createAsset("application/json; charset=utf-8", JSON.stringify(document));
}

/**
 * The reference needs its own script, styles that it writes into the page, and the API itself. `eval` is
 * not among it, and neither is any other host.
 */
const referencePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const referenceSettings = {
  url: "openapi.json",
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: "never",
  hideClientButton: true,
  // Its list of schemas is titled like our list of models; operations show their schemas themselves.
  hideModels: true,
  persistAuth: false,
  documentDownloadType: "json",
};

/** Addresses are relative: behind a proxy the server may stand under a path. */
const referencePage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Darkroom API</title>
<link rel="icon" href="data:,">
</head>
<body>
<noscript>This page needs JavaScript. <a href="openapi.json">openapi.json</a> and <a href="llms.txt">llms.txt</a> say the same without.</noscript>
<script id="api-reference" data-configuration="${JSON.stringify(referenceSettings).replaceAll('"', "&quot;")}"></script>
<script src="docs/reference.js"></script>
</body>
</html>
`;

function sendReference(reply: FastifyReply): FastifyReply {
  return reply
    .headers({
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": referencePolicy,
      "cache-control": revalidated,
    })
    .send(referencePage);
}

async function sendPage(deps: DocsDeps, reply: FastifyReply, file: string): Promise<FastifyReply> {
  if (!file.endsWith(".md")) {
    throw new AppError(
      "route_not_found",
      "this page is not served; the pages of models are at /docs/models/{id}.md",
    );
  }
  const markdown = await writePage(deps, file.slice(0, -".md".length));
  return reply
    .headers({ "content-type": "text/markdown; charset=utf-8", "cache-control": revalidated })
    .send(markdown);
}

async function sendIndex(deps: DocsDeps, reply: FastifyReply): Promise<FastifyReply> {
  const { renderIndex } = await import("../models/page.ts");
  return reply
    .headers({ "content-type": "text/plain; charset=utf-8", "cache-control": revalidated })
    .send(renderIndex(deps.catalogue.list(), deps.publicUrl()));
}

/** Prices in the page are those in force for everybody. Throws `model_not_found`. */
async function writePage(deps: DocsDeps, id: string): Promise<string> {
  const model = deps.catalogue.load(id);
  const [{ renderModelPage }, prices] = await Promise.all([
    import("../models/page.ts"),
    deps.publicPrices.load(),
  ]);
  const overrides = prices.get(model.id) ?? new Map();
  return renderModelPage(model, { overrides, publicUrl: deps.publicUrl() });
}

async function showDocs(deps: DocsDeps, request: FastifyRequest): Promise<ModelDocsReply> {
  const id = parseQuery(modelDocsQuery, request.query).model;
  const markdown = await writePage(deps, id);
  return {
    object: "model.documentation",
    model: id,
    doc_url: `${deps.publicUrl()}/docs`,
    markdown_url: `${deps.publicUrl()}/docs/models/${id}.md`,
    markdown,
    fetched_at: toUnixSeconds(deps.clock.now()),
    cache_ttl_seconds: pageTtlSeconds,
    stale: false,
  };
}
