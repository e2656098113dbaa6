/** One node of the cluster: `serve --role …` as a process of its own, which may be killed before it is ready. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";

import { listProcessesIn } from "../crash/server-process.ts";

export type Role = "api" | "worker";

export type NodeProcess = {
  /** Where it listens; null before it is ready and after it has ended. */
  origin(): string | null;
  signal(name: NodeJS.Signals): void;
  /** Resolves when the process is gone, with its exit code, or null after a signal that it could not handle. */
  readonly ended: Promise<number | null>;
  /** The end of what it wrote to standard error. */
  errors(): string;
  /** How often it has taken over what a dead worker held. */
  takeovers(): number;
  /** Command lines of the processes that it has started and that still run. */
  listRelatives(): Promise<string[]>;
};

export type NodeSettings = {
  role: Role;
  /** Working directory, used by no other process: whoever is found in it descends from this one. */
  place: string;
  environment: Readonly<Record<string, string>>;
};

const program = resolve(import.meta.dirname, "../../src/main.ts");
const errorsLengthMax = 20_000;
const takeoverWords = "took over the tasks of a dead worker";
/** Longer than the ready line, and than what a first start prints after it. */
const outputLengthMax = 20_000;

export async function startNode({ role, place, environment }: NodeSettings): Promise<NodeProcess> {
  await mkdir(place, { recursive: true });
  const child = spawn(process.execPath, [program, "serve", "--role", role], {
    cwd: place,
    env: { PATH: process.env["PATH"] ?? "", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const kill = (): void => void child.kill("SIGKILL");
  // A run that ends early must not leave its nodes behind.
  process.once("exit", kill);
  let output = "";
  let errors = "";
  let takeovers = 0;
  let isGone = false;
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output = (output + text).slice(0, outputLengthMax);
  });
  // Kept with the data of a run that went wrong.
  child.stderr.pipe(createWriteStream(join(place, "errors.log")));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-errorsLengthMax);
    takeovers += text.split(takeoverWords).length - 1;
  });
  const ended = once(child, "close").then(([code]): number | null => {
    isGone = true;
    process.off("exit", kill);
    // What `close` of a child process tells.
    return code as number | null;
  });
  return {
    origin: () => (isGone ? null : (/^darkroom ready (\S+)$/m.exec(output)?.[1] ?? null)),
    signal: (name) => void child.kill(name),
    ended,
    errors: () => errors,
    takeovers: () => takeovers,
    listRelatives: () => listProcessesIn(place),
  };
}
