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

test.each(["cosine", "l1"] as const)(
  "vectors that are all alike find by chance, no numbers nothing, by %s",
  async (by) => {
    const alike = new Float64Array(count * dim).fill(1);
    const found = await recallBetween(alike, alike, dim, by);
    expect(found!.R1).toBeCloseTo(100 / count, 10);
    expect(found!.R10).toBeCloseTo(1000 / count, 10);
    expect(found!.median_rank).toBe((count + 1) / 2);
    const none = alike.map(() => Number.NaN);
    expect(await recallBetween(none, alike, dim, by)).toMatchObject({
      R1: 0,
      R10: 0,
    });
    // Two films that are the same take each other's place every other time.
    const pair = queries.slice();
    pair.set(pair.subarray(0, dim), dim);
    const { R1, R5 } = (await recallBetween(pair, pair, dim, by))!;
    expect(R1).toBeCloseTo((100 * (count - 1)) / count, 10);
    expect(R5).toBe(100);
  },
);

test("it can be ended", async () => {
  const told: number[] = [];
  const found = await recallBetween(queries, candidates, dim, "l1", (done) => {
    told.push(done);
    return true;
  });
  expect(found).toBeNull();
  expect(told).toHaveLength(1);
});
