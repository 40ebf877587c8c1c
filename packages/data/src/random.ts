/** Random streams by seed: the reference's, draw for draw, and our own. */

import { callNative, native } from "@avjepa/core";

/** Whose stream: torch's CPU generator, numpy's legacy one, Python's `random`, or ours, addressed by sample. */
export type RandomStreamKind = "torch" | "numpy" | "python" | "sample";

/**
 * A random stream.
 *
 * @example new RandomStream("torch", 0).draw("random", [], 3); // 0.496…, 0.768…, 0.088…
 */
export class RandomStream {
  readonly #stream: ReturnType<typeof native.RandomStream.open>;

  /**
   * @param seed for `python` of any size; for `sample` [seed, pass, index, purpose].
   * @throws AvjepaError AVJ_ARGUMENT
   */
  constructor(
    kind: RandomStreamKind,
    seed: number | bigint | string | readonly number[],
  ) {
    const text = Array.isArray(seed) ? seed.join(" ") : String(seed);
    this.#stream = callNative(() => native.RandomStream.open(kind, text));
  }

  /**
   * Draws numbers.
   *
   * @param operation `random`, `uniform` [low, high), `randint` [low, high)
   *   (Python's: both ends), `normal`, `below`, `base_seed`; `permutation` (of
   *   how many), `shuffle` (the values), `choice`, `choice_weighted` (the
   *   probabilities).
   * @throws AvjepaError AVJ_ARGUMENT when the stream does not have it.
   */
  draw(
    operation: string,
    args: readonly number[] = [],
    count = 1,
  ): Float64Array {
    return callNative(() => this.#stream.draw(operation, [...args], count));
  }
}
