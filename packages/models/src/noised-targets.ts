/**
 * Queries made of the targets themselves, noised, in place of mask tokens.
 *
 * With `β_k = ½ + k/2000` and `α_k = Π_{j≤k} (1 − β_j)`, k uniform in 0 … 999
 * for each sequence: `q = √α·LN(W·LN(h)) + √(1−α)·ε`, ε standard normal, LN
 * without weights.
 */

import {
  concat,
  type Generator,
  layerNorm,
  type nn,
  type Tensor,
  tensor,
} from "@avjepa/core";
import {
  eachToken,
  locate,
  type PackedIndices,
  type Tokens,
  uploadIndices,
} from "./tokens.ts";

/** Where noised queries come from. */
export interface Noise {
  /** The target encoder's features of all tokens. */
  targets: Tokens;
  /**
   * Draws the noise of the n-th sequence of the predictor's targets. One each,
   * so that a sample's noise need not depend on the batch that it is in.
   */
  generator: (sequence: number) => Generator;
}

const STEPS = 1000;

/** √α and √(1−α) by step. */
function diffusionTables(): [signal: Float64Array, noise: Float64Array] {
  const signal = new Float64Array(STEPS);
  const noise = new Float64Array(STEPS);
  let alpha = 1;
  for (let k = 0; k < STEPS; k++) {
    alpha *= 1 - (0.5 + (k * 0.5) / STEPS);
    signal[k] = Math.sqrt(alpha);
    noise[k] = Math.sqrt(1 - alpha);
  }
  return [signal, noise];
}

/**
 * @param embed from the encoder's width to the predictor's.
 * @param wanted numbers of the tokens of `indices` to make queries for.
 * @returns `[wanted, P]`
 */
export function noisedTargets(
  embed: nn.Linear,
  indices: PackedIndices,
  wanted: Int32Array,
  noise: Noise,
): Tensor {
  const { targets: h, generator } = noise;
  const { device, dtype } = h.data;
  const all = locate(h.indices, indices);
  const rows = uploadIndices(
    wanted.map((m) => all[m] as number),
    device,
  );
  const features = layerNorm(
    h.data.indexSelect(rows).detach(),
    null,
    null,
    1e-5,
  );
  const x = layerNorm(embed.forward(features), null, null, 1e-5, { dtype });
  const width = x.shape[1] as number;

  const sequences = new Int32Array(indices.position.length);
  eachToken(indices, (m, s) => (sequences[m] = s));
  const tokens = new Map<number, number>();
  for (const m of wanted) {
    const s = sequences[m] as number;
    tokens.set(s, (tokens.get(s) ?? 0) + 1);
  }
  // Tokens of a sequence lie together, sequences in their order: so do their draws.
  const steps: Tensor[] = [];
  const epsilons: Tensor[] = [];
  const drawOf = new Int32Array(wanted.length);
  let first = 0;
  for (const [s, count] of tokens) {
    const own = generator(s);
    drawOf.fill(steps.length, first, first + count);
    first += count;
    steps.push(own.uniform([1], 0, STEPS, { device }));
    epsilons.push(own.normal([count, width], 0, 1, { device, dtype }));
  }
  const step = concat(steps).cast("int32");
  const draw = uploadIndices(drawOf, device);
  const scale = (table: Float64Array) =>
    tensor(table, [STEPS, 1], { device, dtype })
      .indexSelect(step)
      .indexSelect(draw);
  const [signal, spread] = diffusionTables();
  return x.mul(scale(signal)).add(concat(epsilons).mul(scale(spread)));
}
