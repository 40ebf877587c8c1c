import { expect, test } from "bun:test";

import { medianRank, recallAt, retrievalRanks } from "../metrics/retrieval.ts";
import { recallBetween } from "./recall.ts";

const [count, dim] = [23, 7];
const values = (seed: number) =>
  Float64Array.from({ length: count * dim }, (_, i) =>
    Math.sin((i + 1) * seed),
  );
const queries = values(1.7);
const candidates = values(2.9).map((x, i) => 0.4 * x + queries[i]!);

/** All scores, written down. */
function scores(by: "cosine" | "l1"): Float64Array {
  const row = (of: Float64Array, i: number) =>
    Array.from(of.subarray(i * dim, (i + 1) * dim));
  return Float64Array.from({ length: count * count }, (_, at) => {
    const q = row(queries, Math.floor(at / count));
    const c = row(candidates, at % count);
    return by === "l1"
      ? -q.reduce((sum, x, d) => sum + Math.abs(x - c[d]!), 0)
      : q.reduce((sum, x, d) => sum + x * c[d]!, 0) /
          Math.hypot(...q) /
          Math.hypot(...c);
  });
}

test.each(["cosine", "l1"] as const)("recall by %s", async (by) => {
  const ranks = retrievalRanks(scores(by), count, count);
  // Neither all found nor none.
  expect(recallAt(ranks, 1)).toBeGreaterThan(0);
  expect(recallAt(ranks, 1)).toBeLessThan(100);
  expect(await recallBetween(queries, candidates, dim, by)).toEqual({
    R1: recallAt(ranks, 1),
    R5: recallAt(ranks, 5),
    R10: recallAt(ranks, 10),
    median_rank: medianRank(ranks),
  });
});

test("it can be ended", async () => {
  const told: number[] = [];
  const found = await recallBetween(queries, candidates, dim, "l1", (done) => {
    told.push(done);
    return true;
  });
  expect(found).toBeNull();
  expect(told).toHaveLength(1);
});
