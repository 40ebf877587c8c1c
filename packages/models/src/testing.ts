/** What the tests of models share. */

import { Generator, type Tensor } from "@avjepa/core";
import {
  AudioVideoEncoder,
  type AudioVideoEncoderOptions,
} from "./audio-video-encoder.ts";

/** Smallest sizes in which nothing is square by accident. */
export const tiny = {
  embedDim: 24,
  depth: 2,
  numHeads: 2,
  crop: [16, 24],
  frames: 4,
  patch: 8,
  mel: 12,
  audioFrames: 20,
  audioPatch: [4, 5],
} as const satisfies AudioVideoEncoderOptions;

/** 2 × 2 × 3 video tokens and 3 × 4 audio tokens. */
export function tinyEncoder(
  options: AudioVideoEncoderOptions = {},
): AudioVideoEncoder {
  return new AudioVideoEncoder({ ...tiny, seed: 1, ...options });
}

/** A batch that fits {@link tinyEncoder}. */
export function tinyBatch(
  samples: number,
  options: { dtype?: "float32" | "float64" } = {},
): { video: Tensor; audio: Tensor } {
  const generator = new Generator(7);
  return {
    video: generator.normal([samples, 3, 4, 16, 24], 0, 1, options),
    audio: generator.normal([samples, 1, 12, 20], 0, 1, options),
  };
}

/** Largest difference. */
export async function distance(a: Tensor, b: Tensor): Promise<number> {
  if (a.shape.join() !== b.shape.join())
    throw new Error(`[${a.shape.join(", ")}] is not [${b.shape.join(", ")}]`);
  const [x, y] = [await a.toNumbers(), await b.toNumbers()];
  return x.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (y[i] as number))),
    0,
  );
}
