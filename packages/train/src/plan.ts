/**
 * What a run will be, worked out without building it: parameters, tokens,
 * memory, operations, steps, checkpoints.
 */

import type { ResolvedPretrainConfig } from "./config/index.ts";
import { formatBytes } from "./log/progress.ts";
import { type Flops, stepFlops, totalFlops } from "./plan/flops.ts";
import { type MaskLength, meanMaskLengths } from "./plan/lengths.ts";
import { type MemoryPlan, planMemory } from "./plan/memory.ts";
import {
  encoderParameters,
  type ModelShape,
  modelShape,
  predictorParameters,
} from "./plan/shape.ts";

/** See the module. Figures are of one process unless they say otherwise. */
export interface Plan {
  app: ResolvedPretrainConfig["app"];
  modelName: string;
  /** Learned values. */
  parameters: { encoder: number; predictor: number };
  tokens: {
    /** `[time, rows, columns]`; null where the run sees no video. */
    video: readonly number[] | null;
    /** `[mel rows, time columns]`; null where it hears nothing. */
    audio: readonly number[] | null;
    /** Of a whole clip. */
    total: number;
    /** Means over clips, in the order of `mask`. */
    masks: readonly MaskLength[];
  };
  batch: {
    clips: number;
    gradAccum: number;
    world: number;
    /** Clips an optimizer step takes over all processes. */
    total: number;
  };
  memory: MemoryPlan;
  /** An optimizer step's. */
  flops: Flops;
  dtype: string;
  /** What runs it, for people. */
  device: string | null;
  /** Files of the indexes; null where they have not been read. */
  samples: number | null;
  steps: { epochs: number; perEpoch: number | null; total: number | null };
  /** Bytes of one checkpoint, and how many the folder has at once: one more while the newest is written. */
  checkpoint: { bytes: number; most: number };
  folder: string;
}

/** What the plan is told besides the configuration. */
export interface PlanFacts {
  /** Samples the indexes have. */
  samples?: number;
  /** `cpu (avx512bf16, 2 threads)` */
  device?: string;
}

/**
 * The plan of a run.
 *
 * @param world processes.
 * @example for (const line of formatPlan(planRun(config, 1))) console.log(line);
 */
export function planRun(
  config: ResolvedPretrainConfig,
  world: number,
  facts: PlanFacts = {},
): Plan {
  const { data, meta, optimization } = config;
  const shape = modelShape(config);
  const encoder = encoderParameters(shape);
  const predictor = predictorParameters(shape);
  const masks = meanMaskLengths(config, shape);
  const clips = data.batch_size * data.num_clips * optimization.grad_accum;
  const { samples = null } = facts;
  const perEpoch = optimization.ipe ?? onePass(config, samples);
  return {
    app: config.app,
    modelName: config.model.model_name,
    parameters: { encoder: encoder.learned, predictor: predictor.learned },
    tokens: { ...grids(shape), masks },
    batch: {
      clips: data.batch_size,
      gradAccum: optimization.grad_accum,
      world,
      total: optimization.batch_size_total,
    },
    memory: planMemory(config, shape, masks, world),
    flops: stepFlops(shape, masks, clips),
    dtype: meta.dtype,
    device: facts.device ?? null,
    samples,
    steps: {
      epochs: optimization.epochs,
      perEpoch,
      total: perEpoch === null ? null : perEpoch * optimization.epochs,
    },
    checkpoint: {
      bytes: checkpointBytes(encoder, predictor),
      most: meta.keep_checkpoints + 1,
    },
    folder: config.logging.folder,
  };
}

function grids({ video, audio }: ModelShape): Omit<Plan["tokens"], "masks"> {
  const seen = video.seen ? video : null;
  const heard = audio?.seen ? audio : null;
  return {
    video: seen?.grid ?? null,
    audio: heard?.grid ?? null,
    total: (seen?.tokens ?? 0) + (heard?.tokens ?? 0),
  };
}

/** Whole steps of one pass over the data. */
function onePass(
  { optimization }: ResolvedPretrainConfig,
  samples: number | null,
): number | null {
  return samples === null
    ? null
    : Math.max(1, Math.floor(samples / optimization.batch_size_total));
}

/** Three models' values, and two moments of what is learned. */
function checkpointBytes(
  encoder: { learned: number; frozen: number },
  predictor: { learned: number; frozen: number },
): number {
  const values = 2 * (encoder.learned + encoder.frozen) + predictor.learned;
  const moments = 2 * (encoder.learned + predictor.learned);
  return 4 * (values + predictor.frozen + moments);
}

/**
 * Lines for people.
 *
 * @example
 * AV-JEPA   vit_tiny 5.7 M + predictor 21.5 M · cpu (avx512bf16, 2 threads) · bfloat16 · 3,000 clips · runs/demo
 * tokens    8 × 14 × 14 video + 8 × 12 audio = 1,664; mask 1: 386 context, 813 targets; mask 2: …
 */
export function formatPlan(plan: Plan): string[] {
  const { parameters, memory, steps, checkpoint, batch, samples } = plan;
  const first = [
    `${plan.modelName} ${millions(parameters.encoder)} + predictor ${millions(parameters.predictor)}`,
    ...(plan.device === null ? [] : [plan.device]),
    plan.dtype,
    ...(samples === null
      ? []
      : [`${count(samples)} ${samples === 1 ? "clip" : "clips"}`]),
    plan.folder,
  ];
  const processes =
    batch.world === 1 ? "1 process" : `${batch.world} processes`;
  const parts = (
    [
      "weights",
      "gradients",
      "moments",
      "target",
      "activations",
      "batch",
    ] as const
  ).map((part) => `${part} ${formatBytes(memory[part])}`);
  const run =
    steps.total === null
      ? `${count(steps.epochs)} epochs of one pass over the data`
      : `${count(steps.total)} steps (${count(steps.epochs)} epochs × ${count(steps.perEpoch ?? 0)})`;
  const rows: [name: string, text: string][] = [
    [plan.app === "vjepa" ? "V-JEPA" : "AV-JEPA", first.join(" · ")],
    ["tokens", formatTokens(plan)],
    [
      "batch",
      `${count(batch.clips)} clips × ${processes} × ${count(batch.gradAccum)} accumulated = ${count(batch.total)} a step`,
    ],
    ["memory", `${formatBytes(memory.total)} a process: ${parts.join(", ")}`],
    ["compute", `${formatFlop(totalFlops(plan.flops))} a step and process`],
    [
      "run",
      `${run}; checkpoints of ${formatBytes(checkpoint.bytes)}, at most ${checkpoint.most} at once`,
    ],
  ];
  return rows.map(([name, text]) => `${name.padEnd(8)}  ${text}`);
}

function formatTokens({ tokens }: Plan): string {
  const grids = [
    ...(tokens.video ? [`${tokens.video.join(" × ")} video`] : []),
    ...(tokens.audio ? [`${tokens.audio.join(" × ")} audio`] : []),
  ];
  const masks = tokens.masks.map(
    ({ context, target }, k) =>
      `mask ${k + 1}: ${count(context.video + context.audio)} context, ${count(target.video + target.audio)} targets`,
  );
  return [
    `${grids.join(" + ")} = ${count(tokens.total)} a clip`,
    ...masks,
  ].join("; ");
}

/** `1,234` */
const count = (x: number): string => Math.round(x).toLocaleString("en-US");

/** `5.6 M` */
const millions = (values: number): string =>
  values >= 1e9
    ? `${(values / 1e9).toFixed(2)} B`
    : `${(values / 1e6).toFixed(values < 1e6 ? 2 : 1)} M`;

/** `1.01 TFLOP` */
export function formatFlop(flop: number): string {
  const units = ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"];
  let value = flop;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toPrecision(3)} ${units[unit]}`;
}
