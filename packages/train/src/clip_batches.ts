/** Clips of a run's indexes, as steps take them. */

import { tensor } from "@avjepa/core";
import { type ClipBatch, ClipLoader, type Cursor } from "@avjepa/data";

import type { Collective } from "./collective.ts";
import type { ResolvedPretrainConfig } from "./config/index.ts";
import type { TrainBatch } from "./train_step.ts";

/**
 * The loader of the training indexes, from where a run has come to.
 *
 * @param options.judge Whether it fails by itself when too many files are bad;
 *   a run of several processes judges those of all of them: see clipsOfAll.
 */
export function trainingClips(
  config: ResolvedPretrainConfig,
  { rank, world }: Pick<Collective, "rank" | "world">,
  cursor: Cursor,
  options: { judge?: boolean } = {},
): ClipLoader {
  return new ClipLoader(config.data.datasets, {
    ...options,
    ...sections(config),
    rank,
    world,
    cursor,
  });
}

/** The next `count` batches of clips that never end: those of a step. */
export async function nextBatches(
  loader: ClipLoader,
  count: number,
): Promise<ClipBatch[]> {
  const batches: ClipBatch[] = [];
  while (batches.length < count) {
    const batch = await loader.next();
    if (batch === null) throw new Error("the training clips have ended");
    batches.push(batch);
  }
  return batches;
}

/** One pass over the held-out indexes: the same crops and masks every time. */
export function heldOutClips(
  config: ResolvedPretrainConfig,
  { rank, world }: Pick<Collective, "rank" | "world">,
): ClipLoader {
  const { datasets_weights: _, ...data } = config.data;
  return new ClipLoader(config.data.held_out, {
    ...sections({ ...config, data: { ...data, datasets_weights: null } }),
    rank,
    world,
    order: "sequential",
    passes: 1,
  });
}

function sections(config: ResolvedPretrainConfig) {
  const { data, data_aug, mask, meta } = config;
  return {
    data: { ...data },
    dataAug: { ...data_aug },
    mask,
    batch: data.batch_size,
    seed: meta.seed,
    compat: meta.compat,
    // The published code augments floats; bytes are a quarter of the memory.
    pixels: meta.compat === "reference" ? ("f32" as const) : ("u8" as const),
  };
}

/**
 * A batch as a step takes it; it stays good after the loader has gone on.
 *
 * @param clips of a loader with masks.
 */
export function toTrainBatch(clips: ClipBatch): TrainBatch {
  const { masks, present } = clips;
  if (!masks) throw new TypeError("these clips have no masks");
  return {
    present,
    context: masks.context,
    targets: masks.target,
    clips: Array.from({ length: clips.rows }, (_, row) => ({
      pass: clips.passes[row % clips.samples] as number,
      index: clips.indices[row % clips.samples] as number,
      clip: Math.floor(row / clips.samples),
    })),
    upload: (device) => ({
      ...made("video", clips.videoData, clips.videoShape, device),
      ...made("audio", clips.audioData, clips.audioShape, device),
    }),
  };
}

function made(
  name: "video" | "audio",
  values: Uint8Array | Float32Array | null,
  shape: number[] | null,
  device: string,
) {
  return values && shape ? { [name]: tensor(values, shape, { device }) } : {};
}
