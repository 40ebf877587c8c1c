import { expect, test } from "bun:test";

import { type ClipName, noiseOf } from "./noise.ts";

const clip = (pass: number, index: number, of = 0): ClipName => ({
  pass,
  index,
  clip: of,
});

const drawn = async (seed: number, clips: ClipName[], sequence: number) =>
  Array.from(await noiseOf(seed, clips)(sequence).normal([4]).toNumbers());

test("a clip's noise is its own, in whatever batch it is", async () => {
  const [a, b, c] = [clip(0, 5), clip(0, 6), clip(1, 5)];
  // Under the second mask, among three clips and alone.
  expect(await drawn(7, [c, b, a], 5)).toEqual(await drawn(7, [a], 1));
  const all = await Promise.all([
    drawn(7, [a], 0),
    drawn(7, [a], 1),
    drawn(7, [b], 0),
    drawn(7, [c], 0),
    drawn(8, [a], 0),
    drawn(7, [clip(0, 5, 1)], 0),
  ]);
  expect(new Set(all.map((values) => values.join())).size).toBe(all.length);
});
