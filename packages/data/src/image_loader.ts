/** Pictures of a folder of class folders, or of an index, decoded and transformed by threads of the engine. */

import { join } from "node:path";

import { AvjepaError, awaitNative, callNative, native } from "@avjepa/core";

import type { Cursor, FileEvent } from "./clip_batch.ts";
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
export class ImageLoader implements AsyncIterable<ImageBatch>, AsyncDisposable {
  readonly #config: Record<string, unknown>;
  readonly #frames: number;
  readonly #device: string | undefined;
  readonly #events: FileEvent[] = [];
  readonly #native: NativeLoader;
  readonly #info: ImageLoaderInfo;
  #cursor: Cursor;
  #last: ImageBatch | null = null;
  #closed = false;

  /**
   * Lists the pictures and starts the threads.
   *
   * @param source a folder with a folder for each class; or an index file (.csv
   *   of `path label` lines, .npy), or several.
   * @throws AvjepaError AVJ_INDEX, AVJ_CONFIG, AVJ_ARGUMENT
   */
  constructor(source: string | readonly string[], options: ImageLoaderOptions) {
    const { batch, seed = 0, rank = 0, world = 1, frames = 1 } = options;
    for (const [name, value, least] of [
      ["batch", batch, 1],
      ["seed", seed, 0],
      ["rank", rank, 0],
      ["world", world, 1],
      ["frames", frames, 1],
    ] as const)
      if (!Number.isSafeInteger(value) || value < least)
        throw new AvjepaError(
          "AVJ_ARGUMENT",
          `ImageLoader: ${name} is ${value}, but must be an integer of at least ${least}`,
        );
    this.#cursor = options.cursor ?? { pass: 0, position: 0 };
    this.#config = loaderConfig(source, options, this.#cursor);
    this.#frames = frames;
    this.#device = options.device;
    this.#native = callNative(() =>
      native.mediaOpenImages(JSON.stringify(this.#config)),
    );
    const { video, ...info } = JSON.parse(this.#native.info()) as Omit<
      ImageLoaderInfo,
      "crop"
    > & { video: { crop: number } };
    this.#info = { ...info, crop: video.crop };
  }

  get info(): ImageLoaderInfo {
    return this.#info;
  }

  /** Where the batch after the last one begins. */
  get cursor(): Cursor {
    return { ...this.#cursor };
  }

  /** All files that could not be read, so far. */
  get events(): readonly FileEvent[] {
    return this.#events;
  }

  /**
   * The next batch; null after the last one. Frees the last one's tensor.
   *
   * @throws AvjepaError AVJ_BAD_FILES past `maxBadFraction`; AVJ_CLOSED.
   */
  async next(): Promise<ImageBatch | null> {
    this.#last?.dispose();
    this.#last = null;
    const arrays = await awaitNative(() => this.#native.next());
    if (arrays === null) return null;
    const batch = new ImageBatch(
      arrays,
      this.#info,
      this.#frames,
      this.#device,
    );
    this.#cursor = batch.next;
    this.#events.push(...batch.events);
    this.#last = batch;
    return batch;
  }

  /** Ends the threads. A batch that is waited for fails with AVJ_CLOSED. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#last?.dispose();
    this.#native.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ImageBatch, void, undefined> {
    for (;;) {
      const batch = await this.next();
      if (batch === null) return;
      yield batch;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
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
  cursor: Cursor,
): Record<string, unknown> {
  const indexes =
    typeof source !== "string"
      ? [...source]
      : indexFile.test(source)
        ? [source]
        : null;
  const train = options.train ?? false;
  const config = {
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
    ...cursor,
  };
  return Object.fromEntries(
    Object.entries(config).filter(([, value]) => value !== undefined),
  );
}
