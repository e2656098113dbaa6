/**
 * The entry of every command. It imports nothing of ours before the Node version is known to be right
 * and the compile cache is on: with the cache a start takes a third of the time.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { join, resolve } from "node:path";

const nodeMajorMin = 24;
const major = Number(process.versions.node.split(".")[0]);

if (major < nodeMajorMin) {
  process.stderr.write(
    `Darkroom needs Node ${nodeMajorMin} or newer, and this is ${process.versions.node}. ` +
      'Start it with "npm start", which brings its own Node on Linux and Windows, or install Node 24.\n',
  );
  process.exitCode = 1;
} else {
  // SQLite and the copies of a backup take what the process allows: by itself everybody may read.
  process.umask(0o077);
  const folder = resolve(process.env["DARKROOM_DATA"] || "./data");
  try {
    // Made first: the cache would make it for everybody to read.
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const cache = join(folder, "compile-cache");
    // The stripping of types keeps 17 MB for as long as its process lives: a first start leaves it to another.
    if (!existsSync(cache) && process.argv[2] === "serve") {
      spawnSync(process.execPath, [import.meta.filename, "help"], { stdio: "ignore" });
    }
    enableCompileCache(cache);
  } catch {
    // The command itself says what is wrong with the folder.
  }
  const { runCommand } = await import("./commands/run.ts");
  process.exitCode = await runCommand(process.argv.slice(2), process.env);
}
