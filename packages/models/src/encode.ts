/** What encoders share: embed the kept tokens, add positions, run the blocks. */

import { assemble, concat, type nn, type Tensor } from "@avjepa/core";
import type { EncoderInput } from "./input.ts";
import type { PatchProjection } from "./patch-embed.ts";
import { type Grid, gridSize } from "./positions.ts";
import { resizePositions } from "./resize-positions.ts";
import { type Rotation, rotationOf } from "./rotary-positions.ts";
import {
  allTokens,
  checkIndices,
  eachToken,
  type PackedIndices,
  Tokens,
  uploadIndices,
} from "./tokens.ts";
import { type Block, runBlocks } from "./vit.ts";
import { refuse } from "./check.ts";

/** One modality of a batch, on its way into the encoder. */
export interface Stream {
  x: Tensor;
  samples: number;
  /** Tokens of the input, and those the table was made for. */
  grid: Grid;
  tableGrid: Grid;
  /** `[1, N, D]`; null with rotary positions. */
  table: nn.Parameter | null;
  projection: PatchProjection;
  mean: readonly number[];
  std: readonly number[];
}

/** By {@link VIDEO} and {@link AUDIO}; null where there is none. */
export type Streams = readonly [video: Stream | null, audio: Stream | null];

/** The rest of an encoder. */
export interface Trunk {
  blocks: readonly Block[];
  norm: nn.LayerNorm;
  checkpointing: boolean;
  /** Columns of a head, where positions are rotary. */
  rotaryHeadDim?: number;
}

/** Default indices of a batch: `present`, else every token given. */
export function presentTokens(
  streams: Streams,
  input: EncoderInput,
): PackedIndices {
  const [video, audio] = streams;
  const samples = (video ?? audio)?.samples;
  if (samples === undefined)
    refuse("encoder", "the batch has neither video nor audio");
  if (video && audio && video.samples !== audio.samples) {
    refuse(
      "encoder",
      `the batch has ${video.samples} samples of video, but ${audio.samples} of audio`,
    );
  }
  if (input.present) return input.present;
  return allTokens(samples, {
    video: video ? gridSize(video.grid) : 0,
    audio: audio ? gridSize(audio.grid) : 0,
  });
}

/** Tokens before the first block. */
export interface Embedded {
  /** `[M, D]` */
  x: Tensor;
  indices: PackedIndices;
  /** `[M]` int32: places in the tables, one after another. */
  positions: Tensor;
  /** Of the video. */
  grid: Grid;
}

/** Embeds patches and adds positions. */
export function embedTokens(
  streams: Streams,
  indices: PackedIndices,
): Embedded {
  const sizes = streams.map((stream) =>
    stream ? gridSize(stream.grid) : 0,
  ) as [number, number];
  checkIndices("encoder", indices, sizes, (streams[0] ?? streams[1])?.samples);
  const count = indices.position.length;
  const device = (streams[0] ?? streams[1])?.x.device as string;
  if (count === 0)
    refuse(
      "encoder",
      "there are no tokens at all in the batch",
      "keep at least one token in one sample",
    );

  // Rows to embed of each modality; then where each token finds its own.
  const rows: [number[], number[]] = [[], []];
  eachToken(indices, (m, s) => {
    const kind = indices.modality[m] as 0 | 1;
    rows[kind].push(
      (s % indices.samples) * sizes[kind] + (indices.position[m] as number),
    );
  });
  const used = streams.filter(
    (stream, kind) => stream !== null && rows[kind as 0 | 1].length > 0,
  ) as Stream[];
  const next: [number, number] = [0, rows[0].length];
  const tableStart: [number, number] = [0, rows[0].length > 0 ? sizes[0] : 0];
  const source = new Int32Array(count);
  const position = new Int32Array(count);
  for (let m = 0; m < count; m++) {
    const kind = indices.modality[m] as 0 | 1;
    source[m] = next[kind]++;
    position[m] = tableStart[kind] + (indices.position[m] as number);
  }

  const embedded = used.map((stream) => {
    const kept = rows[streams.indexOf(stream) as 0 | 1];
    const everything =
      kept.length === stream.samples * gridSize(stream.grid) &&
      kept.every((row, i) => row === i);
    const selection = everything
      ? null
      : uploadIndices(Int32Array.from(kept), device);
    return stream.projection.forward(stream.x, selection, stream);
  });
  const tables = used.map(positionsOf).filter((table) => table !== null);
  const values = tables.length > 1 ? concat(tables) : tables[0];
  const positions = uploadIndices(position, device);
  const x = assemble(
    embedded,
    uploadIndices(source, device),
    values && { values, positions },
  );
  return { x, indices, positions, grid: (used[0] as Stream).grid };
}

/** The stream's table, `[tokens, D]`, interpolated where the input has another grid. */
function positionsOf({ table, grid, tableGrid }: Stream): Tensor | null {
  if (table === null) return null;
  const [, tokens = 0, dim = 0] = table.shape;
  const flat = table.reshape(tokens, dim);
  return grid.join() === tableGrid.join()
    ? flat
    : resizePositions(flat, tableGrid, grid);
}

function rotation(
  { rotaryHeadDim }: Trunk,
  { x, positions, grid }: Embedded,
): { rotation?: Rotation } {
  return rotaryHeadDim === undefined
    ? {}
    : { rotation: rotationOf(rotaryHeadDim, grid, positions, x.dtype) };
}

/** Blocks and last norm, over embedded tokens. The result is in the type of the residual stream. */
export function encode(trunk: Trunk, embedded: Embedded): Tokens {
  const { blocks, norm, checkpointing } = trunk;
  const { x, indices } = embedded;
  const offsets = uploadIndices(indices.offsets, x.device);
  const { dtype } = x;
  const y = runBlocks(blocks, x, offsets, {
    checkpointing,
    ...rotation(trunk, embedded),
  });
  return new Tokens(norm.forward(y, { dtype }), indices, offsets);
}

/** As {@link encode}, but the outputs of some blocks (counted from 0), each through the last norm. */
export function encodeLayers(
  trunk: Trunk,
  embedded: Embedded,
  layers: readonly number[],
): Tokens[] {
  const { blocks, norm, checkpointing } = trunk;
  const { indices } = embedded;
  const wrong = layers.find((layer) => !(layer in blocks));
  if (wrong !== undefined)
    refuse(
      "encoder",
      `there is no block ${wrong}: blocks are 0 … ${blocks.length - 1}`,
    );
  const offsets = uploadIndices(indices.offsets, embedded.x.device);
  const { dtype } = embedded.x;
  const outputs = new Map<number, Tensor>();
  const deepest = Math.max(...layers);
  runBlocks(blocks.slice(0, deepest + 1), embedded.x, offsets, {
    checkpointing,
    ...rotation(trunk, embedded),
    after: (x, i) => {
      if (layers.includes(i)) outputs.set(i, norm.forward(x, { dtype }));
    },
  });
  return layers.map(
    (layer) => new Tokens(outputs.get(layer) as Tensor, indices, offsets),
  );
}
