/**
 * - `blocked`: the guard does not let requests go there.
 * - `unreachable`: no connection: the name, the network or TLS failed.
 * - `timeout`: a time limit passed; `sent` tells at which end of the request.
 * - `too_large`: the reply, or its headers, are longer than allowed.
 * - `aborted`: the caller's signal fired.
 * - `broken`: the connection or the reply went wrong after the request left.
 * - `redirect`: a redirect that is not followed.
 */
export type EgressErrorKind =
  | "blocked"
  | "unreachable"
  | "timeout"
  | "too_large"
  | "aborted"
  | "broken"
  | "redirect";

/**
 * An exchange with the outside that did not succeed. The message is for operators: it may name the
 * host and an address, never a path or a query, because those carry secrets.
 */
export class EgressError extends Error {
  readonly kind: EgressErrorKind;
  /** True when bytes of the request may have reached the peer; false is a proof that none did. */
  readonly sent: boolean;

  constructor(
    kind: EgressErrorKind,
    message: string,
    options: { sent?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "EgressError";
    this.kind = kind;
    this.sent = options.sent ?? false;
  }
}
