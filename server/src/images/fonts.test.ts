import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { json } from "node:stream/consumers";
import { test } from "node:test";

import { drawingEnvironment, fontFolders } from "./fonts.ts";

const words = "Latin Ελληνικά Кириллица 赛博朋克 かな カナ 한국어 𝔻 العربية";

test("the fonts come from packages", async () => {
  for (const folder of fontFolders()) {
    assert.match(folder, /[\\/]node_modules[\\/]/);
    for (const file of await readdir(folder)) assert.match(file, /\.(ttf|otf)$/);
  }
});

test("the environment is written once into a private folder and names what is in it", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "fonts");
  const first = drawingEnvironment(path);
  const written = await stat(first["FONTCONFIG_FILE"]!);
  assert.deepEqual(drawingEnvironment(path), first);
  assert.equal((await stat(first["FONTCONFIG_FILE"]!)).mtimeMs, written.mtimeMs);
  assert.equal((await stat(path)).mode & 0o777, 0o700);
  assert.deepEqual(await readdir(path), [basename(first["FONTCONFIG_FILE"]!)]);
});

test("a configuration that was swept or damaged is written again", async () => {
  await using folder = await temporaryFolder();
  const file = drawingEnvironment(folder.path)["FONTCONFIG_FILE"]!;
  const text = await readFile(file, "utf8");
  await rm(file);
  drawingEnvironment(folder.path);
  assert.equal(await readFile(file, "utf8"), text);
});

test("a folder whose name has characters of XML works", async () => {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "a & <b>");
  const { maps } = await render(drawingEnvironment(path));
  if (process.platform === "linux") assert.ok(maps.length > 0, "no font was found");
});

test("drawing text opens the packages' fonts and no other", async (context) => {
  if (process.platform !== "linux") return context.skip("needs /proc");
  await using folder = await temporaryFolder();
  const { maps } = await render(drawingEnvironment(folder.path));
  const folders = new Set(maps.map((file) => dirname(file)));
  assert.deepEqual(folders, new Set(fontFolders()));
});

test("fonts and font rules that a user has installed change no pixel", async () => {
  await using folder = await temporaryFolder();
  const home = join(folder.path, "home");
  await mkdir(join(home, "fonts"), { recursive: true });
  await mkdir(join(home, "fontconfig"));
  const serif = join(fontFolders()[0]!, "DejaVuSerif-Bold.ttf");
  await copyFile(serif, join(home, "fonts", "serif.ttf"));
  await writeFile(
    join(home, "fontconfig", "fonts.conf"),
    `<fontconfig><match target="pattern"><edit name="family" mode="assign" binding="strong">
      <string>DejaVu Serif</string></edit></match></fontconfig>`,
  );
  const environment = drawingEnvironment(join(folder.path, "drawing"));
  const user = { HOME: home, XDG_DATA_HOME: home, XDG_CONFIG_HOME: home };
  const alone = await render(environment);
  assert.ok(alone.ink > 0);
  assert.deepEqual(await render({ ...user, ...environment }), alone);
});

type Rendered = { digest: string; ink: number; maps: string[] };

/** Sets the words in a process that has these variables and no other. */
async function render(env: Record<string, string>): Promise<Rendered> {
  const lettering = new URL("lettering.ts", import.meta.url).href;
  const script = `
    import { createHash } from "node:crypto";
    import { existsSync, readFileSync } from "node:fs";
    const { renderText } = await import(${JSON.stringify(lettering)});
    const mask = await renderText({ text: ${JSON.stringify(words)}, size: 24, width: 600 });
    const maps = existsSync("/proc/self/maps") ? readFileSync("/proc/self/maps", "utf8") : "";
    const fonts = maps.match(/\\/\\S.*\\.(ttf|otf|ttc|pfb|pcf|woff2?)/gm) ?? [];
    console.log(JSON.stringify({
      digest: createHash("sha256").update(mask.coverage).digest("hex"),
      ink: mask.coverage.reduce((sum, value) => sum + (value > 127 ? 1 : 0), 0),
      maps: [...new Set(fonts)].toSorted(),
    }));`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [rendered, [code]] = await Promise.all([json(child.stdout), once(child, "close")]);
  assert.equal(code, 0);
  return rendered as Rendered;
}

async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "darkroom-fonts-test-"));
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
