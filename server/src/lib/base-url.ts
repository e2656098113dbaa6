/** Base addresses of upstreams, as operators write them. */
import { EgressError } from "./egress-error.ts";
import { parseDestination } from "./egress-url.ts";

/** `origin`: nothing behind host and port; `versioned`: with a path such as `/v1`; `any`: both. */
export type BaseUrlForm = "origin" | "versioned" | "any";

const forms: Record<BaseUrlForm, string> = {
  origin: "an http:// or https:// origin without a path, such as https://api.example.com",
  versioned: "an http:// or https:// address with its path, such as https://api.example.com/v1",
  any: "an http:// or https:// address, such as http://10.1.2.3:8188",
};

const lengthMax = 2_048;

/** What is allowed; completes the sentence "give …". */
export function describeBaseUrl(form: BaseUrlForm): string {
  return `${forms[form]}; no user, query or fragment`;
}

/** The address without a slash at its end, or null for one that has not this form. */
export function findBaseUrl(text: string, form: BaseUrlForm): string | null {
  const url = findUrl(text);
  if (url === null || /[\s\\?#]/.test(text)) return null;
  const path = url.pathname.replace(/\/+$/, "");
  if ((form === "origin" && path !== "") || (form === "versioned" && path === "")) return null;
  return `${url.origin}${path}`;
}

function findUrl(text: string): URL | null {
  try {
    return parseDestination(text, lengthMax).url;
  } catch (error) {
    if (error instanceof EgressError) return null;
    throw error;
  }
}
