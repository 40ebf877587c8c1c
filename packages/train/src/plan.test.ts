import { expect, test } from "bun:test";
import { join } from "node:path";

import { memory, optim, resetPeakMemory, synchronize } from "@avjepa/core";
import { tensor } from "@avjepa/core";
import { allTokens, packMasks } from "@avjepa/models";
import { settledMemory } from "../../core/src/testing.ts";

import { single } from "./collective.ts";
import { loadPretrainConfig } from "./config/index.ts";
import { buildModels } from "./models.ts";
import { formatPlan, planRun } from "./plan.ts";
import { stepFlops, totalFlops } from "./plan/flops.ts";
import { type MaskLength, meanMaskLengths } from "./plan/lengths.ts";
import { planMemory } from "./plan/memory.ts";
import {
  encoderParameters,
  modelShape,
  predictorParameters,
} from "./plan/shape.ts";
import { trainStep } from "./train_step.ts";

const configs = join(import.meta.dir, "../../../configs/pretrain");

function config(file: string, ...set: string[]) {
  const path = join(configs, file);
  return loadPretrainConfig(path, { set: ["data.datasets=[a.csv]", ...set] })
    .config;
}

/** Learned values of encoder and predictor, as the published models have them. */
test.each([
  ["vit_tiny", [5_633_856, 21_443_136, 5_683_200, 21_518_016]],
  ["vit_small", [21_884_544, 21_590_784, 21_983_232, 21_739_392]],
  ["vit_base", [86_236_416, 21_886_080, 86_433_792, 22_182_144]],
  ["vit_large", [303_885_312, 22_082_944, 304_148_480, 22_477_312]],
  ["vit_huge", [631_648_000, 22_279_808, 631_976_960, 22_772_480]],
  ["vit_giant", [1_012_173_952, 22_378_240, 1_012_535_808, 22_920_064]],
])("%s has the published number of parameters", (name, expected) => {
  const counts = ["vitl16.yaml", "av-vitt16.yaml"].flatMap((file) => {
    const shape = modelShape(config(file, `model.model_name=${name}`));
    return [encoderParameters(shape), predictorParameters(shape)];
  });
  expect(counts.map(({ learned }) => learned)).toEqual(expected);
});

const small = [
  "model.embed_dim=48",
  "model.depth=3",
  "model.num_heads=2",
  "model.mlp_ratio=3.3",
  "model.pred_embed_dim=24",
  "model.pred_depth=2",
  "model.pred_num_heads=3",
  "data.crop_size=64",
  "data.batch_size=4",
];

test.each([
  ["vitl16.yaml", "model.use_mask_tokens=true"],
  ["vitl16.yaml", "model.use_mask_tokens=false"],
  ["av-vitt16.yaml", "data.audio.num_mel=64"],
])("parameters of a real %s with %s", (file, set) => {
  const resolved = config(file, ...small, set);
  const { encoder, predictor, target } = buildModels(resolved, "cpu");
  const shape = modelShape(resolved);
  for (const [model, count] of [
    [encoder, encoderParameters(shape)],
    [predictor, predictorParameters(shape)],
  ] as const) {
    expect(model.parameterCount()).toBe(count.learned);
    expect(model.parameterCount({ frozen: true })).toBe(
      count.learned + count.frozen,
    );
  }
  for (const model of [encoder, predictor, target]) model.dispose();
});

const video = (context: number, target: number): MaskLength => ({
  context: { video: context, audio: 0 },
  target: { video: target, audio: 0 },
});

test("operations of a step, by hand", () => {
  const resolved = config("vitl16.yaml", ...small, "data.num_frames=4");
  const shape = modelShape(resolved);
  // 2 × 4 × 4 tokens of 3 · 2 · 16 · 16 values, width 48, hidden 158; predictor 24 wide, hidden 96.
  const block = (tokens: number, dim: number, hidden: number) => ({
    linear: 2 * tokens * (3 * dim * dim + dim * dim + 2 * dim * hidden),
    attention: 2 * (2 * tokens * tokens * dim),
  });
  const encoder = (tokens: number) => ({
    linear: 3 * block(tokens, 48, 158).linear + 2 * tokens * 1536 * 48,
    attention: 3 * block(tokens, 48, 158).attention,
  });
  const predictor = {
    linear: 2 * block(25, 24, 96).linear + 2 * 5 * 48 * 24 + 2 * 20 * 24 * 48,
    attention: 2 * block(25, 24, 96).attention,
  };
  expect(stepFlops(shape, [video(5, 20)], 4)).toEqual({
    linear:
      4 * (encoder(32).linear + 3 * (encoder(5).linear + predictor.linear)),
    attention:
      4 *
      (encoder(32).attention +
        3 * (encoder(5).attention + predictor.attention)),
  });
});

/** Forward operations of the target encoder of a clip, in 10^12. */
test.each([
  ["vit_tiny", 0.04, 0.506],
  ["vit_small", 0.114, 0.634],
  ["vit_base", 0.361, 1.076],
  ["vit_large", 1.194, 2.569],
  ["vit_huge", 2.382, 4.738],
])("operations of %s at 16 × 224 × 224", (name, target, step) => {
  const shape = modelShape(config("vitl16.yaml", `model.model_name=${name}`));
  const masks = [video(370, 755), video(113, 1093)];
  expect(totalFlops(stepFlops(shape, [], 1)) / 1e12).toBeCloseTo(target, 3);
  expect(totalFlops(stepFlops(shape, masks, 1)) / 1e12).toBeCloseTo(step, 2);
});

test("mean lengths of the published masks", () => {
  const resolved = config("vitl16.yaml");
  const [many, few] = meanMaskLengths(resolved, modelShape(resolved));
  // Means over many batches of 24 of the published sampler: 370 → 755, 113 → 1093.
  expect(Math.abs((many?.context.video ?? 0) - 370)).toBeLessThan(60);
  expect(Math.abs((many?.target.video ?? 0) - 755)).toBeLessThan(80);
  expect(Math.abs((few?.context.video ?? 0) - 113)).toBeLessThan(40);
  expect(Math.abs((few?.target.video ?? 0) - 1093)).toBeLessThan(80);
});

test("lengths without truncation add up to the grid; tubes are exact", () => {
  const whole = config("av-vitt16.yaml", "data.mask_mode=unbiased");
  for (const { context, target } of meanMaskLengths(whole, modelShape(whole))) {
    expect(context.video + target.video).toBeCloseTo(1568, 6);
    expect(context.audio + target.audio).toBeCloseTo(104, 6);
  }
  const tubes = config(
    "vitl16.yaml",
    "data.mask_type=random_tube",
    "mask=[{ratio: 0.9}]",
  );
  expect(meanMaskLengths(tubes, modelShape(tubes))).toEqual([video(152, 1416)]);
});

const run = [
  "model.embed_dim=96",
  "model.depth=4",
  "model.num_heads=3",
  "model.pred_embed_dim=48",
  "model.pred_depth=3",
  "model.pred_num_heads=3",
  "data.crop_size=64",
  "data.batch_size=8",
];

test.each([
  [[]],
  [["meta.dtype=bfloat16"]],
  [["optimization.activation_checkpointing=block"]],
  // Little predictor, much target: its pass is the worst moment.
  [
    [
      "model.embed_dim=384",
      "model.num_heads=6",
      "model.pred_depth=1",
      "mask=[]",
    ],
  ],
])("the memory estimate is what a step takes: %p", async (set) => {
  const small = set.includes("mask=[]");
  const resolved = config(
    "vitl16.yaml",
    ...run,
    "meta.dtype=float32",
    ...set.filter((word) => word !== "mask=[]"),
  );
  const masks = small
    ? [video(2, 4), video(4, 2)]
    : [video(40, 70), video(16, 100)];
  const estimate = planMemory(resolved, modelShape(resolved), masks);
  const before = (await settledMemory()).bytes;
  const models = buildModels(resolved, "cpu");
  const adamw = new optim.AdamW([models.encoder, models.predictor]);
  const trainer = {
    config: resolved,
    device: "cpu",
    models,
    adamw,
    collective: single,
  };
  const clips = Array.from({ length: 8 }, (_, index) => ({
    pass: 0,
    index,
    clip: 0,
  }));
  const batch = { ...noiseBatch(8, 64, 128, masks), clips };
  const step = {
    lr: 1e-4,
    wd: 0,
    momentum: 0.9,
    clip: 10,
    sampleFeatures: false,
  };
  await trainStep(trainer, [batch], { ...step, step: 1 });
  await synchronize();
  resetPeakMemory();
  await trainStep(trainer, [batch], { ...step, step: 2 });
  const real = memory().peakBytes - before;
  expect(estimate.total / real).toBeGreaterThan(0.8);
  expect(estimate.total / real).toBeLessThan(1.25);
  adamw.dispose();
  for (const model of Object.values(models)) model.dispose();
});

function noiseBatch(
  clips: number,
  crop: number,
  tokens: number,
  masks: readonly MaskLength[],
) {
  const range = (from: number, length: number) =>
    Int32Array.from({ length }, (_, i) => from + i);
  const every = (lists: Int32Array[]) =>
    packMasks({
      video: lists.map((list) => Array.from({ length: clips }, () => list)),
    });
  return {
    upload: (device: string) => ({
      video: tensor(
        new Uint8Array(clips * 16 * crop * crop * 3).fill(77),
        [clips, 16, crop, crop, 3],
        { device },
      ),
    }),
    present: allTokens(clips, { video: tokens }),
    context: every(masks.map(({ context }) => range(0, context.video))),
    targets: every(
      masks.map(({ context, target }) => range(context.video, target.video)),
    ),
  };
}

test("the plan reads as lines", () => {
  const resolved = config("av-vitt16.yaml", "data.audio.duration=1.92");
  const plan = planRun(resolved, 1, {
    samples: 3000,
    device: "cpu (avx2, 2 threads)",
  });
  expect(plan.steps).toEqual({ epochs: 300, perEpoch: 300, total: 90_000 });
  expect(plan.tokens).toMatchObject({
    video: [8, 14, 14],
    audio: [8, 12],
    total: 1664,
  });
  const lines = formatPlan(plan);
  expect(lines[0]).toBe(
    "AV-JEPA   vit_tiny 5.7 M + predictor 21.5 M · cpu (avx2, 2 threads) · bfloat16 · 3,000 clips · runs/av-vitt16",
  );
  expect(lines[1]).toStartWith(
    "tokens    8 × 14 × 14 video + 8 × 12 audio = 1,664 a clip; mask 1:",
  );
  expect(lines.at(-1)).toStartWith(
    "run       90,000 steps (300 epochs × 300); checkpoints of ",
  );
});

test("steps of one pass need the number of samples", () => {
  const resolved = config("vitl16.yaml", "optimization.ipe=null");
  expect(planRun(resolved, 1).steps).toMatchObject({ total: null });
  expect(planRun(resolved, 1, { samples: 240 }).steps).toMatchObject({
    perEpoch: 10,
    total: 3000,
  });
  expect(formatPlan(planRun(resolved, 1)).at(-1)).toContain(
    "300 epochs of one pass over the data",
  );
});

test("checkpoint bytes are those of the files", () => {
  const resolved = config("vitl16.yaml", ...small);
  const { encoder, predictor, target } = buildModels(resolved, "cpu");
  const values = [encoder, predictor, target].reduce(
    (sum, model) => sum + model.parameterCount({ frozen: true }),
    0,
  );
  const learned = encoder.parameterCount() + predictor.parameterCount();
  expect(planRun(resolved, 1).checkpoint.bytes).toBe(
    4 * (values + 2 * learned),
  );
  for (const model of [encoder, predictor, target]) model.dispose();
});
