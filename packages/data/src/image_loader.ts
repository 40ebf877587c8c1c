/** Pictures of a folder of class folders, or of an index, decoded and transformed by threads of the engine. */

import { join } from "node:path";

import { native } from "@avjepa/core";

import { BatchLoader, defined, requireIntegers } from "./batch_loader.ts";
import type { Cursor } from "./clip_batch.ts";
import { ImageBatch } from "./image_batch.ts";
import type { NativeLoader } from "./native_types.ts";

/** What is loaded, and how. */
export interface ImageLoaderOptions {
  /** Pictures of a batch, on this rank. */
  batch: number;
  /**
   * The training transform (random crop, flip, AutoAugment, erasing) in a new
   * order each pass, others in place of broken pictures; or, the default, that
   * of evaluations: the centre, in order, once, without those that are broken.
   */
  train?: boolean;
  /** Side of the square crop, pixels; default 224. */
  crop?: number;
  /** Side of a token; default 16. */
  patch?: number;
  /** Repeats each picture to a clip of so many frames; default 1: a picture. */
  frames?: number;
  /** The training set's classes, by which a folder's labels go; default the folder's own. */
  classes?: readonly string[];
  /** Of training: range of the crop's share of the picture; default [0.08, 1]. */
  scale?: readonly [number, number];
  /** Of training: range of the crop's width over its height; default [3/4, 4/3]. */
  ratio?: readonly [number, number];
  /** Of training: chance of erasing a rectangle; default 0.25. */
  reprob?: number;
  /** `u8`: bytes, normalised on the device; `f32`: normalised here. Default f32 in training, else u8. */
  pixels?: "u8" | "f32";
  /** `reference`: the published random streams and order. Default `corrected`. */
  compat?: "corrected" | "reference";
  /** Default 0. What a picture becomes depends on (seed, pass, picture) only. */
  seed?: number;
  order?: "shuffled" | "sequential";
  /** Traversals after which to end; default: once, in training never. */
  passes?: number;
  /** With `passes`: leave out a last batch that is not full. Default false. */
  dropLast?: boolean;
  /** Threads; more than there are cores are not used. Default 1. */
  workers?: number;
  /** Broken files, of all, past which the loader fails; default 0.05. */
  maxBadFraction?: number;
  /** Place among the processes that share the data; default 0 of 1. */
  rank?: number;
  world?: number;
  /** Where to go on; default the beginning. */
  cursor?: Cursor;
  /** Of the batches' tensors; default the default device. */
  device?: string;
}

/** What was opened. */
export interface ImageLoaderInfo {
  /** Pictures of the folder or index. */
  samples: number;
  /** Changes when a path or a label does. */
  fingerprint: string;
  workers: number;
  /** What the user should know, a line each. */
  notices: string[];
  /** Names of the classes by label; empty for an index. */
  classes: string[];
  /** Side of a picture. */
  crop: number;
}

/**
 * A sequence of batches of pictures.
 *
 * @example
 * const train = new ImageLoader("imagenet/train", { batch: 64, train: true, workers: 8 });
 * const test = new ImageLoader("imagenet/val", { batch: 64, classes: train.info.classes });
 * for await (const images of test) console.log(images.paths);
 */
export class ImageLoader extends BatchLoader<ImageBatch, ImageLoaderInfo> {
  /**
   * Lists the pictures and starts the threads.
   *
   * @param source a folder with a folder for each class; or an index file (.csv
   *   of `path label` lines, .npy), or several.
   * @throws AvjepaError AVJ_INDEX, AVJ_CONFIG, AVJ_ARGUMENT
   */
  constructor(source: string | readonly string[], options: ImageLoaderOptions) {
    const { frames = 1 } = options;
    requireIntegers("ImageLoader", {
      batch: [options.batch ?? Number.NaN, 1],
      seed: [options.seed, 0],
      crop: [options.crop, 1],
      patch: [options.patch, 1],
      frames: [frames, 1],
      workers: [options.workers, 0],
      passes: [options.passes, 1],
      rank: [options.rank, 0],
      world: [options.world, 1],
    });
    const config = loaderConfig(source, options);
    super(
      {
        open: (cursor) =>
          native.mediaOpenImages(JSON.stringify({ ...config, ...cursor })),
        info: infoOf,
        batch: (arrays, info) =>
          new ImageBatch(arrays, info, frames, options.device),
      },
      options.cursor,
    );
  }
}

function infoOf(opened: NativeLoader): ImageLoaderInfo {
  const { video, ...info } = JSON.parse(opened.info()) as Omit<
    ImageLoaderInfo,
    "crop"
  > & { video: { crop: number } };
  return { ...info, crop: video.crop };
}

/**
 * The folder of a published data set's part: `root/folder/train` or
 * `root/folder/val`.
 */
export function imageSplit(
  root: string,
  folder: string,
  split: "train" | "val",
): string {
  return join(root, folder, split);
}

/** Endings of index files. */
const indexFile = /\.(csv|tsv|txt|npy)$/i;

function loaderConfig(
  source: string | readonly string[],
  options: ImageLoaderOptions,
): Record<string, unknown> {
  const indexes =
    typeof source !== "string"
      ? [...source]
      : indexFile.test(source)
        ? [source]
        : null;
  const train = options.train ?? false;
  return defined({
    ...(indexes === null ? { folder: source } : { index: indexes }),
    classes: options.classes,
    crop_size: options.crop,
    patch_size: options.patch,
    train,
    scale: options.scale,
    ratio: options.ratio,
    reprob: options.reprob,
    pixels: options.pixels,
    compat: options.compat,
    seed: options.seed,
    batch: options.batch,
    rank: options.rank,
    world: options.world,
    order: options.order,
    passes: options.passes ?? (train ? undefined : 1),
    drop_last: options.dropLast,
    num_workers: options.workers,
    max_bad_fraction: options.maxBadFraction,
  });
}
