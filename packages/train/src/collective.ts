/**
 * What the processes of a run tell each other. The loop, the stop flag and the
 * counts use it the same way whether there is one process or many.
 */

import type { optim, Tensor } from "@avjepa/core";

/** Calls that every process makes in the same order. */
export interface Collective {
  readonly rank: number;
  readonly world: number;
  /** Name and version of what carries the messages; empty where there are none. */
  readonly engine: string;
  /** Every process gets the sum over all of them, element by element. */
  sum(values: readonly number[]): Promise<number[]>;
  /** Every process gets the largest, element by element: a flag any of them raised. */
  max(values: readonly number[]): Promise<number[]>;
  /** Every process gets everybody's text, in the order of the ranks. */
  gather(text: string): Promise<string[]>;
  /** Every process gets everybody's bytes, in the order of the ranks. */
  gatherBytes(bytes: Uint8Array): Promise<Uint8Array[]>;
  /** Resolves when every process has called it. */
  barrier(): Promise<void>;
  /** Enqueues that the tensors get rank 0's values. */
  broadcast(tensors: Iterable<Tensor>): void;
  /** Enqueues that each tensor is put together: rank r has its elements from `r · parts[i]` on. */
  allGather(tensors: readonly Tensor[], parts: readonly number[]): void;
  /** Enqueues the gradients of a loss, summed over the processes. */
  backward(loss: Tensor, groups: readonly optim.GradientGroup[]): void;
  /** Leaves the others; the last call, which all of them make. */
  close(): Promise<void>;
}

/** The run of one process. */
export const single: Collective = {
  rank: 0,
  world: 1,
  engine: "",
  sum: async (values) => [...values],
  max: async (values) => [...values],
  gather: async (text) => [text],
  gatherBytes: async (bytes) => [bytes],
  barrier: async () => {},
  broadcast: () => {},
  allGather: () => {},
  backward: (loss) => loss.backward(),
  close: async () => {},
};
