/** The sizes of a run's models, and the parameters that follow from them, without building any. */

import { audioGrid, modelDims, videoGrid } from "../config/index.ts";
import type { ResolvedPretrainConfig } from "../config/index.ts";

/** A stack of transformer blocks. */
export interface Stack {
  dim: number;
  depth: number;
  heads: number;
  /** Width of the MLP's hidden layer. */
  hidden: number;
}

/** One modality of the models. */
export interface ModalityShape {
  /** Tokens along each axis of a clip. */
  grid: readonly number[];
  tokens: number;
  /** Values of a patch. */
  columns: number;
  /** Whether the run sees it; the models may be able to without. */
  seen: boolean;
}

/** What parameter, token and FLOP counts are derived from. */
export interface ModelShape {
  encoder: Stack;
  predictor: Stack;
  video: ModalityShape;
  /** null where the models have no ear. */
  audio: ModalityShape | null;
  /** Mask tokens a modality. */
  maskTokens: number;
}

/** The sizes that `buildModels` would build. */
export function modelShape(config: ResolvedPretrainConfig): ModelShape {
  const dims = modelDims(config);
  const { data, mask, model } = config;
  const modality = (
    name: "video" | "audio",
    grid: readonly number[],
    columns: number,
  ): ModalityShape => ({
    grid,
    tokens: grid.reduce((product, size) => product * size, 1),
    columns,
    seen: data.modalities.includes(name),
  });
  const audio = audioGrid(config);
  return {
    encoder: {
      dim: dims.embed_dim,
      depth: dims.depth,
      heads: dims.num_heads,
      hidden: Math.trunc(dims.embed_dim * dims.mlp_ratio),
    },
    predictor: {
      dim: dims.pred_embed_dim,
      depth: dims.pred_depth,
      heads: dims.pred_num_heads,
      hidden: 4 * dims.pred_embed_dim,
    },
    video: modality(
      "video",
      videoGrid(config),
      3 * data.tubelet_size * data.patch_size ** 2,
    ),
    audio:
      config.app === "vjepa"
        ? null
        : modality("audio", [audio.rows, audio.cols], audio.patch ** 2),
    maskTokens: model.use_mask_tokens ? mask.length : 0,
  };
}

/** Values of a model. */
export interface ParameterCount {
  learned: number;
  /** Position tables, which are kept but not learned. */
  frozen: number;
}

/** The encoder's parameters. */
export function encoderParameters(shape: ModelShape): ParameterCount {
  const { encoder } = shape;
  const { dim } = encoder;
  const projections = modalities(shape).reduce(
    (sum, { columns }) => sum + linear(columns, dim),
    0,
  );
  return {
    learned: projections + stackParameters(encoder) + 2 * dim,
    frozen: tableValues(shape, dim),
  };
}

/** The predictor's parameters. */
export function predictorParameters(shape: ModelShape): ParameterCount {
  const { encoder, predictor, maskTokens } = shape;
  const { dim } = predictor;
  const each = linear(encoder.dim, dim) + maskTokens * dim;
  return {
    learned:
      modalities(shape).length * each +
      stackParameters(predictor) +
      2 * dim +
      linear(dim, encoder.dim),
    frozen: tableValues(shape, dim),
  };
}

/** The modalities the models are built for. */
function modalities({ video, audio }: ModelShape): ModalityShape[] {
  return audio === null ? [video] : [video, audio];
}

function tableValues(shape: ModelShape, dim: number): number {
  return modalities(shape).reduce((sum, { tokens }) => sum + tokens * dim, 0);
}

/** Weight and bias. */
const linear = (inputs: number, outputs: number): number =>
  inputs * outputs + outputs;

/** Blocks: two norms, qkv, projection, two layers. */
function stackParameters({ dim, depth, hidden }: Stack): number {
  return (
    depth *
    (4 * dim +
      linear(dim, 3 * dim) +
      linear(dim, dim) +
      linear(dim, hidden) +
      linear(hidden, dim))
  );
}
