import { expect, test } from "bun:test";
import { join } from "node:path";

import { eachToken } from "@avjepa/models";
import { syntheticBatch } from "./synthetic_batch.ts";
import { median } from "./timing.ts";

/** Runs the command. */
function bench(...args: string[]) {
  const script = join(import.meta.dir, "../scripts/bench.ts");
  const { stdout, stderr, exitCode } = Bun.spawnSync([
    process.execPath,
    script,
    ...args,
  ]);
  return { out: String(stdout), err: String(stderr), exitCode };
}

test("a step's line of JSON has what scripts rely on", () => {
  const { out, exitCode } = bench(
    ..."step --model vit_tiny --batch 1 --dtype bfloat16 --steps 1 --warmup 0 --json".split(
      " ",
    ),
  );
  expect(exitCode).toBe(0);
  const report = JSON.parse(out);
  expect(Object.keys(report)).toEqual([
    "median_s",
    "min_s",
    "samples_per_s",
    "flops_per_step",
    "gflops",
    "peak_rss_bytes",
    "idle_rss_bytes",
    "tensor_bytes",
    "peak_tensor_bytes",
    "device",
    "threads",
  ]);
  // Target 0.0402, context 0.0060 and predictor 0.1488 TFLOP forward, the last two three times.
  expect(report.flops_per_step / 1e12).toBeCloseTo(0.509, 3);
  expect(report.samples_per_s).toBeCloseTo(1 / report.median_s, 9);
  expect(report.peak_rss_bytes).toBeGreaterThan(
    report.idle_rss_bytes + 27e6 * 16,
  );
  expect(report.device).toBe("cpu");
}, 60_000);

test.each([
  [["foo"], "bench foo: there is no such measurement"],
  [["loader"], "INDEX is missing"],
  [["step", "--batch", "0"], "whole number"],
  [["step", "--model", "vit_micro"], "vit_tiny"],
  [[], "missing required argument"],
])("wrong usage %p ends with 2", (args, message) => {
  const { err, exitCode } = bench(...args);
  expect(exitCode).toBe(2);
  expect(err).toContain(message);
});

test("a device that is not there ends with 1 and its remedy", () => {
  const { err, exitCode } = bench("step", "--devices", "cuda");
  expect(exitCode).toBe(1);
  expect(err).toContain("--devices cpu");
});

test("a batch of noise has the lengths asked for, and no token twice", () => {
  const shape = {
    frames: 4,
    crop: 32,
    videoTokens: 8,
    audio: { mel: 16, frames: 32, tokens: 6 },
  };
  const batch = syntheticBatch(3, shape, [
    { context: { video: 2, audio: 1 }, target: { video: 5, audio: 0 } },
    { context: { video: 1, audio: 2 }, target: { video: 3, audio: 4 } },
  ]);
  expect([...batch.context.offsets]).toEqual([0, 3, 6, 9, 12, 15, 18]);
  expect([...batch.targets.offsets]).toEqual([0, 5, 10, 15, 22, 29, 36]);
  expect(batch.present.position.length).toBe(3 * 14);
  const seen = new Set<string>();
  for (const indices of [batch.context, batch.targets])
    eachToken(indices, (m, s) => {
      const key = `${s} ${indices.modality[m]} ${indices.position[m]}`;
      expect(seen.has(key)).toBe(false);
      seen.add(key);
    });
  const { video, audio } = batch.upload("cpu");
  expect([video?.shape, video?.dtype]).toEqual([[3, 4, 32, 32, 3], "uint8"]);
  expect(audio?.shape).toEqual([3, 1, 16, 32]);
});

test("the median", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});
