import { describe, expect, test } from "bun:test";
import {
  averagePrecision,
  classRates,
  confusionMatrix,
  countTopK,
  dPrime,
  inverseNormal,
  medianRank,
  multiLabelMetrics,
  predictedClass,
  recallAt,
  retrievalRanks,
  rocAuc,
  TopKCounter,
  wilsonInterval,
} from "./index.ts";

describe("top-k", () => {
  test("counts over batches are whole", () => {
    const counter = new TopKCounter(3, [1, 2]);
    counter.add([1, 2, 3, 3, 2, 1], [2, 1]);
    counter.add([0, 5, 1], [0]);
    expect(counter.total).toBe(3);
    expect(counter.right).toEqual([1, 2]);
    expect(counter.percent(2)).toBeCloseTo(66.6667, 3);
    expect(() => counter.percent(5)).toThrow("top-5 was not counted");
  });

  test("equal scores go to the lower class, as the prediction does", () => {
    expect(countTopK([1, 1, 1], [0], 3, [1])).toEqual([1]);
    expect(countTopK([1, 1, 1], [2], 3, [1, 2, 3])).toEqual([0, 0, 1]);
    expect(predictedClass([1, 1, 1])).toBe(0);
    expect(predictedClass([Number.NaN, 0, 1])).toBe(2);
  });

  test("what is not a number is never right", () => {
    expect(countTopK([Number.NaN, Number.NaN], [0], 2, [1, 2])).toEqual([0, 0]);
  });

  test("a label out of range names the sample", () => {
    expect(() => countTopK([1, 2], [2], 2, [1])).toThrow("sample 0 is 2");
    expect(() => countTopK([1, 2, 3], [0], 2, [1])).toThrow("not 1 rows of 2");
  });
});

test("Wilson's interval against published values", () => {
  const { low, high } = wilsonInterval(8, 10);
  expect(low).toBeCloseTo(0.4901625, 6);
  expect(high).toBeCloseTo(0.9433178, 6);
  expect(wilsonInterval(0, 20).low).toBe(0);
  expect(wilsonInterval(20, 20).high).toBe(1);
  expect(wilsonInterval(0, 0)).toEqual({ low: 0, high: 1 });
});

test("average precision takes equal scores as one step", () => {
  expect(averagePrecision([0.9, 0.8, 0.1], [1, 0, 1])).toBeCloseTo(5 / 6, 12);
  expect(averagePrecision([1, 1, 1, 1], [1, 0, 0, 0])).toBe(0.25);
  expect(averagePrecision([1, 2], [0, 0])).toBeNaN();
  // What is no number comes last.
  expect(averagePrecision([Number.NaN, 0.2], [1, 0])).toBe(0.5);
});

test("areas count ties half", () => {
  expect(rocAuc([1, 1], [1, 0])).toBe(0.5);
  expect(rocAuc([3, 2, 1], [1, 1, 0])).toBe(1);
  expect(rocAuc([1], [1])).toBeNaN();
});

test("the normal deviate is right to twelve digits", () => {
  // From tables of the normal distribution.
  expect(inverseNormal(0.975)).toBeCloseTo(1.959963984540054, 12);
  expect(inverseNormal(0.5)).toBe(0);
  expect(inverseNormal(1e-6)).toBeCloseTo(-4.753424308822899, 11);
  expect(inverseNormal(0.01)).toBeCloseTo(-2.326347874040841, 12);
  expect(dPrime(1)).toBeCloseTo(Math.SQRT2 * 4.753424308822899, 9);
});

test("classes without a positive are left out, those without a negative of areas", () => {
  const found = multiLabelMetrics(
    [0.9, 0.1, 0.5, 0.2, 0.8, 0.4],
    [1, 0, 1, 0, 0, 1],
    3,
  );
  expect(found.averagePrecision.classes).toEqual([0, 2]);
  expect(found.averagePrecision.mean).toBe(1);
  expect(found.auc).toEqual([1, Number.NaN]);
  expect(found.meanAuc).toBe(1);
  expect(() => multiLabelMetrics([1], [1, 0], 2)).toThrow("1 scores");
});

test("a model that tells nothing apart retrieves by chance", () => {
  const ranks = retrievalRanks(new Float32Array(16), 4, 4);
  expect([...ranks]).toEqual([1.5, 1.5, 1.5, 1.5]);
  expect(recallAt(ranks, 1)).toBe(0);
  expect(
    recallAt(retrievalRanks(new Float32Array(16), 4, 4, { ties: "best" }), 1),
  ).toBe(100);
  expect(medianRank([0, 1, 2, 5])).toBe(2.5);
});

test("the confusion matrix and its rates", () => {
  const matrix = confusionMatrix([0, 0, 1], [0, 1, 1], 3);
  expect([...matrix]).toEqual([1, 1, 0, 0, 1, 0, 0, 0, 0]);
  const [first, second, third] = classRates(matrix, 3);
  expect([first!.recall, first!.precision]).toEqual([0.5, 1]);
  expect(second).toMatchObject({ samples: 1, predicted: 2, right: 1 });
  expect(third!.recall).toBeNaN();
  expect(() => confusionMatrix([0], [3], 3)).toThrow("there are 3 classes");
});
