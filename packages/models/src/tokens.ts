/**
 * Packed tokens: sequences of any lengths, one after another, as rows of one
 * matrix.
 *
 * A sequence is one sample under one mask. Its tokens may be of both
 * modalities, of one, or none: a missing sound track is simply no audio
 * tokens. Equal lengths are the case of a rectangular batch.
 */

import { AvjepaError, type Tensor, tensor } from "@avjepa/core";

/** A token's modality, as {@link PackedIndices.modality} has it. */
export const VIDEO = 0;
export const AUDIO = 1;

/** Names by {@link VIDEO} and {@link AUDIO}. */
export const modalityNames = ["video", "audio"] as const;
export type Modality = (typeof modalityNames)[number];

/** Which tokens there are, on the host. Plain arrays: made by a data loader, or by {@link packMasks} and {@link allTokens}. */
export interface PackedIndices {
  /** Samples B of the batch. */
  readonly samples: number;
  /** Masks K; sequence s is sample `s % B` under mask `⌊s / B⌋`. */
  readonly masks: number;
  /** `[S+1]`, S = K·B: tokens `offsets[s] … offsets[s+1] − 1` are sequence s. */
  readonly offsets: Int32Array;
  /** `[M]`: place of the token in its modality's grid, row-major. */
  readonly position: Int32Array;
  /** `[M]`: {@link VIDEO} or {@link AUDIO}. */
  readonly modality: Uint8Array;
}

/** Tokens on a device. */
export class Tokens {
  /** `[M, D]` */
  readonly data: Tensor;
  readonly indices: PackedIndices;
  /** `[S+1]` int32: {@link PackedIndices.offsets} on the device. */
  readonly offsets: Tensor;

  constructor(
    data: Tensor,
    indices: PackedIndices,
    offsets: Tensor = uploadIndices(indices.offsets, data.device),
  ) {
    const count = indices.position.length;
    if (data.ndim !== 2 || data.shape[0] !== count) {
      throw new AvjepaError(
        "AVJ_SHAPE",
        `tokens: the data is [${data.shape.join(", ")}] for ${count} tokens`,
      );
    }
    this.data = data;
    this.indices = indices;
    this.offsets = offsets;
  }

  /** The same tokens with other data. */
  with(data: Tensor): Tokens {
    return new Tokens(data, this.indices, this.offsets);
  }

  /** Rows of a sequence, `[length, D]`. */
  sequence(s: number): Tensor {
    const { offsets } = this.indices;
    return this.data.slice(0, offsets[s] as number, offsets[s + 1] as number);
  }
}

/** Host numbers as an int32 tensor. */
export function uploadIndices(values: Int32Array, device: string): Tensor {
  return tensor(values, [values.length], { device });
}

/** Positions by mask and sample, `[mask][sample]`; a modality that is left out has no tokens. */
export type MaskLists = Partial<
  Record<Modality, readonly (readonly ArrayLike<number>[])[]>
>;

/**
 * Packs lists of kept positions; within a sequence video comes first.
 *
 * @throws AvjepaError AVJ_ARGUMENT when the modalities differ in masks or samples.
 * @example packMasks({ video: [[[0, 3], [1]]], audio: [[[], [5]]] }); // one mask, two samples
 */
export function packMasks(lists: MaskLists): PackedIndices {
  const given = [lists.video, lists.audio].filter((list) => list !== undefined);
  const [first] = given;
  const masks = first?.length ?? 0;
  const samples = first?.[0]?.length ?? 0;
  if (samples === 0)
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      "masks: there are no masks, or no samples",
    );
  for (const list of given) {
    if (list.length !== masks || list.some((mask) => mask.length !== samples)) {
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        "masks: the modalities, or the masks, differ in the number of samples",
        {
          hint: "give every mask and modality a list for each sample; it may be empty",
        },
      );
    }
  }
  return pack(
    samples,
    masks,
    (modality, k, b) => lists[modality]?.[k]?.[b] ?? [],
  );
}

/** How many tokens every sample has of a modality, or the positions that each sample has. */
export type Present = number | readonly ArrayLike<number>[];

/**
 * All tokens of a batch, one mask: what a target encoder sees.
 *
 * @example allTokens(2, { video: 1568, audio: [[0, 1, 2], []] }); // the second sample is silent
 */
export function allTokens(
  samples: number,
  present: Partial<Record<Modality, Present>>,
): PackedIndices {
  const every = new Map<number, Int32Array>();
  const range = (n: number) => {
    const known = every.get(n) ?? Int32Array.from({ length: n }, (_, i) => i);
    every.set(n, known);
    return known;
  };
  return pack(samples, 1, (modality, _, b) => {
    const tokens = present[modality] ?? 0;
    return typeof tokens === "number" ? range(tokens) : (tokens[b] ?? []);
  });
}

function pack(
  samples: number,
  masks: number,
  list: (modality: Modality, mask: number, sample: number) => ArrayLike<number>,
): PackedIndices {
  const offsets = new Int32Array(samples * masks + 1);
  const parts = Array.from({ length: samples * masks }, (_, s) =>
    modalityNames.map((name) =>
      list(name, Math.floor(s / samples), s % samples),
    ),
  );
  parts.forEach((lists, s) => {
    offsets[s + 1] =
      (offsets[s] as number) +
      lists.reduce((sum, { length }) => sum + length, 0);
  });
  const position = new Int32Array(offsets.at(-1) as number);
  const modality = new Uint8Array(position.length);
  parts.forEach((lists, s) => {
    let at = offsets[s] as number;
    lists.forEach((positions, kind) => {
      position.set(positions, at);
      modality.fill(kind, at, at + positions.length);
      at += positions.length;
    });
  });
  return { samples, masks, offsets, position, modality };
}

/** Joins masks of the same samples. */
export function joinMasks(parts: readonly PackedIndices[]): PackedIndices {
  const [first] = parts;
  if (
    first === undefined ||
    parts.some(({ samples }) => samples !== first.samples)
  ) {
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      "masks: only masks of the same samples can be joined",
    );
  }
  const total = parts.reduce((sum, { position }) => sum + position.length, 0);
  const masks = parts.reduce((sum, part) => sum + part.masks, 0);
  const offsets = new Int32Array(first.samples * masks + 1);
  const position = new Int32Array(total);
  const modality = new Uint8Array(total);
  let [sequence, token] = [0, 0];
  for (const part of parts) {
    part.offsets.forEach(
      (offset, s) => (offsets[sequence + s] = token + offset),
    );
    position.set(part.position, token);
    modality.set(part.modality, token);
    sequence += part.offsets.length - 1;
    token += part.position.length;
  }
  return { samples: first.samples, masks, offsets, position, modality };
}

/** The part of `indices` under one mask. */
export function oneMask(indices: PackedIndices, mask: number): PackedIndices {
  const { samples } = indices;
  const offsets = indices.offsets.subarray(
    mask * samples,
    (mask + 1) * samples + 1,
  );
  const [start, end] = [offsets[0] as number, offsets[samples] as number];
  return {
    samples,
    masks: 1,
    offsets: offsets.map((offset) => offset - start),
    position: indices.position.subarray(start, end),
    modality: indices.modality.subarray(start, end),
  };
}

/** Calls `visit` with every token and the sequence it belongs to. */
export function eachToken(
  indices: PackedIndices,
  visit: (token: number, sequence: number) => void,
): void {
  const { offsets } = indices;
  for (let s = 0; s + 1 < offsets.length; s++) {
    for (let m = offsets[s] as number; m < (offsets[s + 1] as number); m++)
      visit(m, s);
  }
}

/** How many tokens of each modality each sequence has, `[S]` each. */
export function countByModality(
  indices: PackedIndices,
): [video: Int32Array, audio: Int32Array] {
  const sequences = indices.offsets.length - 1;
  const counts: [Int32Array, Int32Array] = [
    new Int32Array(sequences),
    new Int32Array(sequences),
  ];
  eachToken(indices, (m, s) => counts[indices.modality[m] as 0 | 1][s]!++);
  return counts;
}

/**
 * Refuses indices that do not fit a model and batch: samples, positions
 * outside a grid, a modality that is not there.
 *
 * @param sizes tokens in a whole grid by modality, 0 where the model or the batch has none.
 */
export function checkIndices(
  what: string,
  indices: PackedIndices,
  sizes: readonly [video: number, audio: number],
  samples?: number,
): void {
  const fail = (message: string, hint?: string) => {
    throw new AvjepaError(
      "AVJ_SHAPE",
      `${what}: ${message}`,
      hint === undefined ? {} : { hint },
    );
  };
  const { offsets, position, modality } = indices;
  if (samples !== undefined && indices.samples !== samples) {
    fail(
      `the indices are of ${indices.samples} samples, but the batch has ${samples}`,
    );
  }
  const rising = offsets.every(
    (offset, s) => s === 0 || offset >= (offsets[s - 1] as number),
  );
  const whole =
    offsets[0] === 0 &&
    offsets.at(-1) === position.length &&
    modality.length === position.length;
  if (
    offsets.length !== indices.samples * indices.masks + 1 ||
    !rising ||
    !whole
  ) {
    fail(
      `the offsets do not cut ${position.length} tokens into ${indices.masks} × ${indices.samples} sequences`,
    );
  }
  for (let m = 0; m < position.length; m++) {
    const kind = modality[m] as number;
    const at = position[m] as number;
    const size = sizes[kind as 0 | 1] ?? 0;
    if (at >= 0 && at < size) continue;
    const name = modalityNames[kind as 0 | 1] ?? `modality ${kind}`;
    if (size === 0)
      fail(
        `there are ${name} tokens, but no ${name}`,
        `leave ${name} out of the masks, or give the batch one`,
      );
    fail(
      `${name} position ${at} is outside the grid of ${size} tokens`,
      "the masks were made for another input size",
    );
  }
}

/**
 * Rows of `wanted` tokens among the rows of `within`, which has one mask.
 *
 * @returns `[M]`: `within`'s data at row r is the token's.
 * @throws AvjepaError AVJ_ARGUMENT when a token is not there.
 */
export function locate(
  within: PackedIndices,
  wanted: PackedIndices,
): Int32Array {
  if (within.masks !== 1 || within.samples !== wanted.samples) {
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      `targets are of ${wanted.samples} samples, but the tokens to take them from are ${within.samples} samples × ${within.masks} masks`,
      { hint: "run the target encoder without masks" },
    );
  }
  const widest = within.position.reduce(
    (most, position) => Math.max(most, position + 1),
    0,
  );
  const place = new Int32Array(within.samples * 2 * widest).fill(-1);
  const key = (sample: number, modality: number, position: number) =>
    (sample * 2 + modality) * widest + position;
  eachToken(
    within,
    (m, b) =>
      (place[
        key(b, within.modality[m] as number, within.position[m] as number)
      ] = m),
  );
  const rows = new Int32Array(wanted.position.length);
  eachToken(wanted, (m, s) => {
    const [modality, position] = [
      wanted.modality[m] as 0 | 1,
      wanted.position[m] as number,
    ];
    const sample = s % wanted.samples;
    const row =
      position < widest
        ? (place[key(sample, modality, position)] as number)
        : -1;
    if (row < 0) {
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        `${modalityNames[modality]} token ${position} of sample ${sample} is a target, but is not among the target encoder's tokens`,
        {
          hint: "run the target encoder on all tokens, or leave what the sample lacks out of the masks",
        },
      );
    }
    rows[m] = row;
  });
  return rows;
}
