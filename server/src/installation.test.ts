import assert from "node:assert/strict";
import { mkdtemp, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { parseConfig } from "./config.ts";
import { openInstallation } from "./installation.ts";

test("a database is not opened with another secret than the one it was made with", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-installation-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const config = parseConfig({ DARKROOM_DATA: folder, DARKROOM_LOG_LEVEL: "silent" });
  await (await openInstallation(config)).close();
  await (await openInstallation(config)).close();

  await unlink(join(folder, "secret"));
  await assert.rejects(openInstallation(config), /is not the one that this database was made with/);
});

test("a data folder that cannot be made is refused in one sentence that names it", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-installation-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "file"), "");
  const config = parseConfig({ DARKROOM_DATA: join(folder, "file", "data") });
  await assert.rejects(openInstallation(config), /folder .*file.data cannot be made: /);
});
