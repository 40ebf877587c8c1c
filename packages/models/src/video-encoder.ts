/** The video encoder of V-JEPA (Bardes et al., arXiv 2404.08471), and its picture variant. */

import { type DType, Generator, nn, type Tensor, tensor } from "@avjepa/core";
import {
  refuse,
  requireMultiple,
  requireSizes,
  requireWidth,
} from "./check.ts";
import { cloneModule } from "./clone.ts";
import { Blank } from "./init.ts";
import {
  type Embedded,
  embedTokens,
  presentTokens,
  type Stream,
  type Trunk,
} from "./encode.ts";
import {
  type EncoderInput,
  gridOf,
  imagenetMean,
  imagenetStd,
  videoSize,
} from "./input.ts";
import { type ParameterOptions, PatchProjection } from "./patch-embed.ts";
import { type Grid, positionTable, widthMultiple } from "./positions.ts";
import { type VitDims, vitDims, type VitSize } from "./sizes.ts";
import type { PackedIndices } from "./tokens.ts";
import { type Block, makeBlocks } from "./vit.ts";
import { VitEncoder } from "./vit-encoder.ts";

/** Where and as what a model is made. */
export interface ModelOptions {
  /** Default: core's default device. */
  device?: string;
  /** Of the parameters: float32 (default), or float64. */
  dtype?: DType;
  /** Draws the initial weights; default: a generator of {@link seed}. */
  generator?: Generator;
  /** Default 0. */
  seed?: number | bigint;
}

/** Size and input of a video encoder. */
export interface VideoEncoderOptions extends ModelOptions, Partial<VitDims> {
  /** A named size; single numbers go over it. */
  size?: VitSize;
  /** Side of a clip in pixels, or `[height, width]`; default 224. */
  crop?: number | readonly [height: number, width: number];
  /** Frames of a clip; 1 for pictures; default 16. */
  frames?: number;
  /** Frames of a patch; of no meaning for pictures; default 2. */
  tubelet?: number;
  /** Side of a patch in pixels; default 16. */
  patch?: number;
  /** See positionTable; default true. */
  uniformPower?: boolean;
  /** A table of sines and cosines, added (default); or rotary, as in V-JEPA 2. */
  positions?: "sincos" | "rotary";
  /** Makes each block's intermediates again for backward; default false. */
  checkpointing?: boolean;
  /** By channel, of pixels in 0 … 1, for uint8 input; default ImageNet's. */
  mean?: readonly number[];
  std?: readonly number[];
}

/** {@link VideoEncoderOptions}, checked and complete. */
export interface VideoSettings {
  dims: VitDims;
  frames: number;
  /** `[height, width]` */
  crop: readonly [number, number];
  patch: number;
  tubelet: number;
  /** `[time, rows, columns]`; `[rows, columns]` for pictures. */
  grid: Grid;
  uniformPower: boolean;
  rotary: boolean;
  mean: readonly number[];
  std: readonly number[];
}

/** Completes and checks. @throws AvjepaError AVJ_ARGUMENT naming what does not fit. */
export function videoSettings(
  model: string,
  options: VideoEncoderOptions,
): VideoSettings {
  const { crop = 224, frames = 16, patch = 16, uniformPower = true } = options;
  const tubelet = frames === 1 ? 1 : (options.tubelet ?? 2);
  const [height, width] = typeof crop === "number" ? [crop, crop] : crop;
  const dims = vitDims(options.size, options);
  requireSizes(model, { height, width, frames, tubelet, patch });
  requireMultiple(model, ["the crop's height", height], ["the patch", patch]);
  requireMultiple(model, ["the crop's width", width], ["the patch", patch]);
  requireMultiple(
    model,
    ["the number of frames", frames],
    ["the tubelet", tubelet],
  );
  const rotary = options.positions === "rotary";
  if (rotary && frames === 1)
    refuse(model, "rotary positions are of video, not of pictures");
  const space = [height / patch, width / patch];
  const { mean = imagenetMean, std = imagenetStd } = options;
  const grid = frames === 1 ? space : [frames / tubelet, ...space];
  requireWidth(
    model,
    dims.embedDim,
    dims.numHeads,
    rotary ? 4 : widthMultiple(grid, uniformPower),
  );
  return {
    dims,
    frames,
    crop: [height, width],
    patch,
    tubelet,
    grid,
    uniformPower,
    rotary,
    mean,
    std,
  };
}

/** `[D, 3, …]`'s sizes after D. */
export function videoKernel({
  frames,
  tubelet,
  patch,
}: VideoSettings): number[] {
  return frames === 1 ? [3, patch, patch] : [3, tubelet, patch, patch];
}

/** A batch's video as a stream of tokens. */
export function videoStream(
  x: Tensor,
  settings: VideoSettings,
  table: nn.Parameter | null,
  projection: PatchProjection,
): Stream {
  const image = settings.frames === 1;
  const [samples, ...size] = videoSize(x, image);
  const patches = [settings.tubelet, settings.patch, settings.patch];
  const grid = image
    ? gridOf("a picture", size.slice(1), patches.slice(1))
    : gridOf("a video", size, patches);
  const { mean, std, grid: tableGrid } = settings;
  return { x, samples, grid, tableGrid, table, projection, mean, std };
}

/** The options of the parameters, and the generator they are all drawn by. */
export function parameterOptions({
  device,
  dtype,
  generator,
  seed = 0,
}: ModelOptions): Required<Pick<ParameterOptions, "generator">> &
  ParameterOptions {
  return {
    generator: generator ?? new Generator(seed),
    ...(device === undefined ? {} : { device }),
    ...(dtype === undefined ? {} : { dtype }),
  };
}

/** A frozen table `[1, N, D]`. */
export function tableParameter(
  values: Float32Array,
  dim: number,
  options: ParameterOptions,
): nn.Parameter {
  const { generator: _, ...where } = options;
  return new nn.Parameter(
    tensor(values, [1, values.length / dim, dim], where),
    { requiresGrad: false },
  );
}

/**
 * Turns video, or pictures (`frames: 1`), into features.
 *
 * @example
 * const encoder = new VideoEncoder({ size: "vit_tiny", crop: 64 });
 * const h = encoder.forward({ video }); // [B · 8 · 4 · 4, 192]
 */
export class VideoEncoder extends VitEncoder {
  /** `[1, N, D]`, frozen; null with rotary positions. */
  readonly posEmbed: nn.Parameter | null;
  readonly patchEmbed: VideoPatchEmbed;
  readonly blocks: Block[];
  readonly norm: nn.LayerNorm;
  readonly #options: VideoEncoderOptions;
  readonly #settings: VideoSettings;

  /** @throws AvjepaError AVJ_ARGUMENT when sizes do not fit each other. */
  constructor(options: VideoEncoderOptions = {}) {
    super();
    const settings = videoSettings("VideoEncoder", options);
    const { embedDim, depth, numHeads, mlpRatio } = settings.dims;
    const parameters = parameterOptions(options);
    const { generator: _, ...where } = parameters;
    const table = positionTable(embedDim, settings.grid, settings);
    this.posEmbed = settings.rotary
      ? null
      : tableParameter(table, embedDim, parameters);
    this.patchEmbed = new VideoPatchEmbed(
      embedDim,
      videoKernel(settings),
      parameters,
    );
    this.blocks = makeBlocks(
      depth,
      { dim: embedDim, numHeads, mlpRatio },
      parameters,
    );
    this.norm = new nn.LayerNorm(embedDim, { ...where, eps: 1e-6 });
    this.#options = options;
    this.#settings = settings;
  }

  get dims(): VitDims {
    return this.#settings.dims;
  }

  /** Tokens of a clip: `[time, rows, columns]`, of a picture `[rows, columns]`. */
  get videoGrid(): Grid {
    return this.#settings.grid;
  }

  /** It hears nothing. */
  get audioGrid(): null {
    return null;
  }

  get uniformPower(): boolean {
    return this.#settings.uniformPower;
  }

  get positions(): "sincos" | "rotary" {
    return this.#settings.rotary ? "rotary" : "sincos";
  }

  /** A model of the same values. @param options.frozen without gradients, as target encoders are. */
  clone(options: { frozen?: boolean } = {}): VideoEncoder {
    return cloneModule(
      this,
      new VideoEncoder({ ...this.#options, generator: new Blank() }),
      options,
    );
  }

  protected embed(input: EncoderInput, indices?: PackedIndices): Embedded {
    const video = input.video
      ? videoStream(
          input.video,
          this.#settings,
          this.posEmbed,
          this.patchEmbed.proj,
        )
      : null;
    return embedTokens(
      [video, null],
      indices ?? presentTokens([video, null], input),
    );
  }

  protected get trunk(): Trunk {
    const { embedDim, numHeads } = this.dims;
    return {
      blocks: this.blocks,
      norm: this.norm,
      checkpointing: this.#options.checkpointing ?? false,
      ...(this.#settings.rotary ? { rotaryHeadDim: embedDim / numHeads } : {}),
    };
  }
}

/** Holds the projection under its state-dict name. */
class VideoPatchEmbed extends nn.Module {
  readonly proj: PatchProjection;

  constructor(
    dim: number,
    kernel: readonly number[],
    options: ParameterOptions,
  ) {
    super();
    this.proj = new PatchProjection(dim, kernel, options);
  }
}
