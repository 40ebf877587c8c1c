/** Writing films. */

import { awaitNative, native } from "@avjepa/core";

/** A film, whole in memory. */
export interface Film {
  /** Pixels; even. */
  width: number;
  height: number;
  /** Frames a second. */
  fps: number;
  /** RGB, `[T, H, W, 3]`. */
  frames: Uint8Array;
  /** One channel, full scale ±1; without it the film is silent. */
  sound?: Float32Array;
  /** Samples a second of the sound; default 16,000. */
  sampleRate?: number;
  /** Constant quantiser, 1 (best) to 31; default 3. */
  quality?: number;
}

/**
 * Writes a film as MPEG-4 part 2 with AAC; the container follows from the name.
 *
 * @throws AvjepaError AVJ_MEDIA naming the file, AVJ_ARGUMENT for frames that
 *   are not whole.
 */
export async function writeFilm(path: string, film: Film): Promise<void> {
  const { width, height, fps, frames, sound } = film;
  const { sampleRate = 16_000, quality = 3 } = film;
  const settings = { width, height, fps, quality, sampleRate };
  await awaitNative(() => native.mediaWriteFilm(path, settings, frames, sound));
}
