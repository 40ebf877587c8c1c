/**
 * What predictors share: from a context's features and the positions to
 * predict, one packed transformer, the predicted features.
 */

import {
  assemble,
  AvjepaError,
  concat,
  type nn,
  scope,
  type Tensor,
} from "@avjepa/core";
import { requireSizes, requireWidth } from "./check.ts";
import { type Noise, noisedTargets } from "./noised-targets.ts";
import { type Grid, gridSize, widthMultiple } from "./positions.ts";
import { rotationOf } from "./rotary-positions.ts";
import type { VitDims } from "./sizes.ts";
import {
  checkIndices,
  eachToken,
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
    const layout = interleave(z.indices, targets);
    const { device } = z.data;
    const { x, positions } = assembleInput(trunk, z, targets, layout, options);
    const offsets = uploadIndices(layout.offsets, device);
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
    const predicted = y.indexSelect(uploadIndices(layout.targetRows, device));
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

/** Context and targets of each sequence behind each other. */
interface Interleaved {
  offsets: Int32Array;
  /** Row of each context token, and of each target. */
  contextRows: Int32Array;
  targetRows: Int32Array;
}

function interleave(
  context: PackedIndices,
  targets: PackedIndices,
): Interleaved {
  const offsets = context.offsets.map(
    (offset, s) => offset + (targets.offsets[s] as number),
  );
  const contextRows = new Int32Array(context.position.length);
  const targetRows = new Int32Array(targets.position.length);
  // What lies before a context token of sequence s are the targets of the sequences before it.
  eachToken(
    context,
    (m, s) => (contextRows[m] = m + (targets.offsets[s] as number)),
  );
  eachToken(
    targets,
    (m, s) => (targetRows[m] = m + (context.offsets[s + 1] as number)),
  );
  return { offsets, contextRows, targetRows };
}

function assembleInput(
  trunk: PredictorTrunk,
  z: Tokens,
  targets: PackedIndices,
  layout: Interleaved,
  options: PredictOptions,
): { x: Tensor; positions: Tensor } {
  const { device } = z.data;
  const total = layout.offsets.at(-1) as number;
  const source = new Int32Array(total);
  const position = new Int32Array(total);
  const sources: Tensor[] = [];
  let sourceRows = 0;
  const add = (tensor: Tensor) => {
    sources.push(tensor);
    sourceRows += tensor.shape[0] as number;
    return sourceRows - (tensor.shape[0] as number);
  };
  // Tables one after another; a modality's positions start where its own does.
  const tableStart = [0, gridSize(trunk.streams[0].grid)];

  for (const [kind, stream] of trunk.streams.entries()) {
    if (stream === null) continue;
    const kept = tokensOf(z.indices, kind);
    if (kept.length > 0) {
      const rows =
        kept.length === z.indices.position.length
          ? z.data
          : z.data.indexSelect(uploadIndices(kept, device));
      const start = add(stream.embed.forward(rows));
      kept.forEach(
        (m, i) => (source[layout.contextRows[m] as number] = start + i),
      );
    }
    const wanted = tokensOf(targets, kind);
    if (wanted.length === 0) continue;
    if (stream.maskTokens.length > 0) {
      // Tokens that no mask uses stay out, and get no gradient.
      const places = new Map<number, number>();
      const sequences = sequenceOf(targets);
      for (const m of wanted) {
        const mask = Math.floor((sequences[m] as number) / targets.samples);
        const index =
          (options.maskIndices?.[mask] ?? mask) % stream.maskTokens.length;
        const known = places.get(index);
        const place =
          known ??
          add((stream.maskTokens[index] as nn.Parameter).reshape(1, -1));
        if (known === undefined) places.set(index, place);
        source[layout.targetRows[m] as number] = place;
      }
    } else {
      const start = add(
        noisedTargets(stream.embed, targets, wanted, options.noise as Noise),
      );
      wanted.forEach(
        (m, i) => (source[layout.targetRows[m] as number] = start + i),
      );
    }
  }
  const place = (indices: PackedIndices, rows: Int32Array) => {
    for (let m = 0; m < rows.length; m++) {
      const start = tableStart[indices.modality[m] as number] as number;
      position[rows[m] as number] = start + (indices.position[m] as number);
    }
  };
  place(z.indices, layout.contextRows);
  place(targets, layout.targetRows);
  const tables = trunk.streams.flatMap((stream) =>
    stream?.table ? [stream.table.reshape(gridSize(stream.grid), -1)] : [],
  );
  const values = tables.length > 1 ? concat(tables) : tables[0];
  const positions = uploadIndices(position, device);
  return {
    x: assemble(
      sources,
      uploadIndices(source, device),
      values && { values, positions },
    ),
    positions,
  };
}

/** Numbers of the tokens of a modality. */
function tokensOf({ modality }: PackedIndices, kind: number): Int32Array {
  const found: number[] = [];
  for (let m = 0; m < modality.length; m++)
    if (modality[m] === kind) found.push(m);
  return Int32Array.from(found);
}

/** `[M]`: the sequence of each token. */
function sequenceOf(indices: PackedIndices): Int32Array {
  const sequences = new Int32Array(indices.position.length);
  eachToken(indices, (m, s) => (sequences[m] = s));
  return sequences;
}
