/** Which frames the published code cuts from a file. */

import { AvjepaError, callNative, native } from "@avjepa/core";
import type { ParityCase } from "../case.ts";

export function runClipSampling(given: ParityCase): void {
  for (const entry of given.hyper.entries as Record<string, unknown>[]) {
    const indices = orCode(() => referenceClips(entry));
    if (typeof entry.tensor === "string")
      given.compare(entry.tensor, typeof indices === "string" ? [] : indices);
    else
      given.require(
        indices === "AVJ_CLIP",
        `${JSON.stringify(entry)} must be refused`,
      );
  }
}

/** `[clips, frames]` of a case's settings. */
export function referenceClips(entry: Record<string, unknown>): Int32Array {
  return callNative(() => native.mediaReferenceClips(JSON.stringify(entry)));
}

/** What `work` gives, or the code of its error. */
export function orCode<T>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    if (AvjepaError.is(error)) return error.code;
    throw error;
  }
}
