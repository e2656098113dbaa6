import assert from "node:assert/strict";
import { access, mkdtemp, readdir, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { startS3Server } from "../test/support/s3-server.ts";
import { parseConfig } from "./config.ts";
import { openInstallation } from "./installation.ts";
import { objectName } from "./storage/names.ts";

test("a database is not opened with another secret than the one it was made with", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-installation-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const config = parseConfig({ DARKROOM_DATA: folder, DARKROOM_LOG_LEVEL: "silent" });
  await (await openInstallation(config)).close();
  await (await openInstallation(config)).close();

  const secret = join(folder, "secret");
  await unlink(secret);
  const missing = /there is no secret file .*secret, and this database was made with one/;
  await assert.rejects(openInstallation(config), missing);
  await assert.rejects(access(secret), "no other secret stands in its place");
  await writeFile(secret, "0".repeat(64), { mode: 0o600 });
  await assert.rejects(openInstallation(config), /is not the one that this database was made with/);
});

test("a data folder that cannot be made is refused in one sentence that names it", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-installation-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "file"), "");
  const config = parseConfig({ DARKROOM_DATA: join(folder, "file", "data") });
  await assert.rejects(openInstallation(config), /folder .*file.data cannot be made: /);
});

test("with a bucket configured, pictures go there and the data folder holds none", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-installation-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const server = await startS3Server(t);
  const installation = await openInstallation(
    parseConfig({
      DARKROOM_DATA: folder,
      DARKROOM_LOG_LEVEL: "silent",
      DARKROOM_STORAGE: `s3://${server.bucket}?endpoint=${server.endpoint}`,
      AWS_ACCESS_KEY_ID: server.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.credentials.secretAccessKey.reveal(),
    }),
  );
  const name = objectName(installation.random);
  await installation.storage.put(name, Buffer.from("picture"));
  await installation.close();
  assert.deepEqual(await server.listKeys(), [name]);
  assert.ok(!(await readdir(folder)).includes("objects"));
});
