/** Links of this server: how they are signed, and under which address callers reach it. */
import type { Installation } from "../installation.ts";
import { createLinks } from "../storage/links.ts";
import type { Links } from "../storage/links.ts";

export type Linking = {
  links: Links;
  /** No slash at the end; empty while no address is configured and the server does not listen yet. */
  publicUrl(): string;
};

export function createLinking(
  { config, clock, secrets }: Installation,
  state: { listening: string },
): Linking {
  return {
    links: createLinks({ secret: secrets.derive("links"), clock }),
    publicUrl: () => config.http.publicUrl ?? state.listening,
  };
}
