import { expect, test } from "bun:test";
import { CollapseWatch, featureHealth } from "./collapse.ts";

test("equal tokens have no deviation and rank one", () => {
  const health = featureHealth(new Float64Array(40 * 6).fill(3), 6);
  expect(health).toEqual({ std: 0, effectiveRank: 1 });
});

test("orthogonal features of equal spread have the full rank", () => {
  // Rows of ±1 along each axis: centred, and every singular value is the same.
  const rows = Array.from({ length: 8 }, (_, n) =>
    Array.from({ length: 4 }, (_, d) => (n >> 1 === d ? (n % 2) * 2 - 1 : 0)),
  );
  const health = featureHealth(rows.flat(), 4);
  expect(health?.effectiveRank).toBeCloseTo(4, 10);
  expect(health?.std).toBeCloseTo(Math.sqrt(2 / 7), 10);
});

test("features along one direction have rank one, however many tokens", () => {
  for (const tokens of [3, 50]) {
    const features = Array.from(
      { length: tokens * 5 },
      (_, i) => Math.sin(Math.floor(i / 5) + 1) * (1 + (i % 5)),
    );
    expect(featureHealth(features, 5)?.effectiveRank).toBeCloseTo(1, 4);
  }
});

test("one token says nothing", () => {
  expect(featureHealth([1, 2, 3], 3)).toBeNull();
});

test("a fall to a quarter is told once, and again after a recovery", () => {
  const watch = new CollapseWatch();
  const told = [30, 60, 20, 15, 14, 40, 12].map(
    (rank) => watch.look(rank) !== undefined,
  );
  expect(told).toEqual([false, false, false, true, false, false, true]);
  expect(new CollapseWatch().look(1.2)).toContain("effective rank 1.2");
});
