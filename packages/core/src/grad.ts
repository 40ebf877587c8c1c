/** Which operations are remembered for backward, in what type they compute, and what is made again instead of kept. */

import type { DType } from "./dtype.ts";
import { AvjepaError } from "./error.ts";
import { type Synchronous, refusePromise } from "./scope.ts";
import { type Tensor, operations } from "./tensor.ts";
import { invoke } from "./transport.ts";

/** Runs `work` without remembering its operations: nothing inside needs gradients. */
export function noGrad<T>(work: () => Synchronous<T>): T {
  invoke("beginNoGrad", []);
  try {
    const result = work() as T;
    refusePromise("noGrad", result);
    return result;
  } finally {
    invoke("endNoGrad", []);
  }
}

/**
 * Runs `work` without keeping its intermediates; backward makes them again
 * from the recorded operations (Chen et al., arXiv 1604.06174). The result and
 * the gradients are bit for bit those of plain `work()`.
 *
 * @param work synchronous; returns a tensor or an array of tensors.
 * @example x = checkpoint(() => block.forward(x, offsets));
 */
export function checkpoint<T extends Tensor | Tensor[]>(work: () => T): T {
  invoke("beginCheckpoint", []);
  let result: T;
  try {
    result = work();
    refusePromise("checkpoint", result);
  } catch (error) {
    invoke("abortCheckpoint", []);
    throw error;
  }
  const inside = Array.isArray(result) ? result : [result as Tensor];
  const [first] = inside;
  if (first === undefined) {
    invoke("abortCheckpoint", []);
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      "checkpoint: the function returned no tensors",
    );
  }
  const outside = operations("endCheckpoint", first.device, [
    inside.map((t) => t.handle),
  ]);
  for (const tensor of inside) tensor[Symbol.dispose]();
  return (Array.isArray(result) ? outside : outside[0]) as T;
}

let compute: DType | null = null;

/** The type that products inside {@link autocast} are computed in; null outside. */
export function autocastType(): DType | null {
  return compute;
}

/**
 * Runs `work` with matrix products and attention in `dtype` (accumulated in
 * f32); weights, the residual stream, layer-norm statistics, softmax and losses
 * stay float32.
 */
export function autocast<T>(
  dtype: "float32" | "bfloat16",
  work: () => Synchronous<T>,
): T {
  const before = compute;
  compute = dtype;
  try {
    const result = work() as T;
    refusePromise("autocast", result);
    return result;
  } finally {
    compute = before;
  }
}
