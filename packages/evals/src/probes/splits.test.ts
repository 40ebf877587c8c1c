import { expect, test } from "bun:test";

import { namedFolds, numberedFolds, stratifiedFolds } from "./folds.ts";
import { splitHeldOut } from "./held_out.ts";

const labels = Array.from({ length: 40 }, (_, i) =>
  i < 30 ? 0 : i < 39 ? 1 : 2,
);
const of = (samples: Int32Array, label: number) =>
  [...samples].filter((i) => labels[i] === label).length;

test("each class gives its share, and never its last sample", () => {
  const { train, heldOut } = splitHeldOut(labels, 0.2, 1);
  expect(heldOut.length).toBe(8);
  expect([of(heldOut, 0), of(heldOut, 1), of(heldOut, 2)]).toEqual([6, 2, 0]);
  const all = [...train, ...heldOut].sort((a, b) => a - b);
  expect(all).toEqual([...labels.keys()]);
  expect(splitHeldOut(labels, 0.2, 1).heldOut).toEqual(heldOut);
  expect(splitHeldOut(labels, 0.2, 2).heldOut).not.toEqual(heldOut);
});

test("few samples hold one out; a fraction of 0 none", () => {
  expect(splitHeldOut([0, 0, 1, 1], 0.1, 0).heldOut.length).toBe(1);
  expect(splitHeldOut([0, 0, 1, 1], 0, 0).heldOut.length).toBe(0);
  expect(splitHeldOut([0, 1, 2], 0.5, 0).train.length).toBe(3);
});

test("folds have each class alike", () => {
  const folds = stratifiedFolds(labels, 5, 3);
  for (let fold = 0; fold < 5; fold++) {
    const own = Int32Array.from(labels.keys()).filter((i) => folds[i] === fold);
    expect(own.length).toBe(8);
    expect(of(own, 0)).toBe(6);
  }
  expect(() => stratifiedFolds([0, 1], 3, 0)).toThrow("2 samples");
});

test("folds of names", () => {
  const paths = ["/a/2-x.wav", "/a/1-y.wav", "/b/2-z.wav"];
  expect([...namedFolds(paths, "^(\\d)-", 2)]).toEqual([1, 0, 1]);
  expect(() => namedFolds(paths, "^(\\d)-", 5)).toThrow("finds 2 folds (1, 2)");
  expect(() => namedFolds(paths, "^x(\\d)", 2)).toThrow("no fold in 2-x.wav");
  expect(() => namedFolds(paths, "(", 2)).toThrow("no regular expression");
  expect([...numberedFolds(["b", "a", "b"], 2, "a column")]).toEqual([1, 0, 1]);
});
