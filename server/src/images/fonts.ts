/**
 * The fonts that sandbox pictures are written with come from packages, never from the system, so that
 * a picture looks the same on every machine. The fontconfig inside sharp reads `FONTCONFIG_FILE` at
 * its first use, so the variables below must be set before the process that draws starts. This file
 * is safe to import where sharp must not be.
 */
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Families in the order in which a character is looked up; the second is Noto Sans Hans. */
export const fontFamilies = "DejaVu Sans,Noto Sans S Chinese";

/** The folders that hold the fonts, and nothing but fonts. */
export function fontFolders(): readonly string[] {
  const latin = dirname(fileURLToPath(import.meta.resolve("dejavu-fonts-ttf/package.json")));
  const chinese = dirname(dirname(fileURLToPath(import.meta.resolve("@embedpdf/fonts-sc"))));
  return [join(latin, "ttf"), join(chinese, "fonts")];
}

/**
 * The environment variables of a process that draws. Writes the fontconfig file that they name into
 * `folder` (by default one of the user's own under the temp folder) where it is not there yet: call it
 * before each start of such a process, because temp folders are swept.
 */
export function drawingEnvironment(folder = privateFolder()): Record<string, string> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const text = fontConfiguration(fontFolders(), join(folder, "cache"));
  const name = createHash("sha256").update(text).digest("hex").slice(0, 16);
  const file = join(folder, `fonts-${name}.conf`);
  if (!holds(file, text)) replaceFile(file, text);
  return { FONTCONFIG_FILE: file, PANGOCAIRO_BACKEND: "fontconfig" };
}

function fontConfiguration(folders: readonly string[], cache: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
${folders.map((path) => `  <dir>${escapeXml(path)}</dir>`).join("\n")}
  <match target="font">
    <edit name="antialias" mode="assign"><bool>true</bool></edit>
    <edit name="hinting" mode="assign"><bool>false</bool></edit>
    <edit name="autohint" mode="assign"><bool>false</bool></edit>
    <edit name="rgba" mode="assign"><const>none</const></edit>
  </match>
  <cachedir>${escapeXml(cache)}</cachedir>
</fontconfig>
`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** A folder that belongs to this user alone: others may write to the temp folder, too. */
function privateFolder(): string {
  const { uid, username } = userInfo();
  const folder = join(tmpdir(), `darkroom-fonts-${uid >= 0 ? uid : username}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  // Windows has no owner ids; its temp folder is the user's own already.
  if (uid < 0 || (found.isDirectory() && found.uid === uid)) return folder;
  return mkdtempSync(join(tmpdir(), "darkroom-fonts-"));
}

function holds(file: string, text: string): boolean {
  try {
    return readFileSync(file, "utf8") === text;
  } catch {
    return false;
  }
}

/** Atomic, because several processes of one user may start at the same time. */
function replaceFile(file: string, text: string): void {
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, file);
}
