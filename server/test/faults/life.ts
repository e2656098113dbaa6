/** One life of a server with fail points: a process of its own, from its start to its death. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** To the process: count anew and die at that passage, or at none; or only say what was passed. */
export type Order = { dieAt: number | null } | { tell: true };

/** From the process. Every order is answered with what was passed before it. */
export type Told =
  | { kind: "ready"; origin: string }
  | { kind: "passages"; passages: readonly string[] };

export type Life = {
  origin: string;
  arm(dieAt: number | null): Promise<void>;
  passages(): Promise<readonly string[]>;
  /** Resolves when the process is gone, with the passage that killed it, or null when it ended otherwise. */
  ended: Promise<string | null>;
  /** Lets it finish, and fails unless it ends well. */
  stop(): Promise<void>;
  kill(): void;
};

const program = join(import.meta.dirname, "fail-point-server.ts");

/** Starts a server on a data folder and waits until it is ready. */
export async function startLife(
  folder: string,
  settings: Readonly<Record<string, string>>,
): Promise<Life> {
  const child = fork(program, {
    env: {
      PATH: process.env["PATH"] ?? "",
      NODE_COMPILE_CACHE: join(folder, "compile-cache"),
      ...settings,
    },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let output = "";
  let errors = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const ended = once(child, "close").then(() => {
    return child.signalCode === "SIGKILL" && output !== "" ? output.trim() : null;
  });
  const died = ended.then(() => Promise.reject(new Error(`the server ended: ${errors}`)));
  died.catch(() => undefined);
  const ready = await Promise.race([heard(child), died]);
  assert.ok(ready.kind === "ready", "the first message is that the server is ready");
  const ask = async (order: Order): Promise<readonly string[]> => {
    const answer = heard(child);
    child.send(order);
    const told = await Promise.race([answer, died]);
    return told.kind === "passages" ? told.passages : [];
  };
  return {
    origin: ready.origin,
    arm: async (dieAt) => void (await ask({ dieAt })),
    passages: () => ask({ tell: true }),
    ended,
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
      assert.deepEqual([child.exitCode, child.signalCode], [0, null], errors);
    },
    kill: () => void child.kill("SIGKILL"),
  };
}

async function heard(child: ChildProcess): Promise<Told> {
  const [told] = await once(child, "message");
  return told as Told; // only `fail-point-server.ts` speaks on this channel
}
