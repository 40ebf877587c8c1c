/** A batch of clips. */

import { keep, type Tensor, tensor } from "@avjepa/core";

import type { LoaderInfo } from "./clip_loader.ts";
import { type Masks, packMaskArrays } from "./masks.ts";
import type { BatchArrays } from "./native_types.ts";
import { type PackedIndices, presentTokens } from "./tokens.ts";

/** How far a run has come through its data; a checkpoint keeps it. */
export interface Cursor {
  /** Traversals of the data completed. */
  pass: number;
  /** Samples handed out over all ranks since the run's beginning. */
  position: number;
}

/** News of a file, given once a run and kind. */
export interface FileEvent {
  /** `bad` (broken), `missing_audio`, `silent`, `missing_video` or `short`. */
  kind: string;
  /** Line in the index, from 0. */
  index: number;
  path: string;
  reason: string;
  /** Whether another file took its place. */
  replaced: boolean;
}

/** Distinct files so far, on this rank. */
export type FileCounts = BatchArrays["counts"];

/**
 * `samples` files, `clips` clips of each: rows lie clip by clip, row
 * `c · samples + s` is clip c of sample s.
 *
 * Encoders take it as it is: `encoder.forward(batch, masks.context)`. Its
 * tensors are made when first asked for and live until the batch is disposed,
 * which the loader does when the next one is asked for. The arrays stay.
 */
export class ClipBatch implements Disposable {
  /** Files of the batch. */
  readonly samples: number;
  readonly clips: number;
  /** `[samples]` classes, `[samples]` lines in the index, `[samples]` traversals. */
  readonly labels: Int32Array;
  readonly indices: Int32Array;
  readonly passes: Int32Array;
  readonly paths: readonly string[];
  /** uint8 RGB `[rows, T, H, W, 3]`, or normalised float32 `[rows, 3, T, H, W]`, of one frame without T; null without video. */
  readonly videoData: Uint8Array | Float32Array | null;
  /** Spectrograms `[rows, 1, mel, columns]`; null without audio. */
  readonly audioData: Float32Array | null;
  /** `[rows]`: 1 for a row with a picture; the others' pixels are zero. */
  readonly hasVideo: Uint8Array;
  /** `[rows]`: leading columns of the sound's grid that hold sound, 0 without. */
  readonly audioCols: Int32Array;
  /** `[rows, T]` numbers of the frames in their file; −1 without picture. */
  readonly frames: Int32Array;
  /** `[rows]` start of the clip, seconds on the file's clock. */
  readonly starts: Float64Array;
  /** Those of the loader's `mask`; null without. */
  readonly masks: Masks | null;
  /** Files that were lacking something, for the first time. */
  readonly events: readonly FileEvent[];
  readonly counts: FileCounts;
  /** Number of the batch since the run's beginning. */
  readonly number: number;
  /** Where the next batch begins. */
  readonly next: Cursor;
  /** Milliseconds that the loader waited for samples: 0 when they were ready. */
  readonly waitMs: number;
  readonly info: LoaderInfo;
  /** @internal The loader's configuration, JSON. */
  readonly config: string;
  readonly #device: string | undefined;
  #video: Tensor | undefined;
  #audio: Tensor | undefined;
  #present: PackedIndices | undefined;

  /** @internal A loader makes batches. */
  constructor(
    arrays: BatchArrays,
    info: LoaderInfo,
    config: string,
    device: string | undefined,
  ) {
    this.samples = arrays.samples;
    this.clips = arrays.clips;
    this.labels = arrays.labels;
    this.indices = arrays.indices;
    this.passes = arrays.passes;
    this.paths = arrays.paths;
    this.videoData = arrays.bytes ?? arrays.floats ?? null;
    this.audioData = arrays.audio ?? null;
    this.hasVideo = arrays.hasVideo;
    this.audioCols = arrays.audioCols;
    this.frames = arrays.frames;
    this.starts = arrays.starts;
    this.masks =
      arrays.masks.length === 0 ? null : packMaskArrays(arrays.masks);
    this.events = arrays.events;
    this.counts = arrays.counts;
    this.number = arrays.number;
    this.next = { pass: arrays.nextPass, position: arrays.nextPosition };
    this.waitMs = arrays.waitMs;
    this.info = info;
    this.config = config;
    this.#device = device;
  }

  /** Clips of all samples. */
  get rows(): number {
    return this.hasVideo.length;
  }

  /** Sizes of {@link videoData}. */
  get videoShape(): number[] | null {
    const { video } = this.info;
    if (video === null || this.videoData === null) return null;
    const { frames, crop } = video;
    // Clips of one frame are pictures.
    const time = frames === 1 ? [] : [frames];
    return this.videoData instanceof Uint8Array
      ? [this.rows, ...time, crop, crop, 3]
      : [this.rows, 3, ...time, crop, crop];
  }

  /** Sizes of {@link audioData}. */
  get audioShape(): number[] | null {
    const { audio } = this.info;
    if (audio === null || this.audioData === null) return null;
    return [this.rows, 1, audio.mels, audio.columns];
  }

  /** The pictures on the device. */
  get video(): Tensor | undefined {
    const shape = this.videoShape;
    if (shape === null || this.rows === 0) return undefined;
    if (this.#video === undefined || this.#video.isDisposed)
      this.#video = this.#upload(this.videoData!, shape);
    return this.#video;
  }

  /** The spectrograms on the device. */
  get audio(): Tensor | undefined {
    const shape = this.audioShape;
    if (shape === null || this.rows === 0) return undefined;
    if (this.#audio === undefined || this.#audio.isDisposed)
      this.#audio = this.#upload(this.audioData!, shape);
    return this.#audio;
  }

  /** All tokens that the rows have: nothing of absent or ended tracks. */
  get present(): PackedIndices {
    const [time, height, width] = this.info.video?.grid ?? [0, 0, 0];
    this.#present ??= presentTokens({
      videoTokens: time * height * width,
      audioGrid: this.info.audio?.grid ?? [0, 0],
      hasVideo: this.hasVideo,
      audioCols: this.audioCols,
    });
    return this.#present;
  }

  /** Frees the tensors on the device; the arrays stay. */
  dispose(): void {
    for (const made of [this.#video, this.#audio])
      if (made && !made.isDisposed) made.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #upload(values: Uint8Array | Float32Array, shape: number[]): Tensor {
    const where = this.#device === undefined ? {} : { device: this.#device };
    return keep(tensor(values, shape, where));
  }
}
