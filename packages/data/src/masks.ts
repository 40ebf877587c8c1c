/** Masks: which tokens the encoder sees, and which are to be predicted. */

import { callNative, native } from "@avjepa/core";

import type { ClipBatch } from "./clip_batch.ts";
import type { MaskArrays } from "./native_types.ts";
import { packRows, type PackedIndices } from "./tokens.ts";

/** Context and target tokens of every row under every mask. */
export interface Masks {
  /** What the encoder sees: sequences = masks × rows. */
  readonly context: PackedIndices;
  /** What the predictor predicts: the same sequences. */
  readonly target: PackedIndices;
}

/** @internal From the addon's lists: video context, video target, audio context, audio target. */
export function packMaskArrays(masks: readonly MaskArrays[]): Masks {
  const side = (video: number, audio: number): PackedIndices =>
    packRows(
      masks.map(({ lists, offsets }) => ({
        video: { values: lists[video]!, offsets: offsets[video]! },
        audio: { values: lists[audio]!, offsets: offsets[audio]! },
      })),
    );
  return { context: side(0, 2), target: side(1, 3) };
}

/** One mask generator: blocks whose union is predicted. */
export interface MultiblockOptions {
  /** Blocks a sample; default 8. */
  numBlocks?: number;
  /** Least and greatest area of a block, as a fraction of the grid; default `[0.15, 0.15]`. */
  spatialScale?: [number, number];
  /** Least and greatest length of a block, as a fraction of the time steps; default `[1, 1]`. */
  temporalScale?: [number, number];
  /** Least and greatest height over width; default `[0.75, 1.5]`. */
  aspectRatio?: [number, number];
  /** Rows and columns of a block on the sound's grid, as fractions; default `[0.5, 0.5]`. */
  audioScale?: [number, number];
  /** The context is taken from this first fraction of time; default 1. */
  maxTemporalKeep?: number;
  /** Most context tokens of the picture; default all. */
  maxKeep?: number;
}

/**
 * Masks for a batch, drawn for each row on its own by (seed, pass, sample): the
 * same whenever they are made again. Every modality that a row has keeps at
 * least one context and one target token.
 *
 * @param options one generator, or one for each mask of a row.
 * @throws AvjepaError AVJ_MASK when a mask can leave no context or no target.
 * @example const masks = multiblockMasks(clips, [{ numBlocks: 8 }, { numBlocks: 2, spatialScale: [0.7, 0.7] }]);
 */
export function multiblockMasks(
  clips: ClipBatch,
  options: MultiblockOptions | readonly MultiblockOptions[] = {},
): Masks {
  const generators = Array.isArray(options) ? options : [options];
  const mask = generators.map((generator: MultiblockOptions) => ({
    num_blocks: generator.numBlocks,
    spatial_scale: generator.spatialScale,
    temporal_scale: generator.temporalScale,
    aspect_ratio: generator.aspectRatio,
    audio_scale: generator.audioScale ?? [0.5, 0.5],
    max_temporal_keep: generator.maxTemporalKeep,
    max_keep: generator.maxKeep,
  }));
  const config = JSON.parse(clips.config) as { data: object };
  config.data = {
    ...config.data,
    mask_mode: "unbiased",
    mask_type: "multiblock3d",
  };
  const rows = new Float64Array(clips.rows * 5);
  for (let row = 0; row < clips.rows; row++) {
    const sample = row % clips.samples;
    rows.set(
      [
        clips.passes[sample]!,
        clips.indices[sample]!,
        Math.floor(row / clips.samples),
        clips.hasVideo[row]!,
        clips.audioCols[row]!,
      ],
      row * 5,
    );
  }
  return packMaskArrays(
    callNative(() =>
      native.mediaMasks(
        JSON.stringify({ ...config, mask }),
        clips.number,
        clips.samples,
        rows,
      ),
    ),
  );
}
