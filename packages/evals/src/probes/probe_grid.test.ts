import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { TokenCache } from "../tokens/token_cache.ts";
import type { TokenSet } from "../tokens/token_set.ts";
import { knnPredictions } from "./knn.ts";
import { trainLinearProbes } from "./linear_probe.ts";
import { pooledOf } from "./pooled.ts";
import { predictAll } from "./predictions.ts";
import { gridPoints, ProbeGrid } from "./probe_grid.ts";
import { ProbeTraining } from "./train_probes.ts";

/** Samples of 2 to 4 tokens of width 8; column 0 or 1 of one of them tells the class. */
const count = 24;
const labels = Array.from({ length: count }, (_, i) => i % 2);
let root: string;
let set: TokenSet;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "avjepa-grid-"));
  const cache = new TokenCache(root, { inputs: ["x"], dtype: "float32" });
  const samples = labels.map((label, index) => {
    const length = 2 + (index % 3);
    const values = Float32Array.from(
      { length: 8 * length },
      (_, i) => Math.sin(1 + i * 3 + index * 7) / 2,
    );
    values[8 * (index % length) + label] = 4;
    return { index, sequences: { x: [values] } };
  });
  await cache.add(samples, [], 8, count);
  await cache.finish();
  set = await cache.open("x");
});
afterAll(() => rmSync(root, { recursive: true }));

const shape = {
  dim: 8,
  numHeads: 2,
  classes: 2,
  projection: "applied",
  blocks: "after",
  multiLabel: false,
  seed: 5,
  device: "cpu",
  bfloat16: false,
  clip: 1,
} as const;
const points = gridPoints({
  lr: [1e-2, 1e-5],
  weight_decay: [0],
  depth: [1, 2],
});
const training = (grid: ProbeGrid) =>
  new ProbeTraining(grid, {
    sets: [set],
    labels,
    samples: Int32Array.from({ length: 16 }, (_, i) => i),
    batch: 6,
    epochs: 12,
    seed: 1,
    settings: (_, { lr, weight_decay }) => ({ lr, wd: weight_decay }),
  });
const tested = Int32Array.from({ length: 8 }, (_, i) => 16 + i);
const own = Array.from(tested, (i) => labels[i]!);

test("probes of a grid learn each at its own rate, as if alone", async () => {
  using grid = new ProbeGrid(points, shape);
  const run = training(grid);
  expect([run.perEpoch, run.steps]).toEqual([3, 36]);
  while (run.step < run.steps) await run.next();
  expect(run.sums.samples).toBe(16);
  const found = await predictAll(grid, set, tested, own, { batch: 3 });
  const right = found.map(
    (one) => one.ranks.filter((rank) => rank === 0).length,
  );
  expect(points.map(({ lr, depth }) => [lr, depth])).toEqual([
    [1e-2, 1],
    [1e-5, 1],
    [1e-2, 2],
    [1e-5, 2],
  ]);
  expect(right[0]).toBe(8);
  expect(right[2]).toBe(8);
  expect(run.sums.loss[1]).toBeGreaterThan(run.sums.loss[0]!);

  using alone = new ProbeGrid([points[2]!], shape);
  const second = training(alone);
  while (second.step < second.steps) await second.next();
  const [same] = await predictAll(alone, set, tested, own, { batch: 8 });
  expect(same).toEqual(found[2]!);
}, 30_000);

test("a training goes on from any step to the same bits", async () => {
  using straight = new ProbeGrid(points, shape);
  const whole = training(straight);
  for (let i = 0; i < 8; i++) await whole.next();
  await whole.settle();
  using first = new ProbeGrid(points, shape);
  const half = training(first);
  for (let i = 0; i < 5; i++) await half.next();
  await half.settle();
  using second = new ProbeGrid(points, { ...shape, seed: 9 });
  const moments = first.moments();
  second.restore(first.weights(), moments, 5);
  for (const view of Object.values(moments)) view.dispose();
  const rest = training(second);
  [rest.step, rest.sums] = [half.step, half.sums];
  for (let i = 0; i < 3; i++) await rest.next();
  await rest.settle();
  expect(rest.sums).toEqual(whole.sums);
  const values = async (grid: ProbeGrid) =>
    (await grid.weights()["3.linear.weight"]!.toNumbers()).join();
  expect(await values(second)).toBe(await values(straight));
}, 30_000);

test("linear probes and neighbours on the mean of the tokens", async () => {
  const train = pooledOf(
    set,
    Int32Array.from({ length: 16 }, (_, i) => i),
  );
  const test = pooledOf(set, tested);
  const options = { classes: 2, multiLabel: false, seed: 0, device: "cpu" };
  const tests = [{ features: test, labels: own }];
  const found = await trainLinearProbes(train, labels, tests, options);
  for (const { predictions } of found!)
    expect([...predictions[0]!.predicted]).toEqual(own);
  const knn = { ...options, k: 3 };
  const near = await knnPredictions(train, labels, test, own, knn);
  expect([...near.predicted]).toEqual(own);
  const stopped = await trainLinearProbes(train, labels, tests, {
    ...options,
    stopped: () => true,
  });
  expect(stopped).toBeNull();
}, 30_000);
