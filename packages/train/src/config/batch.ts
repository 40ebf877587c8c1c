/**
 * The batch's four numbers: `batch_size · world · grad_accum =
 * batch_size_total`. Any two of the three configured ones give the third.
 */

import type { PretrainConfig } from "./pretrain.ts";
import type { Problem } from "./problem.ts";

/** The three numbers, for a number of processes. */
export interface Batch {
  batch_size: number;
  grad_accum: number;
  batch_size_total: number;
}

/** Complete the numbers for `world` processes, or say why they cannot be. */
export function resolveBatch(
  config: PretrainConfig,
  world: number,
): Batch | Problem {
  const { batch_size } = config.data;
  const { grad_accum, batch_size_total } = config.optimization;
  const processes = world === 1 ? "1 process" : `${world} processes`;

  if (batch_size === null) {
    if (batch_size_total === null)
      return {
        path: ["data", "batch_size"],
        message:
          'missing key "data.batch_size": expected an integer of at least 1',
        hint: "or give optimization.batch_size_total",
      };
    const accum = grad_accum ?? 1;
    const size = batch_size_total / (world * accum);
    if (!Number.isInteger(size))
      return {
        path: ["optimization", "batch_size_total"],
        message: `optimization.batch_size_total ${batch_size_total} is not divisible by ${processes} × optimization.grad_accum ${accum}`,
      };
    return { batch_size: size, grad_accum: accum, batch_size_total };
  }
  if (batch_size_total === null) {
    const accum = grad_accum ?? 1;
    return {
      batch_size,
      grad_accum: accum,
      batch_size_total: batch_size * world * accum,
    };
  }
  const accum = batch_size_total / (batch_size * world);
  if (grad_accum === null) {
    if (Number.isInteger(accum))
      return { batch_size, grad_accum: accum, batch_size_total };
    return {
      path: ["optimization", "batch_size_total"],
      message: `optimization.batch_size_total ${batch_size_total} is not divisible by data.batch_size ${batch_size} × ${processes}`,
    };
  }
  if (accum === grad_accum) return { batch_size, grad_accum, batch_size_total };
  return {
    path: ["optimization", "batch_size_total"],
    message: `data.batch_size ${batch_size} × ${processes} × optimization.grad_accum ${grad_accum} = ${batch_size * world * grad_accum}, but optimization.batch_size_total is ${batch_size_total}`,
    hint: "remove one of the three: the other two give it",
  };
}
