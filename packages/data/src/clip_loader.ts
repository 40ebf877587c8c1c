/** Clips from the files of an index, decoded, augmented and masked by threads of the engine. */

import { native } from "@avjepa/core";

import { BatchLoader, defined, requireIntegers } from "./batch_loader.ts";
import { ClipBatch, type Cursor } from "./clip_batch.ts";

/**
 * What is loaded. `data`, `dataAug` and `mask` are the configuration's sections
 * under their own names (docs/config.md); the other keys are short for some of
 * `data`'s and win over them.
 */
export interface ClipLoaderOptions {
  /** Files of a batch, on this rank. */
  batch: number;
  /** Default 0. What a sample contains depends on (seed, pass, sample) only. */
  seed?: number;
  data?: Readonly<Record<string, unknown>>;
  dataAug?: Readonly<Record<string, unknown>>;
  /** Mask generators; then batches have `masks`. Default none: see multiblockMasks. */
  mask?: readonly object[];
  modalities?: readonly ("video" | "audio")[];
  /** Side of the square crop, pixels; default 224. */
  crop?: number;
  /** Frames of a clip; default 16. */
  frames?: number;
  /** Frames of the file from one frame of the clip to the next; default 4. */
  step?: number;
  /** Frames of a token, side of a patch; default 2 and 16. */
  tubelet?: number;
  patch?: number;
  /** Seconds of sound a clip; default the clip's length at 30 frames a second. */
  audioSeconds?: number;
  /** Clips of a file; default 1. */
  clips?: number;
  /**
   * Clips as evaluations take them: they may overlap, and with `views` above 0
   * they and as many crops of each are fixed. Rows then lie clip by clip and,
   * within a clip, view by view; a batch's `clips` counts both. `views: 0` is
   * one crop by the training transform.
   */
  evaluation?: { views: number };
  /** Threads; more than there are cores are not used. Default 1. */
  workers?: number;
  /** Place among the processes that share the data; default 0 of 1. */
  rank?: number;
  world?: number;
  /** Where to go on; default the beginning. */
  cursor?: Cursor;
  /** `shuffled` anew each pass (default), or `sequential`. */
  order?: "shuffled" | "sequential";
  /** Traversals of the data after which to end; default: never. */
  passes?: number;
  /** With `passes`: leave out a last batch that is not full. Default false. */
  dropLast?: boolean;
  /** Whether to fail past `data.max_bad_fraction` of the files; default true. See FileLedger. */
  judge?: boolean;
  /** `u8`: bytes, normalised on the device (default). `f32`: normalised here, not rounded. */
  pixels?: "u8" | "f32";
  /** `reference`: torch's order of samples and the published random streams. Default `corrected`. */
  compat?: "corrected" | "reference";
  /** Of the batches' tensors; default the default device. */
  device?: string;
}

/** What was opened. */
export interface LoaderInfo {
  /** Lines of the index files. */
  samples: number;
  /** Changes when a path or a label of the index does. */
  fingerprint: string;
  /** Threads in use. */
  workers: number;
  /** What the user should know, a line each. */
  notices: string[];
  video: {
    frames: number;
    crop: number;
    grid: [time: number, rows: number, columns: number];
  } | null;
  audio: {
    mels: number;
    columns: number;
    patch: number;
    grid: [rows: number, columns: number];
    seconds: number;
  } | null;
}

/**
 * An endless (or, with `passes`, finite) sequence of batches.
 *
 * Samples are in one order over all ranks; a *pass* is a traversal of the data
 * in an order of its own. Batches run on from one pass into the next, so that
 * no sample is dropped. Broken files are replaced and reported; past
 * `data.max_bad_fraction` the loader fails. Number and timing of its threads
 * change nothing.
 *
 * @example
 * await using loader = new ClipLoader("clips.csv", { batch: 16, workers: 4 });
 * for await (const clips of loader) console.log(clips.paths);
 */
export class ClipLoader extends BatchLoader<ClipBatch, LoaderInfo> {
  /**
   * Reads the index and starts the threads.
   *
   * @param index an index file, or several.
   * @throws AvjepaError AVJ_INDEX, AVJ_CONFIG, AVJ_MASK
   */
  constructor(index: string | readonly string[], options: ClipLoaderOptions) {
    const { device } = options;
    requireIntegers("ClipLoader", {
      batch: [options.batch ?? Number.NaN, 1],
      seed: [options.seed, 0],
      crop: [options.crop, 1],
      frames: [options.frames, 1],
      step: [options.step, 1],
      tubelet: [options.tubelet, 1],
      patch: [options.patch, 1],
      clips: [options.clips, 1],
      workers: [options.workers, 0],
      passes: [options.passes, 1],
      rank: [options.rank, 0],
      world: [options.world, 1],
    });
    const config = loaderConfig(index, options);
    const text = JSON.stringify(config);
    super(
      {
        open: (cursor) =>
          native.mediaOpenLoader(JSON.stringify({ ...config, cursor })),
        info: (opened) => JSON.parse(opened.info()) as LoaderInfo,
        batch: (arrays, info) => new ClipBatch(arrays, info, text, device),
      },
      options.cursor,
    );
  }
}

function loaderConfig(
  index: string | readonly string[],
  options: ClipLoaderOptions,
): Record<string, unknown> {
  const short = defined({
    modalities: options.modalities,
    crop_size: options.crop,
    num_frames: options.frames,
    sampling_rate: options.step,
    tubelet_size: options.tubelet,
    patch_size: options.patch,
    num_clips: options.clips,
    num_workers: options.workers,
  });
  const data: Record<string, unknown> = {
    ...options.data,
    ...short,
    datasets: typeof index === "string" ? [index] : [...index],
  };
  if (options.audioSeconds !== undefined)
    data.audio = {
      ...(data.audio as object | undefined),
      duration: options.audioSeconds,
    };
  return defined({
    data,
    data_aug: options.dataAug ?? {},
    evaluation: options.evaluation,
    mask: options.mask ?? [],
    compat: options.compat,
    seed: options.seed,
    batch: options.batch,
    rank: options.rank,
    world: options.world,
    order: options.order,
    passes: options.passes,
    drop_last: options.dropLast,
    judge: options.judge,
    pixels: options.pixels,
  });
}
