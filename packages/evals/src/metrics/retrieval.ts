/** Retrieval: how early the candidate that belongs to a query comes. */

import { checkRows } from "./top_k.ts";

/**
 * Candidates that come before the right one, for each query.
 *
 * @param scores `[queries, candidates]`, row-major; greater is nearer.
 * @param options.match the right candidate of each query; default query i's is candidate i.
 * @param options.ties what candidates of the right one's own score count:
 *   `mean` (default) a half each, as in a random order of them, so that a model
 *   which tells nothing apart is no better than chance; `best` nothing.
 * @returns 0 when it comes first.
 * @throws AvjepaError AVJ_METRIC when sizes differ.
 */
export function retrievalRanks(
  scores: ArrayLike<number>,
  queries: number,
  candidates: number,
  options: { match?: ArrayLike<number>; ties?: "mean" | "best" } = {},
): Float64Array {
  checkRows(scores, queries, candidates);
  const tie = options.ties === "best" ? 0 : 0.5;
  return Float64Array.from({ length: queries }, (_, i) => {
    const start = i * candidates;
    const right = options.match?.[i] ?? i;
    const own = scores[start + right] as number;
    let rank = 0;
    for (let c = 0; c < candidates; c++) {
      const score = scores[start + c] as number;
      // What is not a number is put behind everything.
      if (score > own || Number.isNaN(own)) rank++;
      else if (score === own && c !== right) rank += tie;
    }
    return rank;
  });
}

/** Per cent of the queries whose right candidate is among the first k. */
export function recallAt(ranks: ArrayLike<number>, k: number): number {
  let found = 0;
  for (let i = 0; i < ranks.length; i++) if ((ranks[i] as number) < k) found++;
  return (100 * found) / ranks.length;
}

/**
 * Per cent of the queries whose right candidate is among the first k, on
 * average over the orders of those that are as near as it.
 *
 * @param before candidates nearer than the right one, of each query.
 * @param equal others as near as it.
 */
export function expectedRecall(
  before: ArrayLike<number>,
  equal: ArrayLike<number>,
  k: number,
): number {
  let found = 0;
  for (let i = 0; i < before.length; i++) {
    const places = (k - (before[i] as number)) / ((equal[i] as number) + 1);
    found += Math.min(1, Math.max(0, places));
  }
  return (100 * found) / before.length;
}

/** The middle rank, counted from 1; of an even number, the mean of the two. */
export function medianRank(ranks: ArrayLike<number>): number {
  const sorted = Float64Array.from(ranks).sort();
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? Number.NaN;
  const middle =
    sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? upper)) / 2;
  return middle + 1;
}
