/**
 * The noise of `model.use_mask_tokens: false`. What a clip gets depends on the
 * seed and the clip, as all of it does that is random: on no process, batch or
 * step, so that any number of processes draws the same.
 */

import { AvjepaError, Generator } from "@avjepa/core";

/** A clip as the run sees it. */
export interface ClipName {
  /** Traversal of the data. */
  pass: number;
  /** Line of the index. */
  index: number;
  /** Which of the file's clips. */
  clip: number;
}

/** 2^64 divided by the golden ratio: neighbouring seeds end up far apart. */
const golden = 0x9e3779b97f4a7c15n;

/**
 * What draws the noise of a sequence. Its key is of the seed, the pass, the clip
 * of the file and the mask; its counters are the file's, 2^32 of them.
 *
 * @param clips by sample of the sequences, which are samples under the first mask, then under the next.
 */
export function noiseOf(
  seed: number,
  clips: readonly ClipName[],
): (sequence: number) => Generator {
  return (sequence) => {
    const name = clips[sequence % clips.length];
    if (!name)
      throw new AvjepaError("AVJ_ARGUMENT", "noise is drawn for no clips");
    const mask = Math.floor(sequence / clips.length);
    const which = (BigInt(name.pass) << 20n) + BigInt(name.clip * 256 + mask);
    return new Generator(
      BigInt(seed) * golden + which,
      BigInt(name.index) << 32n,
    );
  };
}
