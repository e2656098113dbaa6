/** The words between the main process and a picture process; one job at a time, both run this version. */
import type {
  Composition,
  Conversion,
  Drawing,
  PictureError,
  PictureInfo,
  PictureLimits,
} from "./picture.ts";

type Stranger = { bytes: Uint8Array; limits: PictureLimits };

/** Every operation of a picture process. A new one is a line here and its call in `child.ts`. */
export type Operations = {
  clean: { input: Stranger; output: { bytes: Uint8Array | null; info: PictureInfo } };
  cleanMask: { input: Stranger; output: { bytes: Uint8Array | null; info: PictureInfo } };
  inspectMask: { input: Stranger; output: { info: PictureInfo; transparentPixels: number } };
  convert: { input: Stranger & { conversion: Conversion }; output: Uint8Array };
  composite: { input: Stranger & { composition: Composition }; output: Uint8Array };
  draw: { input: Drawing; output: Uint8Array };
};

export type OperationName = keyof Operations;
export type Input<Name extends OperationName> = Operations[Name]["input"];
export type Output<Name extends OperationName> = Operations[Name]["output"];

export type Job = {
  [Name in OperationName]: { operation: Name; input: Input<Name> };
}[OperationName];

export type Answer =
  /** The first word of a process: it has loaded its code and takes jobs. */
  | { kind: "ready" }
  | { kind: "done"; output: Output<OperationName>; rssBytes: number }
  | {
      kind: "failed";
      /** Null when the picture is not at fault. */
      problem: PictureError["problem"] | null;
      message: string;
      /** For logs. */
      detail: string;
      rssBytes: number;
    };
