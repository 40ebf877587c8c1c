/**
 * Optimizer state shared out over processes (ZeRO stage 1, Rajbhandari et al.,
 * arXiv 1910.02054): each keeps the moments of its part of every chunk, updates
 * that part, and gets the others' from them.
 */

import { type Tensor, operation } from "../tensor.ts";
import type { Chunk } from "./flat.ts";

/** The processes that share the state. */
export interface Shards {
  readonly rank: number;
  readonly world: number;
  /** Enqueues that each tensor is put together: rank r has its elements from `r · parts[i]` on. */
  allGather(tensors: readonly Tensor[], parts: readonly number[]): void;
}

/** A process's part of a chunk. */
export interface Part {
  /** Elements of a whole part; the last ones may be shorter, or empty. */
  size: number;
  start: number;
  length: number;
}

/** Elements that parts begin at multiples of: bindings do, and whole vectors. */
const alignment = 64;

/** The part of a chunk that is a process's own; all of it where nothing is shared. */
export function partOf({ length }: Pick<Chunk, "length">, of?: Shards): Part {
  if (!of) return { size: length, start: 0, length };
  const size = alignment * Math.ceil(length / of.world / alignment);
  const start = Math.min(length, of.rank * size);
  return { size, start, length: Math.min(size, length - start) };
}

/** Elements of a flat buffer, to be disposed. */
export function range(buffer: Tensor, start: number, end: number): Tensor {
  return operation("view", buffer.device, [
    buffer.handle,
    start,
    [end - start],
  ]);
}
