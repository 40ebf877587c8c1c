/**
 * What predictors share: from a context's features and the positions to
 * predict, one packed transformer, the predicted features.
 */

import { AvjepaError, type nn, scope } from "@avjepa/core";
import { requireSizes, requireWidth } from "./check.ts";
import type { Noise } from "./noised-targets.ts";
import { type Grid, gridSize, widthMultiple } from "./positions.ts";
import { assembleInput } from "./predictor-input.ts";
import { rotationOf } from "./rotary-positions.ts";
import type { VitDims } from "./sizes.ts";
import {
  checkIndices,
  type PackedIndices,
  Tokens,
  uploadIndices,
} from "./tokens.ts";
import type { ModelOptions } from "./video-encoder.ts";
import { type Block, runBlocks } from "./vit.ts";

/** What a predictor has to know of the encoder. Encoders are such. */
export interface EncoderShape {
  readonly dims: Pick<VitDims, "embedDim" | "numHeads">;
  readonly videoGrid: Grid;
  readonly audioGrid: Grid | null;
  readonly uniformPower: boolean;
  readonly positions: "sincos" | "rotary";
}

/** Size of a predictor. */
export interface PredictorOptions extends ModelOptions {
  /** Width; default 384. */
  dim?: number;
  /** Blocks; default 12. */
  depth?: number;
  /** Default: the encoder's. */
  numHeads?: number;
  /** Hidden width of the MLP over the width; default 4, whatever the encoder's. */
  mlpRatio?: number;
  /** Default: the encoder's. */
  uniformPower?: boolean;
  /** Learned mask tokens, one a mask generator; default 2. */
  maskTokens?: number;
  /** false queries with noised targets in place of mask tokens; default true. */
  useMaskTokens?: boolean;
  /** false draws mask tokens from a normal of deviation 0.02; default true. */
  zeroInitMaskTokens?: boolean;
  /** Makes each block's intermediates again for backward; default false. */
  checkpointing?: boolean;
}

/** {@link PredictorOptions}, checked and complete. */
export interface PredictorSettings {
  dim: number;
  depth: number;
  numHeads: number;
  mlpRatio: number;
  uniformPower: boolean;
  rotary: boolean;
  maskTokens: number;
  zeroInitMaskTokens: boolean;
  checkpointing: boolean;
}

/** Completes and checks. @throws AvjepaError AVJ_ARGUMENT naming what does not fit. */
export function predictorSettings(
  model: string,
  encoder: EncoderShape,
  options: PredictorOptions,
): PredictorSettings {
  const {
    dim = 384,
    depth = 12,
    numHeads = encoder.dims.numHeads,
    mlpRatio = 4,
    maskTokens = 2,
  } = options;
  const { uniformPower = encoder.uniformPower } = options;
  const tokens = (options.useMaskTokens ?? true) ? maskTokens : 0;
  requireSizes(model, { dim, depth, numHeads, maskTokens });
  const rotary = encoder.positions === "rotary";
  requireWidth(
    model,
    dim,
    numHeads,
    rotary ? 4 : widthMultiple(encoder.videoGrid, uniformPower),
  );
  return {
    dim,
    depth,
    numHeads,
    mlpRatio,
    uniformPower,
    rotary,
    maskTokens: tokens,
    zeroInitMaskTokens: options.zeroInitMaskTokens ?? true,
    checkpointing: options.checkpointing ?? false,
  };
}

/** What differs by modality. */
export interface PredictorStream {
  /** `[1, N, P]`; null with rotary positions. */
  table: nn.Parameter | null;
  grid: Grid;
  embed: nn.Linear;
  /** `[1, 1, P]` each; none when queries are noised targets. */
  maskTokens: readonly nn.Parameter[];
}

/** All of a predictor. Streams by VIDEO and AUDIO. */
export interface PredictorTrunk {
  streams: readonly [PredictorStream, PredictorStream | null];
  blocks: readonly Block[];
  norm: nn.LayerNorm;
  proj: nn.Linear;
  checkpointing: boolean;
  /** Columns of a head, where positions are rotary. */
  rotaryHeadDim?: number;
}

/** Per call of a predictor. */
export interface PredictOptions {
  /** Which mask token each mask uses, modulo their number; default mask k uses token k. */
  maskIndices?: readonly number[];
  /** For predictors without mask tokens: the target encoder's features, and what draws the noise. */
  noise?: Noise;
}

/** Predicts `targets` from the context's features `z`. @returns `[M targets, D]`, in the order of `targets`. */
export function predict(
  trunk: PredictorTrunk,
  z: Tokens,
  targets: PackedIndices,
  options: PredictOptions,
): Tokens {
  checkPredict(trunk, z, targets, options);
  return scope(() => {
    const { blocks, norm, proj, checkpointing, rotaryHeadDim: headDim } = trunk;
    const { device } = z.data;
    const input = assembleInput(trunk, z, targets, options);
    const { x, positions } = input;
    const offsets = uploadIndices(input.offsets, device);
    const rotation =
      headDim === undefined
        ? {}
        : {
            rotation: rotationOf(
              headDim,
              trunk.streams[0].grid,
              positions,
              x.dtype,
            ),
          };
    const y = runBlocks(blocks, x, offsets, { checkpointing, ...rotation });
    // Only what is predicted goes on: the context's features end here.
    const predicted = y.indexSelect(uploadIndices(input.targetRows, device));
    y.dispose();
    return new Tokens(proj.forward(norm.forward(predicted)), targets);
  });
}

function checkPredict(
  { streams }: PredictorTrunk,
  z: Tokens,
  targets: PackedIndices,
  options: PredictOptions,
): void {
  const { samples, masks } = z.indices;
  if (targets.samples !== samples || targets.masks !== masks) {
    throw new AvjepaError(
      "AVJ_SHAPE",
      `predictor: the context is ${masks} masks × ${samples} samples, but the targets are ${targets.masks} × ${targets.samples}`,
    );
  }
  if (targets.position.length === 0) {
    throw new AvjepaError(
      "AVJ_SHAPE",
      "predictor: there are no targets at all",
      {
        hint: "the masks keep every token: use larger or more blocks",
      },
    );
  }
  const sizes = streams.map((stream) =>
    stream ? gridSize(stream.grid) : 0,
  ) as [number, number];
  checkIndices("predictor's context", z.indices, sizes);
  checkIndices("predictor's targets", targets, sizes);
  if (streams[0].maskTokens.length === 0 && !options.noise) {
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      "predictor: without mask tokens, it needs the targets to be noised",
      {
        hint: "forward(z, targets, { noise: { targets: h, generator } }), h the target encoder's features, generator(n) that of sequence n",
      },
    );
  }
  if (options.maskIndices && options.maskIndices.length !== masks) {
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      `predictor: ${options.maskIndices.length} mask indices for ${masks} masks`,
    );
  }
}
