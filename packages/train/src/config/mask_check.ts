/**
 * Whether a mask can leave a sample without context or without targets.
 *
 * A block's size is drawn once a batch, its place for each sample, and a
 * sample whose context is empty is drawn again. So a size that covers the
 * whole grid, or that rounds to nothing, is not mended by drawing again and is
 * refused; many blocks that always cover the grid between them are found by
 * trying.
 */

import { audioGrid, videoGrid } from "./derived.ts";
import type { MaskEntry } from "./mask.ts";
import type { PretrainConfig } from "./pretrain.ts";
import type { Problem } from "./problem.ts";

/** The problems of `mask`. */
export function maskProblems(config: PretrainConfig): Problem[] {
  return config.mask.flatMap((entry, i) =>
    config.data.mask_type === "random_tube"
      ? tubeProblems(config, entry, i)
      : blockProblems(config, entry, i),
  );
}

function tubeProblems(
  config: PretrainConfig,
  { ratio }: MaskEntry,
  i: number,
): Problem[] {
  const path = ["mask", i, "ratio"];
  if (ratio === undefined)
    return [
      {
        path,
        message: `missing key "mask[${i}].ratio": random_tube needs it`,
        hint: "the fraction of patches to predict, for example 0.9",
      },
    ];
  const [, rows, columns] = videoGrid(config);
  const kept = Math.trunc(rows * columns * (1 - ratio));
  const of = `mask[${i}].ratio ${ratio} of ${rows} × ${columns} patches`;
  if (kept === 0)
    return [{ path, message: `${of} leaves no context`, hint: "lower it" }];
  if (kept === rows * columns)
    return [{ path, message: `${of} leaves no target`, hint: "raise it" }];
  return [];
}

const blockKeys = [
  "num_blocks",
  "spatial_scale",
  "temporal_scale",
  "aspect_ratio",
] as const;

function blockProblems(
  config: PretrainConfig,
  entry: MaskEntry,
  i: number,
): Problem[] {
  const missing = blockKeys.filter((key) => entry[key] === undefined);
  if (missing.length > 0)
    return missing.map((key) => ({
      path: ["mask", i, key],
      message: `missing key "mask[${i}].${key}": multiblock3d needs it`,
    }));
  const blocks = entry as Required<MaskEntry>;
  if (entry.ratio !== undefined)
    return [
      {
        path: ["mask", i, "ratio"],
        message: `mask[${i}].ratio is for data.mask_type: random_tube; it is multiblock3d`,
      },
    ];
  return [
    ...(config.data.modalities.includes("video")
      ? videoProblems(blocks, i, videoGrid(config))
      : []),
    ...(config.data.modalities.includes("audio")
      ? audioProblems(blocks, i, audioGrid(config))
      : []),
  ];
}

/** Rounds half to even, as the block's sides do. */
function roundEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

function videoProblems(
  entry: Required<MaskEntry>,
  i: number,
  [time, rows, columns]: [number, number, number],
): Problem[] {
  const grid = `${time} × ${rows} × ${columns} tokens`;
  const path = ["mask", i, "spatial_scale"];
  const [least, greatest] = entry.spatial_scale.map((scale) =>
    Math.trunc(rows * columns * scale),
  ) as [number, number];
  const [flat, tall] = entry.aspect_ratio;
  const steps = Math.max(1, Math.trunc(time * entry.temporal_scale[1]));

  // The samplers round such a block up to a token; this one was never meant
  // to have any.
  const tooSmall = rows * columns * entry.spatial_scale[0] < 0.5;
  if (tooSmall)
    return [
      {
        path,
        message: `mask[${i}] can leave no target: mask[${i}].spatial_scale ${entry.spatial_scale[0]} of ${grid} can be a block without tokens`,
        hint: "raise the least spatial_scale, or use smaller patches",
      },
    ];

  // An aspect ratio for which both sides are the grid's.
  const reach = (side: number): number => (side - 0.5) ** 2;
  const low = Math.max(flat, reach(rows) / greatest);
  const high = Math.min(tall, greatest / reach(columns));
  if (steps === time && low <= high)
    return [
      {
        path,
        message: `mask[${i}] can leave no context: mask[${i}].spatial_scale ${entry.spatial_scale[1]} of ${grid} can be one block over all of it`,
        hint: "lower the greatest spatial_scale",
      },
    ];

  const middle = Math.min(tall, Math.max(flat, rows / columns));
  const side = (limit: number, length: number): number =>
    Math.min(limit, Math.max(1, roundEven(length)));
  const block = [
    steps,
    side(rows, Math.sqrt(least * middle)),
    side(columns, Math.sqrt(least / middle)),
  ];
  if (alwaysCovered([time, rows, columns], block, entry.num_blocks))
    return [
      {
        path: ["mask", i, "num_blocks"],
        message: `mask[${i}] leaves no context: ${entry.num_blocks} blocks of ${block.join(" × ")} cover all ${grid}`,
        hint: "fewer or smaller blocks",
      },
    ];
  return [];
}

function audioProblems(
  entry: Required<MaskEntry>,
  i: number,
  { rows, cols }: { rows: number; cols: number },
): Problem[] {
  const grid = `${rows} × ${cols} tokens of sound`;
  const block = audioBlock(entry, rows, cols);
  const path = ["mask", i, "audio_scale"];
  if (rows * cols < 2)
    return [
      {
        path: ["data", "audio", "duration"],
        message: `${grid} cannot be both context and target`,
        hint: "lengthen data.audio.duration, or lower data.audio.patch",
      },
    ];
  if (block[0] === rows && block[1] === cols)
    return [
      {
        path,
        message: `mask[${i}] can leave no context: mask[${i}].audio_scale [${entry.audio_scale.join(", ")}] of ${grid} is one block over all of it`,
        hint: "lower mask[].audio_scale, or lengthen data.audio.duration",
      },
    ];
  return [];
}

/**
 * Rows and columns of a mask's block on the sound's grid: `audio_scale` of it,
 * rounded down, at least one token. `[0.5, 0.5]` of 8 × 12 is 4 × 6.
 */
export function audioBlock(
  { audio_scale }: Pick<MaskEntry, "audio_scale">,
  rows: number,
  cols: number,
): [number, number] {
  const side = (size: number, scale: number): number =>
    Math.max(1, Math.trunc(size * scale));
  return [side(rows, audio_scale[0]), side(cols, audio_scale[1])];
}

/** Whether `count` blocks leave nothing in each of many tries. */
function alwaysCovered(
  grid: readonly number[],
  block: readonly number[],
  count: number,
): boolean {
  const [time, rows, columns] = grid as [number, number, number];
  const [t, h, w] = block as [number, number, number];
  if (t * h * w * count < time * rows * columns) return false;
  let state = 1;
  const below = (n: number): number => {
    // A 32-bit linear congruential generator: the tries need no better.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  for (let attempt = 0; attempt < 64; attempt++) {
    const covered = new Uint8Array(time * rows * columns);
    let left = covered.length;
    for (let k = 0; k < count && left > 0; k++) {
      const top = below(rows - h + 1);
      const start = below(columns - w + 1);
      const begin = below(time - t + 1);
      for (let a = begin; a < begin + t; a++)
        for (let b = top; b < top + h; b++)
          for (let c = start; c < start + w; c++) {
            const at = (a * rows + b) * columns + c;
            if (covered[at] === 0) {
              covered[at] = 1;
              left--;
            }
          }
    }
    if (left > 0) return false;
  }
  return true;
}
