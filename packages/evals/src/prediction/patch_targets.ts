/** The picture and the sound of tokens: what a decoder is to draw, and back to images. */

import { patchify, type Tensor } from "@avjepa/core";
import {
  AUDIO,
  eachToken,
  imagenetMean,
  imagenetStd,
  type PackedIndices,
  uploadIndices,
  VIDEO,
} from "@avjepa/models";

/** How clips are cut into tokens. */
export interface PatchSizes {
  /** Tokens of a clip: `[time, rows, columns]` and `[rows, columns]`. */
  videoGrid: readonly [number, number, number];
  audioGrid: readonly [number, number];
  /** Frames and side of a patch; sides of a patch of sound. */
  tubelet: number;
  patch: number;
  audioPatch: readonly [number, number];
}

/** Tokens of one modality: their rows in the packed tokens, and in the batch's grid. */
export interface TokenRows {
  /** `[n]` rows of the packed data. */
  packed: Int32Array;
  /** `[n]` patches, counted over the batch's rows. */
  patches: Int32Array;
}

/** Which tokens are of a modality. */
export function rowsOfModality(
  indices: PackedIndices,
  modality: typeof VIDEO | typeof AUDIO,
  gridTokens: number,
): TokenRows {
  const packed: number[] = [];
  const patches: number[] = [];
  eachToken(indices, (m, s) => {
    if (indices.modality[m] !== modality) return;
    packed.push(m);
    patches.push((s % indices.samples) * gridTokens + indices.position[m]!);
  });
  return {
    packed: Int32Array.from(packed),
    patches: Int32Array.from(patches),
  };
}

/** Values of a patch: of a video tubelet in the order channel, time, row, column. */
export const videoPatchSize = ({ tubelet, patch }: PatchSizes): number =>
  3 * tubelet * patch * patch;
export const audioPatchSize = ({ audioPatch }: PatchSizes): number =>
  audioPatch[0] * audioPatch[1];

/** Normalised pixels of patches, `[n, videoPatchSize]`. */
export function videoTargets(
  video: Tensor,
  patches: Int32Array,
  { tubelet, patch }: PatchSizes,
): Tensor {
  return patchify(video, {
    patch: [tubelet, patch, patch],
    rows: uploadIndices(patches, video.device),
    ...(video.dtype === "uint8"
      ? { mean: imagenetMean, std: imagenetStd }
      : {}),
  });
}

/** Values of a spectrogram's patches, `[n, audioPatchSize]`. */
export function audioTargets(
  audio: Tensor,
  patches: Int32Array,
  { audioPatch }: PatchSizes,
): Tensor {
  return patchify(audio, {
    patch: [1, ...audioPatch],
    rows: uploadIndices(patches, audio.device),
  });
}

/** A clip's picture, `[3, T, H, W]`, or sound, `[mel, columns]`, with what has been painted. */
export interface Canvas {
  shape: readonly number[];
  values: Float32Array;
}

/** Paints a video patch's values at a position of a `[3, T, H, W]` canvas. */
export function paintVideo(
  { shape, values }: Canvas,
  position: number,
  patchValues: ArrayLike<number>,
  { tubelet, patch, videoGrid }: PatchSizes,
): void {
  const [, frames, height, width] = shape as [number, number, number, number];
  const [, rows, columns] = videoGrid;
  const time = Math.floor(position / (rows * columns));
  const top = (Math.floor(position / columns) % rows) * patch;
  const left = (position % columns) * patch;
  let at = 0;
  for (let c = 0; c < 3; c++)
    for (let t = 0; t < tubelet; t++)
      for (let y = 0; y < patch; y++)
        for (let x = 0; x < patch; x++)
          values[
            ((c * frames + time * tubelet + t) * height + top + y) * width +
              left +
              x
          ] = patchValues[at++]!;
}

/** Paints a patch of sound on a `[mel, columns]` canvas. */
export function paintAudio(
  { shape, values }: Canvas,
  position: number,
  patchValues: ArrayLike<number>,
  { audioPatch, audioGrid }: PatchSizes,
): void {
  const [, width] = shape as [number, number];
  const top = Math.floor(position / audioGrid[1]) * audioPatch[0];
  const left = (position % audioGrid[1]) * audioPatch[1];
  let at = 0;
  for (let y = 0; y < audioPatch[0]; y++)
    for (let x = 0; x < audioPatch[1]; x++)
      values[(top + y) * width + left + x] = patchValues[at++]!;
}
