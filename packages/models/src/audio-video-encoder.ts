/**
 * One transformer over video and sound: both modalities' patches, with a
 * position table each, in the same sequence.
 */

import { nn, type Tensor } from "@avjepa/core";
import { requireMultiple, requireSizes, requireWidth } from "./check.ts";
import { cloneModule } from "./clone.ts";
import { Blank } from "./init.ts";
import {
  type Embedded,
  embedTokens,
  presentTokens,
  type Stream,
  type Streams,
  type Trunk,
} from "./encode.ts";
import { audioSize, type EncoderInput, gridOf } from "./input.ts";
import { type ParameterOptions, PatchProjection } from "./patch-embed.ts";
import { type Grid, positionTable, widthMultiple } from "./positions.ts";
import type { VitDims } from "./sizes.ts";
import type { PackedIndices } from "./tokens.ts";
import {
  parameterOptions,
  tableParameter,
  type VideoEncoderOptions,
  videoKernel,
  videoSettings,
  type VideoSettings,
  videoStream,
} from "./video-encoder.ts";
import { type Block, makeBlocks } from "./vit.ts";
import { VitEncoder } from "./vit-encoder.ts";

/** Size and inputs of an audio-visual encoder. */
export interface AudioVideoEncoderOptions extends Omit<
  VideoEncoderOptions,
  "positions"
> {
  /** Mel bands of a spectrogram; default 128. */
  mel?: number;
  /** Columns of a spectrogram; default 192. */
  audioFrames?: number;
  /** Instead of {@link audioFrames}: seconds at 100 columns a second, rounded to whole patches. */
  audioSeconds?: number;
  /** Side of a patch of a spectrogram, or `[mel bands, columns]`; default the video's patch. */
  audioPatch?: number | readonly [mel: number, frames: number];
}

interface AudioSettings {
  /** `[mel, frames]` */
  size: readonly [number, number];
  patch: readonly [number, number];
  /** `[rows, columns]` */
  grid: Grid;
}

/** Columns a second of the standard spectrogram: its hop is 10 ms. */
const FRAMES_PER_SECOND = 100;

function audioSettings(
  model: string,
  options: AudioVideoEncoderOptions,
): AudioSettings {
  const { mel = 128, audioPatch = options.patch ?? 16, audioSeconds } = options;
  const [height, width] =
    typeof audioPatch === "number" ? [audioPatch, audioPatch] : audioPatch;
  requireSizes(model, {
    mel,
    "the audio patch's height": height,
    "the audio patch's width": width,
  });
  const frames =
    options.audioFrames ??
    (audioSeconds === undefined
      ? 192
      : width *
        Math.max(1, Math.round((audioSeconds * FRAMES_PER_SECOND) / width)));
  requireSizes(model, { audioFrames: frames });
  requireMultiple(
    model,
    ["the number of mel bands", mel],
    ["the audio patch's height", height],
  );
  requireMultiple(
    model,
    ["the number of audio frames", frames],
    ["the audio patch's width", width],
  );
  return {
    size: [mel, frames],
    patch: [height, width],
    grid: [mel / height, frames / width],
  };
}

/**
 * Turns video and spectrograms into features. A batch may have both, or one
 * modality only; single samples may lack one (see EncoderInput.present).
 *
 * @example
 * const encoder = new AudioVideoEncoder({ size: "vit_tiny", crop: 64, frames: 16, audioSeconds: 2 });
 * const h = encoder.forward({ video, audio });
 */
export class AudioVideoEncoder extends VitEncoder {
  readonly videoPosEmbed: nn.Parameter;
  readonly audioPosEmbed: nn.Parameter;
  readonly patchEmbed: AudioVideoPatchEmbed;
  readonly blocks: Block[];
  readonly norm: nn.LayerNorm;
  readonly #options: AudioVideoEncoderOptions;
  readonly #video: VideoSettings;
  readonly #audio: AudioSettings;

  /** @throws AvjepaError AVJ_ARGUMENT when sizes do not fit each other. */
  constructor(options: AudioVideoEncoderOptions = {}) {
    super();
    const video = videoSettings("AudioVideoEncoder", options);
    const audio = audioSettings("AudioVideoEncoder", options);
    const { embedDim, depth, numHeads, mlpRatio } = video.dims;
    requireWidth(
      "AudioVideoEncoder",
      embedDim,
      numHeads,
      widthMultiple(audio.grid, true),
    );
    const parameters = parameterOptions(options);
    const { generator: _, ...where } = parameters;
    this.videoPosEmbed = tableParameter(
      positionTable(embedDim, video.grid, video),
      embedDim,
      parameters,
    );
    this.audioPosEmbed = tableParameter(
      positionTable(embedDim, audio.grid),
      embedDim,
      parameters,
    );
    this.patchEmbed = new AudioVideoPatchEmbed(
      embedDim,
      videoKernel(video),
      [1, ...audio.patch],
      parameters,
    );
    this.blocks = makeBlocks(
      depth,
      { dim: embedDim, numHeads, mlpRatio },
      parameters,
    );
    this.norm = new nn.LayerNorm(embedDim, { ...where, eps: 1e-6 });
    this.#options = options;
    this.#video = video;
    this.#audio = audio;
  }

  get dims(): VitDims {
    return this.#video.dims;
  }

  /** Tokens of a clip's video: `[time, rows, columns]`, of a picture `[rows, columns]`. */
  get videoGrid(): Grid {
    return this.#video.grid;
  }

  /** Tokens of a clip's sound: `[mel rows, time columns]`. */
  get audioGrid(): Grid {
    return this.#audio.grid;
  }

  get uniformPower(): boolean {
    return this.#video.uniformPower;
  }

  get positions(): "sincos" {
    return "sincos";
  }

  /** A model of the same values. @param options.frozen without gradients, as target encoders are. */
  clone(options: { frozen?: boolean } = {}): AudioVideoEncoder {
    return cloneModule(
      this,
      new AudioVideoEncoder({ ...this.#options, generator: new Blank() }),
      options,
    );
  }

  protected embed(input: EncoderInput, indices?: PackedIndices): Embedded {
    const { proj, audioProj } = this.patchEmbed;
    const streams: Streams = [
      input.video
        ? videoStream(input.video, this.#video, this.videoPosEmbed, proj)
        : null,
      input.audio ? this.#audioStream(input.audio, audioProj) : null,
    ];
    return embedTokens(streams, indices ?? presentTokens(streams, input));
  }

  #audioStream(x: Tensor, projection: PatchProjection): Stream {
    const [samples, ...size] = audioSize(x);
    const { patch, grid: tableGrid } = this.#audio;
    const grid = gridOf("a spectrogram", size, patch);
    return {
      x,
      samples,
      grid,
      tableGrid,
      table: this.audioPosEmbed,
      projection,
      mean: [],
      std: [],
    };
  }

  protected get trunk(): Trunk {
    return {
      blocks: this.blocks,
      norm: this.norm,
      checkpointing: this.#options.checkpointing ?? false,
    };
  }
}

/** Holds the projections under their state-dict names. */
class AudioVideoPatchEmbed extends nn.Module {
  readonly proj: PatchProjection;
  readonly audioProj: PatchProjection;

  constructor(
    dim: number,
    videoKernel: readonly number[],
    audioKernel: readonly number[],
    options: ParameterOptions,
  ) {
    super();
    this.proj = new PatchProjection(dim, videoKernel, options);
    this.audioProj = new PatchProjection(dim, audioKernel, options);
  }
}
