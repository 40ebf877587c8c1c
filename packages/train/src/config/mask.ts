/** `mask`: one generator an entry, and one mask token each. */

import { z } from "zod";

import { int, maybe, num, optional, orNull, pair } from "./key.ts";

const maskEntrySchema = z
  .strictObject({
    num_blocks: maybe(
      int({ min: 1 }),
      "Blocks whose union is to be predicted. Required for multiblock3d.",
    ),
    spatial_scale: maybe(
      pair({ above: 0, max: 1 }),
      "Least and greatest area of a block, as a fraction of the grid. Required for multiblock3d.",
    ),
    temporal_scale: maybe(
      pair({ above: 0, max: 1 }),
      "Least and greatest length of a block, as a fraction of the time steps. Required for multiblock3d.",
    ),
    aspect_ratio: maybe(
      pair({ above: 0 }),
      "Least and greatest height over width of a block, uniform. Required for multiblock3d.",
    ),
    audio_scale: optional(
      pair({ above: 0, max: 1 }),
      [0.5, 0.5],
      "Mel rows and time columns of a block on the sound's grid, as fractions of it; half by half is the published 4 × 6 of 8 × 12.",
    ),
    max_temporal_keep: optional(
      num({ above: 0, max: 1 }),
      1,
      "The context is taken from this first fraction of the time steps.",
    ),
    max_keep: optional(
      orNull(int({ min: 1 })),
      null,
      "Most context tokens of the picture.",
    ),
    ratio: maybe(
      num({ above: 0, max: 1 }),
      "Fraction of patches to be predicted. Required for random_tube, and only for it.",
    ),
  })
  .meta({ expected: "a section of keys" });

export const maskSchema = z.array(maskEntrySchema).min(1).meta({
  expected: "a list of at least one mask generator",
  doc: "Mask generators; each has its own mask token and its own pass of context and predictor.",
});

/** One generator, resolved. */
export type MaskEntry = z.output<typeof maskEntrySchema>;
