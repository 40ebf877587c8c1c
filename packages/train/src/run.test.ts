import { expect, test } from "bun:test";
import { join } from "node:path";

import { formatError } from "@avjepa/core/error";

import { loadPretrainConfig } from "./config/index.ts";
import { planSteps, requireFinite } from "./run.ts";

const path = join(import.meta.dir, "../../../configs/pretrain/vitl16.yaml");
const load = (...set: string[]) =>
  loadPretrainConfig(path, { set, env: { AVJEPA_DATA: "/data" } }).config;

test("the shipped run: its length, first and last step", () => {
  const plan = planSteps(load(), 1000);
  expect([plan.ipe, plan.lastStep]).toEqual([300, 90_000]);
  expect(plan.settings(1).lr).toBeCloseTo(2.0003541666666668e-4, 18);
  expect(plan.settings(90_000).lr).toBeCloseTo(7.504222442956086e-5, 18);
  expect(plan.settings(2).momentum).toBeCloseTo(0.9980000177777778, 15);
});

test("clipping begins at once, or with the first epoch after the warm-up's last", () => {
  expect(planSteps(load(), 1).settings(1).clip).toBe(10);
  const late = planSteps(load("optimization.clip_grad_after_warmup=true"), 1);
  expect(late.settings(41 * 300).clip).toBeNull();
  expect(late.settings(41 * 300 + 1).clip).toBe(10);
});

test("without ipe an epoch is one pass; --steps stops earlier, schedules unchanged", () => {
  const config = load("optimization.ipe=null", "data.batch_size=24");
  const whole = planSteps(config, 24 * 50 + 3);
  const short = planSteps(config, 24 * 50 + 3, 7);
  expect(whole.ipe).toBe(50);
  expect(short.lastStep).toBe(7);
  expect(short.settings(7)).toEqual(whole.settings(7));
});

test("checkpoints by steps, epochs and minutes", () => {
  const plan = planSteps(load("meta.save_every_freq=2"), 1);
  expect([299, 300].map((s) => plan.checkpointDue(s, 0))).toEqual([
    false,
    true,
  ]);
  expect(plan.checkpointDue(7, 15)).toBe(true);
  expect([300, 600, 601].map((s) => plan.epochToKeep(s))).toEqual([
    undefined,
    2,
    undefined,
  ]);
  const often = planSteps(load("meta.checkpoint_every_steps=5"), 1);
  expect([5, 6, 300].map((s) => often.checkpointDue(s, 0))).toEqual([
    true,
    false,
    true,
  ]);
});

test("a loss that is no number names the term and the step", async () => {
  const good = {
    loss: 1,
    jepa: 1,
    reg: 0,
    gradNormEncoder: 1,
    gradNormPredictor: 1,
    features: {},
  };
  const store = {
    latestStep: () => 10,
    steps: () => [5, 10, 15],
    pathOf: (step: number) => `runs/x/t-s${step}`,
  };
  await requireFinite(good, 3, store);
  let text = "";
  try {
    await requireFinite(
      { ...good, audio: Number.NaN, loss: Number.NaN },
      12,
      store,
    );
  } catch (error) {
    text = formatError(error);
  }
  expect(text).toContain("step 12: the loss of the audio targets is NaN");
  expect(text).toContain("is kept: runs/x/t-s10");
  expect(text).toContain("--resume runs/x/t-s5");
});
