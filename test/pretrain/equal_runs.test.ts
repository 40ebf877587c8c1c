/** Ways to the same run: what saves memory does not change what is learned. */

import { afterAll, beforeAll, expect, test } from "bun:test";

import { Clips, metricsOf, pretrain, small, stepsOf } from "./support.ts";

let clips: Clips;
beforeAll(() => {
  clips = new Clips();
});
afterAll(() => clips[Symbol.dispose]());

/** Three steps of four clips each, one in four without sound. */
function run(name: string, ...sets: string[]): Record<string, number>[] {
  const folder = clips.path(name);
  const { err, exitCode } = pretrain(
    "configs/pretrain/av-vitt16.yaml",
    ...["--folder", folder],
    ...small(clips.path("clips.csv")),
    ...stepsOf(1, 3),
    ...["loss.reg_coeff=0.1", ...sets].flatMap((set) => ["--set", set]),
  );
  expect({ err, exitCode }).toMatchObject({ exitCode: 0 });
  return metricsOf(folder);
}

const numbers = [
  ...["loss", "loss_jepa", "loss_reg", "loss_video", "loss_audio"],
  ...["grad_norm_encoder", "grad_norm_predictor"],
];

test("accumulated batches are the large batch, and recomputed blocks the kept ones", () => {
  const whole = run("whole", "data.batch_size=4");
  const parts = run(
    "parts",
    "data.batch_size=null",
    "optimization.batch_size_total=4",
    "optimization.grad_accum=4",
  );
  const recomputed = run(
    "recomputed",
    "data.batch_size=4",
    "optimization.activation_checkpointing=block",
  );
  for (const [i, step] of whole.entries())
    for (const name of numbers) {
      expect(parts[i]![name]! / step[name]!).toBeCloseTo(1, 5);
      expect(recomputed[i]![name]).toBe(step[name]!);
    }
}, 60_000);
