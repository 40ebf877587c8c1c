/**
 * How many tokens masks leave to the context, and hide, on average: by drawing
 * some hundred clips. Close to the loader's own draws, but not the same ones:
 * for planning only.
 */

import { audioBlock } from "../config/index.ts";
import type { MaskEntry, ResolvedPretrainConfig } from "../config/index.ts";
import type { ModelShape } from "./shape.ts";

/** Tokens of one sequence by modality. */
export interface Length {
  video: number;
  audio: number;
}

/** What one mask leaves of a clip. */
export interface MaskLength {
  context: Length;
  target: Length;
}

/** Batches drawn for each mask. */
const BATCHES = 8;
/** Clips of them at most: the averages settle long before. */
const MOST_CLIPS = 24;

/** The mean lengths under each mask. Clips are taken to have every modality whole. */
export function meanMaskLengths(
  config: ResolvedPretrainConfig,
  shape: ModelShape,
): MaskLength[] {
  const random = uniforms();
  const clips = Math.min(MOST_CLIPS, config.data.batch_size);
  const cut = config.data.mask_mode === "reference";
  return config.mask.map((entry) => {
    const sum: MaskLength = {
      context: { video: 0, audio: 0 },
      target: { video: 0, audio: 0 },
    };
    for (let batch = 0; batch < BATCHES; batch++) {
      const draw = sampler(config, shape, entry, random);
      const drawn = Array.from({ length: clips }, draw);
      for (const kind of ["context", "target"] as const) {
        for (const modality of ["video", "audio"] as const) {
          const lengths = drawn.map((length) => length[kind][modality]);
          const total = cut
            ? clips * Math.min(...lengths)
            : lengths.reduce((all, length) => all + length, 0);
          sum[kind][modality] += total / (BATCHES * clips);
        }
      }
    }
    return sum;
  });
}

type Random = () => number;

/** Draws clips of one batch: `reference` masks share a block's size over it. */
function sampler(
  config: ResolvedPretrainConfig,
  shape: ModelShape,
  entry: MaskEntry,
  random: Random,
): () => MaskLength {
  const [steps = 0, rows = 0, columns = 0] = shape.video.grid;
  const kept = (of: number) =>
    Math.max(1, Math.trunc(of * entry.max_temporal_keep));
  const tubes = config.data.mask_type === "random_tube";
  let block = tubes ? null : videoBlock(entry, shape, random);
  return () => {
    if (block && config.data.mask_mode !== "reference")
      block = videoBlock(entry, shape, random);
    const covered = () =>
      block
        ? hide([steps, rows, columns], block, entry, kept(steps), 0, random)
        : tube([rows, columns], entry, steps, kept(steps));
    const video = shape.video.seen ? covered() : nothing;
    const audio = shape.audio?.seen
      ? heard(shape.audio.grid as [number, number], entry, tubes, random)
      : nothing;
    // As published: with sound there is no such limit.
    const limited = config.data.mask_mode !== "reference" || !shape.audio;
    const most = (limited ? entry.max_keep : null) ?? Infinity;
    return {
      context: { video: Math.min(video.context, most), audio: audio.context },
      target: { video: video.target, audio: audio.target },
    };
  };
}

interface Split {
  context: number;
  target: number;
}

const nothing: Split = { context: 0, target: 0 };

/** A block's time steps, rows and columns. */
function videoBlock(
  entry: MaskEntry,
  { video }: ModelShape,
  random: Random,
): [number, number, number] {
  const [steps = 1, rows = 1, columns = 1] = video.grid;
  const between = ([low, high]: readonly [number, number]) =>
    low + random() * (high - low);
  const length = Math.trunc(steps * between(entry.temporal_scale ?? [1, 1]));
  const area = Math.trunc(
    rows * columns * between(entry.spatial_scale ?? [1, 1]),
  );
  const aspect = between(entry.aspect_ratio ?? [1, 1]);
  const side = (value: number, most: number) =>
    Math.min(most, Math.max(1, Math.round(Math.sqrt(value))));
  return [
    Math.max(1, length),
    side(area * aspect, rows),
    side(area / aspect, columns),
  ];
}

/** Both kinds of token of the sound's grid. */
function heard(
  [rows, cols]: [number, number],
  entry: MaskEntry,
  tubes: boolean,
  random: Random,
): Split {
  const early = Math.max(1, Math.trunc(cols * entry.max_temporal_keep));
  if (tubes) {
    const context = Math.max(1, Math.trunc(rows * early * keepRatio(entry)));
    return { context, target: rows * cols - context };
  }
  const [height, width] = audioBlock(entry, rows, cols);
  return hide([1, rows, cols], [1, height, width], entry, early, 2, random);
}

const keepRatio = ({ ratio = 0.9 }: MaskEntry): number => 1 - ratio;

function tube(
  [rows, columns]: [number, number],
  entry: MaskEntry,
  steps: number,
  early: number,
): Split {
  const shown = Math.trunc(rows * columns * keepRatio(entry));
  return {
    context: shown * early,
    target: rows * columns * steps - shown * early,
  };
}

/** The union of blocks, and of everything past `early` along axis `time`. Drawn again where nothing is left. */
function hide(
  grid: [number, number, number],
  block: [number, number, number],
  { num_blocks = 1 }: MaskEntry,
  early: number,
  time: 0 | 2,
  random: Random,
): Split {
  const [steps, rows, columns] = grid;
  for (let attempt = 0; attempt < 64; attempt++) {
    const hidden = new Uint8Array(steps * rows * columns);
    for (let b = 0; b < num_blocks; b++) {
      const [t, y, x] = grid.map((size, axis) =>
        Math.floor(random() * (size - (block[axis] ?? 1) + 1)),
      ) as [number, number, number];
      for (let i = t; i < t + block[0]; i++)
        for (let j = y; j < y + block[1]; j++) {
          const row = (i * rows + j) * columns + x;
          hidden.fill(1, row, row + block[2]);
        }
    }
    let context = 0;
    hidden.forEach((gone, place) => {
      const at =
        time === 0 ? Math.floor(place / (rows * columns)) : place % columns;
      if (gone === 0 && at < early) context++;
    });
    if (context > 0) return { context, target: hidden.length - context };
  }
  return { context: 1, target: steps * rows * columns - 1 };
}

/** The same plan every time: a 32-bit linear congruential generator is enough here. */
function uniforms(): Random {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
