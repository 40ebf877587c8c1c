/** The predictor over video and sound: an embedding, mask tokens and positions for each, shared blocks. */

import { nn } from "@avjepa/core";
import { refuse, requireWidth } from "./check.ts";
import { type Grid, positionTable, widthMultiple } from "./positions.ts";
import {
  type EncoderShape,
  predict,
  type PredictOptions,
  type PredictorOptions,
  predictorSettings,
  type PredictorSettings,
} from "./predict.ts";
import { makeMaskTokens, predictorParameters } from "./predictor.ts";
import type { PackedIndices, Tokens } from "./tokens.ts";
import { tableParameter } from "./video-encoder.ts";
import { type Block, makeBlocks } from "./vit.ts";

/**
 * Predicts features at masked positions of video and sound. Either may be
 * missing from any sequence's context and targets.
 *
 * @example
 * const predictor = new AudioVideoPredictor(encoder, { dim: 96, depth: 3 });
 * const z = predictor.forward(encoder.forward({ video, audio }, context), targets);
 */
export class AudioVideoPredictor extends nn.Module {
  readonly predictorPosEmbedV: nn.Parameter;
  readonly predictorPosEmbedA: nn.Parameter;
  readonly predictorEmbedV: nn.Linear;
  readonly predictorEmbedA: nn.Linear;
  readonly maskTokensV: nn.Parameter[];
  readonly maskTokensA: nn.Parameter[];
  readonly predictorBlocks: Block[];
  readonly predictorNorm: nn.LayerNorm;
  readonly predictorProj: nn.Linear;
  readonly #grids: readonly [video: Grid, audio: Grid];
  readonly #settings: PredictorSettings;

  /** @throws AvjepaError AVJ_ARGUMENT when sizes do not fit each other, or the encoder hears nothing. */
  constructor(encoder: EncoderShape, options: PredictorOptions = {}) {
    super();
    const settings = predictorSettings("AudioVideoPredictor", encoder, options);
    const { dim, depth, numHeads } = settings;
    const { embedDim } = encoder.dims;
    const { videoGrid, audioGrid } = encoder;
    if (audioGrid === null)
      refuse(
        "AudioVideoPredictor",
        "its encoder takes no audio",
        "use VideoPredictor",
      );
    requireWidth(
      "AudioVideoPredictor",
      dim,
      numHeads,
      widthMultiple(audioGrid, true),
    );
    const parameters = predictorParameters(encoder, options);
    const { generator: _, ...where } = parameters;
    this.predictorPosEmbedV = tableParameter(
      positionTable(dim, videoGrid, settings),
      dim,
      parameters,
    );
    this.predictorPosEmbedA = tableParameter(
      positionTable(dim, audioGrid),
      dim,
      parameters,
    );
    this.predictorEmbedV = new nn.Linear(embedDim, dim, parameters);
    this.predictorEmbedA = new nn.Linear(embedDim, dim, parameters);
    this.maskTokensV = makeMaskTokens(settings, parameters);
    this.maskTokensA = makeMaskTokens(settings, parameters);
    this.predictorBlocks = makeBlocks(depth, settings, parameters);
    this.predictorNorm = new nn.LayerNorm(dim, { ...where, eps: 1e-6 });
    this.predictorProj = new nn.Linear(dim, embedDim, parameters);
    this.#grids = [videoGrid, audioGrid];
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
    const [videoGrid, audioGrid] = this.#grids;
    const trunk = {
      streams: [
        {
          table: this.predictorPosEmbedV,
          embed: this.predictorEmbedV,
          maskTokens: this.maskTokensV,
          grid: videoGrid,
        },
        {
          table: this.predictorPosEmbedA,
          embed: this.predictorEmbedA,
          maskTokens: this.maskTokensA,
          grid: audioGrid,
        },
      ],
      blocks: this.predictorBlocks,
      norm: this.predictorNorm,
      proj: this.predictorProj,
      checkpointing: this.#settings.checkpointing,
    } as const;
    return predict(trunk, z, targets, options);
  }
}
