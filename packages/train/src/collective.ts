/**
 * What the processes of a run tell each other. The loop, the stop flag and the
 * counts use it the same way whether there is one process or many.
 */

/** Calls that every process makes in the same order. */
export interface Collective {
  readonly rank: number;
  readonly world: number;
  /** Every process gets the sum over all of them, element by element. */
  sum(values: readonly number[]): Promise<number[]>;
  /** Every process gets the largest, element by element: a flag any of them raised. */
  max(values: readonly number[]): Promise<number[]>;
  /** Resolves when every process has called it. */
  barrier(): Promise<void>;
}

/** The run of one process. */
export const single: Collective = {
  rank: 0,
  world: 1,
  sum: async (values) => [...values],
  max: async (values) => [...values],
  barrier: async () => {},
};
