/**
 * The little XML that is exchanged with an S3 store. Replies are flat and made by programs, so texts
 * are found by their tags; nothing that is found is used as markup again without being escaped.
 */

const entities: Readonly<Record<string, string>> = {
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&#34;": '"',
  "&apos;": "'",
  "&#39;": "'",
  "&amp;": "&",
};

/** Text of the first element of that name; null when there is none, or when it holds elements. */
export function findXmlText(xml: string, tag: string): string | null {
  const text = new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(xml)?.[1];
  return text === undefined
    ? null
    : text.replaceAll(/&[a-z#0-9]+;/g, (one) => entities[one] ?? one);
}

/** The body that joins the uploaded parts, the first one first. */
export function renderParts(etags: readonly string[]): string {
  const parts = etags.map(
    (etag, index) =>
      `<Part><PartNumber>${index + 1}</PartNumber><ETag>${escapeXml(etag)}</ETag></Part>`,
  );
  return `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
}

/** The body that removes keys; the reply names only those that failed. */
export function renderDelete(keys: readonly string[]): string {
  const objects = keys.map((key) => `<Object><Key>${escapeXml(key)}</Key></Object>`);
  return `<Delete><Quiet>true</Quiet>${objects.join("")}</Delete>`;
}

/** Keys that a removal of many has left, from its reply. */
export function listUndeleted(xml: string): string[] {
  const errors = [...xml.matchAll(/<Error>([\s\S]*?)<\/Error>/g)].map((match) => match[1] ?? "");
  return errors
    .filter((error) => findXmlText(error, "Code") !== "NoSuchKey")
    .flatMap((error) => findXmlText(error, "Key") ?? []);
}

/** The entries of a listing, `modifiedAt` in unix milliseconds. */
export function listContents(xml: string): { key: string; modifiedAt: number }[] {
  const entries = [...xml.matchAll(/<Contents>([\s\S]*?)<\/Contents>/g)].map(
    (match) => match[1] ?? "",
  );
  return entries.flatMap((entry) => {
    const key = findXmlText(entry, "Key");
    const modifiedAt = Date.parse(findXmlText(entry, "LastModified") ?? "");
    return key === null || Number.isNaN(modifiedAt) ? [] : [{ key, modifiedAt }];
  });
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
