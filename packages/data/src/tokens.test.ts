import { expect, test } from "bun:test";

import { AUDIO, packRows, presentTokens, VIDEO } from "./tokens.ts";

const lists = (...rows: number[][]) => ({
  values: Int32Array.from(rows.flat()),
  offsets: Int32Array.from([
    0,
    ...rows.map((_, r) => rows.slice(0, r + 1).flat().length),
  ]),
});

test("sequences lie mask by mask, video before audio", () => {
  const packed = packRows([
    { video: lists([0, 3], [1], []), audio: lists([], [7, 9], [2]) },
    { video: lists([5], [], [4]), audio: lists([6], [8], []) },
  ]);
  expect(packed.samples).toBe(3);
  expect(packed.masks).toBe(2);
  expect([...packed.offsets]).toEqual([0, 2, 5, 6, 8, 9, 10]);
  expect([...packed.position]).toEqual([0, 3, 1, 7, 9, 2, 5, 6, 8, 4]);
  expect([...packed.modality]).toEqual([
    ...[VIDEO, VIDEO],
    ...[VIDEO, AUDIO, AUDIO],
    AUDIO,
    ...[VIDEO, AUDIO],
    AUDIO,
    VIDEO,
  ]);
});

test("present tokens are those of tracks that are there", () => {
  const present = presentTokens({
    videoTokens: 3,
    audioGrid: [2, 4],
    hasVideo: [1, 0, 1],
    audioCols: [4, 2, 0],
  });
  expect([...present.offsets]).toEqual([0, 11, 15, 18]);
  // Of two rows and four columns, the first two columns.
  expect([...present.position.subarray(11, 15)]).toEqual([0, 1, 4, 5]);
  expect([...present.modality.subarray(11, 15)]).toEqual([1, 1, 1, 1]);
  expect([...present.position.subarray(15)]).toEqual([0, 1, 2]);
  expect(present.masks).toBe(1);
});

test("a batch without rows has no tokens", () => {
  const none = { values: new Int32Array(), offsets: new Int32Array(1) };
  expect(packRows([{ video: none, audio: none }])).toMatchObject({
    samples: 0,
    masks: 1,
  });
});
