/** A batch of pictures. */

import { keep, type Tensor, tensor } from "@avjepa/core";

import type { Cursor, FileCounts, FileEvent } from "./clip_batch.ts";
import type { ImageLoaderInfo } from "./image_loader.ts";
import type { BatchArrays } from "./native_types.ts";

/**
 * The pictures that could be read. In an evaluation a broken one has no row, and
 * stands in {@link events}; in training another one takes its place.
 *
 * Encoders take it as it is: `encoder.forward(batch)`. The tensor is made when
 * first asked for and lives until the batch is disposed, which the loader does
 * when the next one is asked for. The arrays stay.
 */
export class ImageBatch implements Disposable {
  /** Pictures of the batch. */
  readonly samples: number;
  /** `[samples]` classes, `[samples]` places in the folder or index, `[samples]` traversals. */
  readonly labels: Int32Array;
  readonly indices: Int32Array;
  readonly passes: Int32Array;
  readonly paths: readonly string[];
  /** uint8 RGB `[samples, H, W, 3]`, or normalised float32 `[samples, 3, H, W]`. */
  readonly pixels: Uint8Array | Float32Array;
  /** Files that are broken, for the first time. */
  readonly events: readonly FileEvent[];
  readonly counts: FileCounts;
  /** Number of the batch since the beginning, and where the next one begins. */
  readonly number: number;
  readonly next: Cursor;
  /** Milliseconds that the loader waited for samples: 0 when they were ready. */
  readonly waitMs: number;
  readonly info: ImageLoaderInfo;
  readonly #frames: number;
  readonly #device: string | undefined;
  #video: Tensor | undefined;

  /** @internal A loader makes batches. */
  constructor(
    arrays: BatchArrays,
    info: ImageLoaderInfo,
    frames: number,
    device: string | undefined,
  ) {
    const rows = [...arrays.hasVideo.keys()].filter((i) => arrays.hasVideo[i]);
    const pick = (of: Int32Array) => Int32Array.from(rows, (i) => of[i]!);
    this.samples = rows.length;
    this.labels = pick(arrays.labels);
    this.indices = pick(arrays.indices);
    this.passes = pick(arrays.passes);
    this.paths = rows.map((i) => arrays.paths[i]!);
    const pixels = (arrays.bytes ?? arrays.floats)!;
    this.pixels =
      rows.length === arrays.samples
        ? pixels
        : rowsOf(pixels, rows, arrays.samples);
    this.events = arrays.events;
    this.counts = arrays.counts;
    this.number = arrays.number;
    this.next = { pass: arrays.nextPass, position: arrays.nextPosition };
    this.waitMs = arrays.waitMs;
    this.info = info;
    this.#frames = frames;
    this.#device = device;
  }

  /**
   * The pictures on the device: `[samples, H, W, 3]`, or with the loader's
   * `frames` above 1, each that often, as a clip, `[samples, T, H, W, 3]`. Of
   * float32 `[samples, 3, H, W]` and `[samples, 3, T, H, W]`. Undefined when no
   * picture could be read.
   */
  get video(): Tensor | undefined {
    if (this.samples === 0) return undefined;
    if (this.#video === undefined || this.#video.isDisposed) {
      const where = this.#device === undefined ? {} : { device: this.#device };
      const values = repeated(this.pixels, this.#blocks, this.#frames);
      this.#video = keep(tensor(values, this.videoShape, where));
    }
    return this.#video;
  }

  /** Sizes of {@link video}. */
  get videoShape(): number[] {
    const { crop } = this.info;
    const time = this.#frames === 1 ? [] : [this.#frames];
    return this.pixels instanceof Uint8Array
      ? [this.samples, ...time, crop, crop, 3]
      : [this.samples, 3, ...time, crop, crop];
  }

  /** Runs of values that lie behind each other in every frame: pictures, or their channels. */
  get #blocks(): number {
    return this.pixels instanceof Uint8Array ? this.samples : 3 * this.samples;
  }

  /** Frees the tensor on the device; the arrays stay. */
  dispose(): void {
    if (this.#video && !this.#video.isDisposed) this.#video.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function rowsOf<T extends Uint8Array | Float32Array>(
  values: T,
  rows: readonly number[],
  count: number,
): T {
  const size = values.length / count;
  const whole = emptyLike(values, rows.length * size);
  for (const [to, from] of rows.entries())
    whole.set(values.subarray(from * size, (from + 1) * size), to * size);
  return whole;
}

/** Each of `blocks` runs `times` times. */
function repeated<T extends Uint8Array | Float32Array>(
  values: T,
  blocks: number,
  times: number,
): T {
  if (times === 1) return values;
  const size = values.length / blocks;
  const whole = emptyLike(values, values.length * times);
  for (let block = 0; block < blocks; block++) {
    const run = values.subarray(block * size, (block + 1) * size);
    for (let t = 0; t < times; t++) whole.set(run, (block * times + t) * size);
  }
  return whole;
}

function emptyLike<T extends Uint8Array | Float32Array>(
  values: T,
  length: number,
): T {
  return new (values.constructor as new (length: number) => T)(length);
}
