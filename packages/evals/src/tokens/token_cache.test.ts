import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { SampleTokens } from "./encode_clips.ts";
import { type CacheSettings, settingsKey, TokenCache } from "./token_cache.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "avjepa-tokens-"));
});
afterAll(() => rmSync(root, { recursive: true }));

const settings: CacheSettings = {
  inputs: ["joint", "audio"],
  dtype: "float32",
  weights: "abc",
};

/** One sequence of `length` tokens of width 2, all of the sample's number; every third is mute. */
const sample = (index: number, length: number): SampleTokens => ({
  index,
  sequences: {
    joint: [new Float32Array(2 * length).fill(index)],
    audio: index % 3 === 0 ? [] : [Float32Array.of(index, -index)],
  },
});

test("what was stopped goes on after its last whole shard", async () => {
  const first = new TokenCache(root, settings);
  await first.add([sample(0, 2), sample(1, 3)], [], 2, 2);
  await first.flush();
  // These do not reach the disk.
  await first.add([sample(2, 1)], [], 2, 3);
  writeFileSync(join(first.folder, "00001.safetensors.tmp"), "half");
  writeFileSync(join(first.folder, "00001.safetensors"), "not in the list");

  const second = new TokenCache(root, settings);
  second.clean();
  expect(second.folder).toBe(first.folder);
  expect([second.done, second.complete]).toEqual([2, false]);
  expect(readdirSync(second.folder).sort()).toEqual([
    "00000.safetensors",
    "cache.json",
  ]);
  await expect(second.open("joint")).rejects.toThrow("not complete: 2 samples");
  await second.add([sample(2, 1)], [], 2, 3);
  const lost = { index: 3, path: "x.mp4", reason: "broken" };
  await second.add([sample(4, 1)], [lost], 2, 5);
  await second.finish();

  const third = new TokenCache(root, settings);
  expect(third.complete).toBe(true);
  expect(third.skipped).toEqual([lost]);
  const joint = await third.open("joint");
  expect([...joint.indices]).toEqual([0, 1, 2, 4]);
  expect(joint.tokensOf(1)).toBe(3);
  const { tokens, sampleOf } = joint.batch([3, 1], "cpu");
  expect([...(await tokens.data.toNumbers())]).toEqual([
    4, 4, 1, 1, 1, 1, 1, 1,
  ]);
  expect([...tokens.indices.offsets]).toEqual([0, 1, 4]);
  expect([...sampleOf]).toEqual([0, 1]);
  // Samples without the input are not in its set.
  const audio = await third.open("audio");
  expect([...audio.indices]).toEqual([1, 2, 4]);
  expect([...audio.pooled()]).toEqual([1, -1, 2, -2, 4, -4]);
}, 30_000);

test("any other setting is another folder", () => {
  const key = settingsKey(settings);
  expect(settingsKey({ ...settings, weights: "abd" })).not.toBe(key);
  expect(settingsKey({ ...settings, dtype: "bfloat16" })).not.toBe(key);
  const { inputs, dtype, weights } = settings;
  expect(settingsKey({ weights, dtype, inputs })).toBe(key);
});
