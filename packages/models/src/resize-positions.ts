/**
 * Position tables for other input sizes.
 *
 * Interpolation is linear in the table and separable, so each axis is one
 * product with a small matrix: it runs on the device, whatever values the
 * table has. Coordinates are `(i + ½)·N/N′ − ½`; target sizes are whole
 * numbers, never a product with a rounded scale.
 */

import { type Tensor, tensor } from "@avjepa/core";
import type { Grid } from "./positions.ts";

/** Weights `[to, from]` of linear interpolation, edges clamped. */
function linearWeights(from: number, to: number): Float64Array {
  const weights = new Float64Array(to * from);
  for (let i = 0; i < to; i++) {
    const x = Math.max(0, ((i + 0.5) * from) / to - 0.5);
    const low = Math.min(Math.floor(x), from - 1);
    const high = Math.min(low + 1, from - 1);
    const fraction = x - low;
    weights[i * from + low]! += 1 - fraction;
    weights[i * from + high]! += fraction;
  }
  return weights;
}

/** Keys' cubic kernel with a = −0.75 at distance x. */
function cubic(x: number): number {
  const a = -0.75;
  const d = Math.abs(x);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/** Weights `[to, from]` of cubic interpolation, taps outside clamped to the edge. */
function cubicWeights(from: number, to: number): Float64Array {
  const weights = new Float64Array(to * from);
  for (let i = 0; i < to; i++) {
    const x = ((i + 0.5) * from) / to - 0.5;
    const low = Math.floor(x);
    for (let tap = low - 1; tap <= low + 2; tap++) {
      const clamped = Math.min(Math.max(tap, 0), from - 1);
      weights[i * from + clamped]! += cubic(x - tap);
    }
  }
  return weights;
}

/**
 * A table for another grid: trilinear for three axes, bicubic for two.
 *
 * @param table `[tokens of from, D]`
 * @returns `[tokens of to, D]`, of the table's type
 */
export function resizePositions(table: Tensor, from: Grid, to: Grid): Tensor {
  const weights = from.length === 2 ? cubicWeights : linearWeights;
  const dim = table.shape.at(-1) as number;
  const sizes = [...from];
  let values = table;
  for (let axis = 0; axis < from.length; axis++) {
    const [n, m] = [from[axis] as number, to[axis] as number];
    if (n === m) continue;
    const matrix = tensor(weights(n, m), [m, n], {
      device: table.device,
      dtype: table.dtype,
    });
    // The axis in front, the others flat behind it.
    const before = sizes
      .slice(0, axis)
      .reduce((product, size) => product * size, 1);
    const after = sizes
      .slice(axis + 1)
      .reduce((product, size) => product * size, dim);
    const front = values
      .reshape(before, n, after)
      .permute(1, 0, 2)
      .reshape(n, before * after);
    values = matrix.matmul(front).reshape(m, before, after).permute(1, 0, 2);
    sizes[axis] = m;
  }
  return values.reshape(-1, dim);
}
