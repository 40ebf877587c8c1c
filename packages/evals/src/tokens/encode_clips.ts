/** Tokens of clips under a frozen encoder, sample by sample, on the host. */

import { autocast, noGrad, scope, type Tensor } from "@avjepa/core";
import {
  AUDIO,
  type EncoderInput,
  type Modality,
  modalityNames,
  type PackedIndices,
  type Tokens,
  VIDEO,
} from "@avjepa/models";

import { joined } from "./joined.ts";

/** What can be asked for features. */
export interface FrozenEncoder {
  forward(input: EncoderInput): Tokens;
}

/** A batch of samples, a row for each clip and view: clips or pictures. */
export interface SampleBatch {
  /** Samples; rows lie clip by clip. */
  readonly samples: number;
  /** `[samples]` lines in the index. */
  readonly indices: Int32Array;
  readonly video?: Tensor | undefined;
  readonly audio?: Tensor | undefined;
  readonly present: PackedIndices;
  readonly events: readonly {
    kind: string;
    index: number;
    path: string;
    reason: string;
    replaced: boolean;
  }[];
  /** Where the next batch begins. */
  readonly next: { position: number };
}

/** What the encoder is given, under a name: `{ joint: ["video", "audio"] }`. */
export type Inputs = Readonly<Record<string, readonly Modality[]>>;

/** Number type that tokens are kept in. */
export type TokenType = "bfloat16" | "float32";

/** How a sample's clips become sequences of tokens. */
export interface SequenceOptions {
  inputs: Inputs;
  /** Clips of a sample, and crops of each: rows lie clip by clip, view by view. */
  segments: number;
  views: number;
  /** One sequence of all clips' tokens for each view; else one for each clip and view. */
  attend: boolean;
  dtype: TokenType;
  /** Matrix products in bfloat16. */
  bfloat16: boolean;
  /** Whether the loader puts other files in the place of those it cannot read, rather than leave them out. */
  replaces: boolean;
}

/** A file that gave no sample. */
export interface SkippedFile {
  /** Line in the index, from 0. */
  index: number;
  path: string;
  reason: string;
}

/** The tokens of one sample. */
export interface SampleTokens {
  /** Line in the index, from 0. */
  index: number;
  /** By input: its sequences, `[length, D]` each, row-major. Without any where the sample lacks what the input asks for. */
  sequences: Record<string, (Uint16Array | Float32Array)[]>;
}

/** What came of a batch. */
export interface EncodedBatch {
  samples: SampleTokens[];
  skipped: SkippedFile[];
  dim: number;
}

/**
 * Encodes a batch of a loader that goes through its index once, in order. Where
 * a file could not be read, and was replaced by another, that one is dropped
 * and the file named.
 *
 * @param position of the batch's first sample in the index.
 */
export async function encodeBatch(
  encoder: FrozenEncoder,
  batch: SampleBatch,
  position: number,
  options: SequenceOptions,
): Promise<EncodedBatch> {
  const { inputs, dtype, replaces } = options;
  const samples: SampleTokens[] = [];
  const rows: number[] = [];
  for (let s = 0; s < batch.samples; s++) {
    const index = batch.indices[s]!;
    if (replaces && index !== position + s) continue;
    samples.push({ index, sequences: {} });
    rows.push(s);
  }
  const skipped = batch.events
    .filter(({ kind, replaced }) => replaced || kind === "bad")
    .map(({ index, path, reason }) => ({ index, path, reason }));
  let dim = 0;
  for (const [name, modalities] of Object.entries(inputs)) {
    const present = onlyModalities(batch.present, modalities);
    if (present.position.length === 0) {
      for (const sample of samples) sample.sequences[name] = [];
      continue;
    }
    const { offsets } = present;
    const data = scope(() => {
      const run = () => encoder.forward(inputOf(batch, modalities, present));
      const tokens = noGrad(() =>
        options.bfloat16 ? autocast("bfloat16", run) : run(),
      );
      return tokens.data.dtype === dtype
        ? tokens.data
        : tokens.data.cast(dtype);
    });
    dim = data.shape[1] as number;
    const values = (await data.toArray()) as Uint16Array | Float32Array;
    data.dispose();
    const row = (r: number) =>
      values.subarray(offsets[r]! * dim, offsets[r + 1]! * dim);
    samples.forEach((sample, i) => {
      sample.sequences[name] = sequencesOf(
        (k) => row(k * batch.samples + rows[i]!),
        options,
      );
    });
  }
  return { samples, skipped, dim };
}

/** Rows of a sample, grouped into what a probe attends to at once. Empty ones are left out. */
function sequencesOf(
  row: (k: number) => Uint16Array | Float32Array,
  { segments, views, attend }: SequenceOptions,
): (Uint16Array | Float32Array)[] {
  const groups: number[][] = [];
  for (let v = 0; v < views; v++) {
    const clips = Array.from({ length: segments }, (_, c) => c * views + v);
    if (attend) groups.push(clips);
    else groups.push(...clips.map((k) => [k]));
  }
  return groups
    .map((group) => joined(group.map(row)))
    .filter(({ length }) => length > 0);
}

function inputOf(
  { video, audio }: Pick<SampleBatch, "video" | "audio">,
  modalities: readonly Modality[],
  present: PackedIndices,
): EncoderInput {
  return {
    ...(modalities.includes("video") && video ? { video } : {}),
    ...(modalities.includes("audio") && audio ? { audio } : {}),
    present,
  };
}

/** The tokens of these modalities alone. */
export function onlyModalities(
  indices: PackedIndices,
  modalities: readonly Modality[],
): PackedIndices {
  const wanted = [VIDEO, AUDIO].map((kind) =>
    modalities.includes(modalityNames[kind as 0 | 1]),
  );
  if (wanted.every(Boolean)) return indices;
  const kept: number[] = [];
  const offsets = new Int32Array(indices.offsets.length);
  for (let s = 0; s + 1 < offsets.length; s++) {
    for (let m = indices.offsets[s]!; m < indices.offsets[s + 1]!; m++)
      if (wanted[indices.modality[m]!]) kept.push(m);
    offsets[s + 1] = kept.length;
  }
  return {
    ...indices,
    offsets,
    position: Int32Array.from(kept, (m) => indices.position[m]!),
    modality: Uint8Array.from(kept, (m) => indices.modality[m]!),
  };
}
