/** The predictor of V-JEPA (Bardes et al., arXiv 2404.08471). */

import { nn, zeros } from "@avjepa/core";
import type { ParameterOptions } from "./patch-embed.ts";
import { type Grid, positionTable } from "./positions.ts";
import {
  type EncoderShape,
  predict,
  type PredictOptions,
  type PredictorOptions,
  predictorSettings,
  type PredictorSettings,
} from "./predict.ts";
import type { PackedIndices, Tokens } from "./tokens.ts";
import { parameterOptions, tableParameter } from "./video-encoder.ts";
import { type Block, makeBlocks } from "./vit.ts";

/** Device and type of an encoder's parameters, unless given, and the generator. */
export function predictorParameters(
  encoder: EncoderShape,
  options: PredictorOptions,
): ReturnType<typeof parameterOptions> {
  const like =
    encoder instanceof nn.Module ? encoder.parameters()[0] : undefined;
  const where = like ? { device: like.device, dtype: like.dtype } : {};
  return parameterOptions({ ...where, ...options });
}

/** Mask tokens `[1, 1, dim]`: zero, or normal of deviation 0.02. */
export function makeMaskTokens(
  { dim, maskTokens, zeroInitMaskTokens }: PredictorSettings,
  options: ParameterOptions,
): nn.Parameter[] {
  const { generator, ...where } = options;
  const draw = () =>
    zeroInitMaskTokens || !generator
      ? zeros([1, 1, dim], where)
      : generator.truncatedNormal([1, 1, dim], 0.02, -2, 2, where);
  return Array.from({ length: maskTokens }, () => new nn.Parameter(draw()));
}

/**
 * Predicts features at masked positions of a video.
 *
 * @example
 * const predictor = new VideoPredictor(encoder, { dim: 96, depth: 3 });
 * const z = predictor.forward(encoder.forward({ video }, context), targets);
 */
export class VideoPredictor extends nn.Module {
  /** `[1, N, P]`, frozen; null with rotary positions. */
  readonly predictorPosEmbed: nn.Parameter | null;
  readonly predictorEmbed: nn.Linear;
  readonly maskTokens: nn.Parameter[];
  readonly predictorBlocks: Block[];
  readonly predictorNorm: nn.LayerNorm;
  readonly predictorProj: nn.Linear;
  readonly #grid: Grid;
  readonly #settings: PredictorSettings;

  /** @throws AvjepaError AVJ_ARGUMENT when sizes do not fit each other. */
  constructor(encoder: EncoderShape, options: PredictorOptions = {}) {
    super();
    const settings = predictorSettings("VideoPredictor", encoder, options);
    const { dim, depth } = settings;
    const { embedDim } = encoder.dims;
    const parameters = predictorParameters(encoder, options);
    const { generator: _, ...where } = parameters;
    const table = () =>
      tableParameter(
        positionTable(dim, encoder.videoGrid, settings),
        dim,
        parameters,
      );
    this.predictorPosEmbed = settings.rotary ? null : table();
    this.predictorEmbed = new nn.Linear(embedDim, dim, parameters);
    this.maskTokens = makeMaskTokens(settings, parameters);
    this.predictorBlocks = makeBlocks(depth, settings, parameters);
    this.predictorNorm = new nn.LayerNorm(dim, { ...where, eps: 1e-6 });
    this.predictorProj = new nn.Linear(dim, embedDim, parameters);
    this.#grid = encoder.videoGrid;
    this.#settings = settings;
  }

  /**
   * @param z the context's features, as the encoder returned them.
   * @param targets positions to predict, under the same masks.
   * @returns the predictions, in the order of `targets`.
   */
  forward(
    z: Tokens,
    targets: PackedIndices,
    options: PredictOptions = {},
  ): Tokens {
    const {
      predictorPosEmbed: table,
      predictorEmbed: embed,
      maskTokens,
    } = this;
    const trunk = {
      streams: [{ table, embed, maskTokens, grid: this.#grid }, null],
      blocks: this.predictorBlocks,
      norm: this.predictorNorm,
      proj: this.predictorProj,
      checkpointing: this.#settings.checkpointing,
      ...(this.#settings.rotary
        ? { rotaryHeadDim: this.#settings.dim / this.#settings.numHeads }
        : {}),
    } as const;
    return predict(trunk, z, targets, options);
  }
}
