/** The tokens of many samples, mapped from shards. */

import {
  AvjepaError,
  type HostArray,
  hostArray,
  mapSafetensors,
  tensor,
} from "@avjepa/core";
import { Tokens } from "@avjepa/models";

import { joined } from "./joined.ts";

/** Tokens of some samples on a device. */
export interface TokenBatch {
  tokens: Tokens;
  /** `[S]`: which of the samples each sequence is of. */
  sampleOf: Int32Array;
}

interface Shard {
  tokens: Uint16Array | Float32Array;
  pooled: Float32Array;
}

/** Where a sample's sequences lie. */
interface Place {
  shard: number;
  /** First sequence in the shard, and how many. */
  sequence: number;
  sequences: number;
  /** First token in the shard. */
  token: number;
}

/** The samples that have tokens of an input. */
export class TokenSet {
  readonly dim: number;
  /** `[samples]` lines in the index. */
  readonly indices: Int32Array;
  readonly #shards: readonly Shard[];
  readonly #places: readonly Place[];
  readonly #lengths: readonly Int32Array[];

  private constructor(
    dim: number,
    indices: Int32Array,
    shards: readonly Shard[],
    places: readonly Place[],
    lengths: readonly Int32Array[],
  ) {
    this.dim = dim;
    this.indices = indices;
    this.#shards = shards;
    this.#places = places;
    this.#lengths = lengths;
  }

  /** Maps an input's tokens of shard files. Samples without any are left out. */
  static async map(
    paths: readonly string[],
    input: string,
    dim: number,
  ): Promise<TokenSet> {
    const shards: Shard[] = [];
    const places: Place[] = [];
    const lengthLists: Int32Array[] = [];
    const indices: number[] = [];
    for (const [s, path] of paths.entries()) {
      const { tensors } = await mapSafetensors(path);
      const get = (name: string): HostArray => {
        const found = tensors[name];
        if (found) return hostArray(found.dtype, found.bytes);
        throw new AvjepaError("AVJ_TOKENS", `${path} has no ${name}`, {
          hint: "remove its folder: the tokens are made again",
        });
      };
      const lines = get("indices") as Int32Array;
      const counts = get(`${input}.sequences`) as Int32Array;
      const lengths = get(`${input}.lengths`) as Int32Array;
      let [sequence, token] = [0, 0];
      lines.forEach((line, i) => {
        const sequences = counts[i]!;
        if (sequences > 0) {
          indices.push(line);
          places.push({ shard: s, sequence, sequences, token });
        }
        for (let k = 0; k < sequences; k++) token += lengths[sequence + k]!;
        sequence += sequences;
      });
      lengthLists.push(lengths);
      shards.push({
        tokens: get(`${input}.tokens`) as Uint16Array | Float32Array,
        pooled: get(`${input}.pooled`) as Float32Array,
      });
    }
    return new TokenSet(
      dim,
      Int32Array.from(indices),
      shards,
      places,
      lengthLists,
    );
  }

  get samples(): number {
    return this.indices.length;
  }

  /** Tokens of a sample. */
  tokensOf(sample: number): number {
    const { shard, sequence, sequences } = this.#places[sample]!;
    let total = 0;
    for (let k = 0; k < sequences; k++)
      total += this.#lengths[shard]![sequence + k]!;
    return total;
  }

  /** Samples' tokens on a device, sequence by sequence. */
  batch(samples: ArrayLike<number>, device: string): TokenBatch {
    const places = Array.from(samples, (sample) => this.#places[sample]!);
    const sampleOf: number[] = [];
    const offsets = [0];
    const parts = places.map((place, i) => {
      const { shard, sequence, sequences, token } = place;
      const first = offsets.at(-1)!;
      for (let k = 0; k < sequences; k++) {
        offsets.push(offsets.at(-1)! + this.#lengths[shard]![sequence + k]!);
        sampleOf.push(i);
      }
      const total = offsets.at(-1)! - first;
      return this.#shards[shard]!.tokens.subarray(
        token * this.dim,
        (token + total) * this.dim,
      );
    });
    const count = offsets.at(-1)!;
    // Gathered on the host, so that a device is sent one piece.
    const data = tensor(joined(parts), [count, this.dim], { device });
    const indices = {
      samples: sampleOf.length,
      masks: 1,
      offsets: Int32Array.from(offsets),
      position: new Int32Array(count),
      modality: new Uint8Array(count),
    };
    return {
      tokens: new Tokens(data, indices),
      sampleOf: Int32Array.from(sampleOf),
    };
  }

  /** `[samples, D]`: mean over a sample's sequences of the mean of their tokens. */
  pooled(): Float32Array {
    const { dim } = this;
    const out = new Float32Array(this.samples * dim);
    this.#places.forEach(({ shard, sequence, sequences }, i) => {
      const { pooled } = this.#shards[shard]!;
      for (let k = 0; k < sequences; k++)
        for (let d = 0; d < dim; d++)
          out[i * dim + d]! += pooled[(sequence + k) * dim + d]! / sequences;
    });
    return out;
  }
}
