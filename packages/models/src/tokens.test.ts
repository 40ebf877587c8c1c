import { describe, expect, test } from "bun:test";
import {
  allTokens,
  checkIndices,
  countByModality,
  joinMasks,
  locate,
  oneMask,
  packMasks,
} from "./tokens.ts";

const masks = packMasks({
  video: [
    [[0, 3, 5], [1]],
    [[], [2, 4]],
  ],
  audio: [
    [[7], []],
    [[], [6, 0]],
  ],
});

test("masks are packed mask by mask, sample by sample, video first", () => {
  expect(masks).toEqual({
    samples: 2,
    masks: 2,
    offsets: Int32Array.from([0, 4, 5, 5, 9]),
    position: Int32Array.from([0, 3, 5, 7, 1, 2, 4, 6, 0]),
    modality: Uint8Array.from([0, 0, 0, 1, 0, 0, 0, 1, 1]),
  });
  expect(countByModality(masks)).toEqual([
    Int32Array.from([3, 1, 0, 2]),
    Int32Array.from([1, 0, 0, 2]),
  ]);
});

test("one mask and joined masks are each other's inverse", () => {
  expect(joinMasks([oneMask(masks, 0), oneMask(masks, 1)])).toEqual(masks);
});

test("all tokens: whole grids, or what each sample has", () => {
  expect(allTokens(2, { video: 3 }).position).toEqual(
    Int32Array.from([0, 1, 2, 0, 1, 2]),
  );
  const some = allTokens(2, { video: 2, audio: [[1, 4], []] });
  expect([...some.offsets]).toEqual([0, 4, 6]);
  expect([...some.modality]).toEqual([0, 0, 1, 1, 0, 0]);
});

test("targets are found among all tokens, also where some are missing", () => {
  const all = allTokens(2, {
    video: 6,
    audio: [
      [0, 7],
      [6, 0, 1],
    ],
  });
  expect([...locate(all, masks)]).toEqual([0, 3, 5, 7, 9, 10, 12, 14, 15]);
  const silent = allTokens(2, { video: 6, audio: [[0, 7], []] });
  expect(() => locate(silent, masks)).toThrow(
    "audio token 6 of sample 1 is a target",
  );
  expect(() => locate(masks, masks)).toThrow("2 samples × 2 masks");
});

describe("indices that do not fit are refused", () => {
  test.each([
    [[5, 8], 2, "video position 5 is outside the grid of 5 tokens"],
    [[6, 0], 2, "there are audio tokens, but no audio"],
    [[6, 8], 3, "of 2 samples, but the batch has 3"],
  ] as [[number, number], number, string][])(
    "%p %p",
    (sizes, samples, message) => {
      expect(() => checkIndices("encoder", masks, sizes, samples)).toThrow(
        message,
      );
    },
  );

  test("broken offsets", () => {
    const broken = { ...masks, offsets: Int32Array.from([0, 4, 3, 5, 9]) };
    expect(() => checkIndices("encoder", broken, [6, 8])).toThrow(
      "the offsets do not cut 9 tokens into 2 × 2 sequences",
    );
  });

  test("modalities of different sizes", () => {
    expect(() => packMasks({ video: [[[0]]], audio: [[[0], [1]]] })).toThrow(
      "differ in the number of samples",
    );
    expect(() => packMasks({})).toThrow("there are no masks");
  });
});
