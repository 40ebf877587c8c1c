/**
 * What goes into a predictor's blocks: of each sequence the context's features,
 * embedded, and behind them a query for each target.
 *
 * Both are rows of few blocks of rows: the embedded features of a modality, a
 * mask token, noised targets. `assemble` picks each token's row and adds the
 * position's, so that no query is written out before it is needed.
 */

import { assemble, concat, type nn, type Tensor } from "@avjepa/core";
import { noisedTargets } from "./noised-targets.ts";
import { gridSize } from "./positions.ts";
import type {
  PredictOptions,
  PredictorStream,
  PredictorTrunk,
} from "./predict.ts";
import {
  eachToken,
  type PackedIndices,
  type Tokens,
  uploadIndices,
} from "./tokens.ts";

/** The input of a predictor's blocks, and where in it the targets are. */
export interface PredictorInput {
  /** `[M context + M targets, P]` */
  x: Tensor;
  /** `[M context + M targets]`: rows of the joined position tables. */
  positions: Tensor;
  /** `[S+1]` */
  offsets: Int32Array;
  /** `[M targets]`: rows of `x`. */
  targetRows: Int32Array;
}

/** Embeds the context `z` and puts queries for `targets` behind it, sequence by sequence. */
export function assembleInput(
  trunk: PredictorTrunk,
  z: Tokens,
  targets: PackedIndices,
  options: PredictOptions,
): PredictorInput {
  const { device } = z.data;
  const layout = interleave(z.indices, targets);
  const rows = new RowBlocks(layout.offsets.at(-1) as number);
  for (const [kind, stream] of trunk.streams.entries()) {
    if (stream === null) continue;
    const kept = tokensOf(z.indices, kind);
    if (kept.length > 0)
      rows.give(
        rowsAt(layout.contextRows, kept),
        embedded(stream, z, kept, device),
      );
    const wanted = tokensOf(targets, kind);
    if (wanted.length > 0)
      addQueries(rows, stream, { targets, wanted, layout, options });
  }
  const source = uploadIndices(rows.source, device);
  const positions = uploadIndices(
    tablePositions(trunk, z.indices, targets, layout),
    device,
  );
  const values = joinedTables(trunk);
  return {
    x: assemble(rows.blocks, source, values && { values, positions }),
    positions,
    offsets: layout.offsets,
    targetRows: layout.targetRows,
  };
}

/** Blocks of rows one after another, and which of these rows each row of the result is. */
class RowBlocks {
  readonly blocks: Tensor[] = [];
  readonly source: Int32Array;
  #count = 0;

  constructor(rows: number) {
    this.source = new Int32Array(rows);
  }

  /** Adds a block; returns the number of its first row. */
  add(block: Tensor): number {
    const start = this.#count;
    this.blocks.push(block);
    this.#count += block.shape[0] as number;
    return start;
  }

  /** Adds a block whose rows become these of the result, in order. */
  give(rows: Int32Array, block: Tensor): void {
    const start = this.add(block);
    rows.forEach((row, i) => (this.source[row] = start + i));
  }
}

function embedded(
  { embed }: PredictorStream,
  z: Tokens,
  kept: Int32Array,
  device: string,
): Tensor {
  const all = kept.length === z.indices.position.length;
  return embed.forward(
    all ? z.data : z.data.indexSelect(uploadIndices(kept, device)),
  );
}

/** Queries for the targets of a modality, `wanted` of all. */
function addQueries(
  rows: RowBlocks,
  stream: PredictorStream,
  asked: {
    targets: PackedIndices;
    wanted: Int32Array;
    layout: Interleaved;
    options: PredictOptions;
  },
): void {
  const { targets, wanted, layout, options } = asked;
  const { embed, maskTokens } = stream;
  if (maskTokens.length === 0) {
    const { noise } = options;
    // predict() has checked that there is noise where there are no mask tokens.
    if (noise)
      rows.give(
        rowsAt(layout.targetRows, wanted),
        noisedTargets(embed, targets, wanted, noise),
      );
    return;
  }
  // Mask tokens that no mask uses stay out, and get no gradient.
  const places = new Map<number, number>();
  const place = (index: number): number => {
    const known = places.get(index);
    if (known !== undefined) return known;
    const token = maskTokens[index] as nn.Parameter;
    const added = rows.add(token.reshape(1, -1));
    places.set(index, added);
    return added;
  };
  const sequences = sequenceOf(targets);
  for (const m of wanted) {
    const mask = Math.floor((sequences[m] as number) / targets.samples);
    const index = (options.maskIndices?.[mask] ?? mask) % maskTokens.length;
    rows.source[layout.targetRows[m] as number] = place(index);
  }
}

/** Where each row's position stands in the joined tables. */
function tablePositions(
  { streams }: PredictorTrunk,
  context: PackedIndices,
  targets: PackedIndices,
  layout: Interleaved,
): Int32Array {
  // A modality's positions start where its own table does.
  const starts = [0, gridSize(streams[0].grid)];
  const found = new Int32Array(layout.offsets.at(-1) as number);
  const put = ({ modality, position }: PackedIndices, rows: Int32Array) => {
    rows.forEach((row, m) => {
      const start = starts[modality[m] as number] as number;
      found[row] = start + (position[m] as number);
    });
  };
  put(context, layout.contextRows);
  put(targets, layout.targetRows);
  return found;
}

/** The modalities' tables one after another; undefined with rotary positions. */
function joinedTables({ streams }: PredictorTrunk): Tensor | undefined {
  const tables = streams.flatMap((stream) =>
    stream?.table ? [stream.table.reshape(gridSize(stream.grid), -1)] : [],
  );
  return tables.length > 1 ? concat(tables) : tables[0];
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

const rowsAt = (rows: Int32Array, tokens: Int32Array): Int32Array =>
  tokens.map((m) => rows[m] as number);

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
