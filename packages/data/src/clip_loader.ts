/** Clips from the files of an index, decoded, augmented and masked by threads of the engine. */

import { AvjepaError, awaitNative, callNative, native } from "@avjepa/core";

import { ClipBatch, type Cursor, type FileEvent } from "./clip_batch.ts";
import type { NativeLoader } from "./native_types.ts";

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
export class ClipLoader implements AsyncIterable<ClipBatch>, AsyncDisposable {
  readonly #config: Record<string, unknown>;
  readonly #device: string | undefined;
  readonly #events: FileEvent[] = [];
  #native: NativeLoader;
  #info: LoaderInfo;
  #cursor: Cursor;
  #last: ClipBatch | null = null;
  #closed = false;

  /**
   * Reads the index and starts the threads.
   *
   * @param index an index file, or several.
   * @throws AvjepaError AVJ_INDEX, AVJ_CONFIG, AVJ_MASK
   */
  constructor(index: string | readonly string[], options: ClipLoaderOptions) {
    const { batch, seed = 0, rank = 0, world = 1 } = options;
    for (const [name, value, least] of [
      ["batch", batch, 1],
      ["seed", seed, 0],
      ["rank", rank, 0],
      ["world", world, 1],
    ] as const)
      if (!Number.isSafeInteger(value) || value < least)
        throw new AvjepaError(
          "AVJ_ARGUMENT",
          `ClipLoader: ${name} is ${value}, but must be an integer of at least ${least}`,
        );
    this.#config = loaderConfig(index, options);
    this.#device = options.device;
    this.#cursor = options.cursor ?? { pass: 0, position: 0 };
    [this.#native, this.#info] = this.#open();
  }

  get info(): LoaderInfo {
    return this.#info;
  }

  /** Where the batch after the last one begins. Setting it goes there. */
  get cursor(): Cursor {
    return { ...this.#cursor };
  }

  set cursor(cursor: Cursor) {
    this.#native.close();
    this.#cursor = { ...cursor };
    [this.#native, this.#info] = this.#open();
    this.#closed = false;
  }

  /** All files that were lacking something, so far. */
  get events(): readonly FileEvent[] {
    return this.#events;
  }

  /**
   * The next batch; null after the last one. Frees the last one's tensors.
   *
   * @throws AvjepaError AVJ_BAD_FILES past `data.max_bad_fraction`; AVJ_CLOSED.
   */
  async next(): Promise<ClipBatch | null> {
    this.#last?.dispose();
    this.#last = null;
    const source = this.#native;
    const arrays = await awaitNative(() => source.next());
    if (arrays === null) return null;
    const config = JSON.stringify(this.#config);
    const batch = new ClipBatch(arrays, this.#info, config, this.#device);
    if (source === this.#native) {
      this.#cursor = batch.next;
      this.#events.push(...batch.events);
      this.#last = batch;
    }
    return batch;
  }

  /** Ends the threads. A batch that is waited for fails with AVJ_CLOSED. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#last?.dispose();
    this.#native.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ClipBatch, void, undefined> {
    for (;;) {
      const batch = await this.next();
      if (batch === null) return;
      yield batch;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #open(): [NativeLoader, LoaderInfo] {
    const config = JSON.stringify({ ...this.#config, cursor: this.#cursor });
    const opened = callNative(() => native.mediaOpenLoader(config));
    return [opened, JSON.parse(opened.info()) as LoaderInfo];
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

function defined(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  );
}
