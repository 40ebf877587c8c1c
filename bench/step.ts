/** Times whole training steps on noise: forward, backward, clipping, AdamW, moving average. */

import {
  describeDevice,
  type DeviceCounters,
  deviceCounters,
  memory,
  requireGrad,
  resetPeakMemory,
  scope,
  synchronize,
  tensor,
} from "@avjepa/core";
import {
  audioGrid,
  joinProcesses,
  type LaunchPlan,
  loadPretrainConfig,
  makeTrainer,
  type MaskLength,
  modelShape,
  openDevice,
  type ResolvedPretrainConfig,
  stepFlops,
  totalFlops,
  type Trainer,
  trainStep,
} from "@avjepa/train";
import { join } from "node:path";
import {
  peakResidentBytes,
  resetPeak,
  residentBytes,
} from "./process_memory.ts";
import { syntheticBatch } from "./synthetic_batch.ts";
import { measure, median } from "./timing.ts";

/** What is measured. */
export interface StepOptions {
  app: "vjepa" | "avjepa";
  model: string;
  /** Clips a step. */
  batch: number;
  dtype: string;
  /** Steps that count. */
  steps: number;
  /** Steps before them. */
  warmup: number;
  checkpointing: boolean;
  /** Whether processes share the optimizer's moments out. */
  zero1: boolean;
  devices: readonly string[];
}

/** One line of `bench step --json`. */
export interface StepReport {
  median_s: number;
  min_s: number;
  samples_per_s: number;
  /** By the algorithm: see plan/flops.ts. */
  flops_per_step: number;
  /** Billions of these a second. */
  gflops: number;
  peak_rss_bytes: number;
  /** The process with the addon loaded, before there is a model. */
  idle_rss_bytes: number;
  /** What tensors hold between steps (weights, target, gradients, moments, the batch), and at most within one. */
  tensor_bytes: number;
  peak_tensor_bytes: number;
  /** What a device apart from the processor is asked for in a step. */
  device_counters?: DeviceCounters;
  device: string;
  threads: number;
  /** Of several processes; the rest of the report is rank 0's. */
  ranks?: RanksReport;
}

/** What it takes that there are several processes. */
export interface RanksReport {
  world: number;
  engine: string;
  /** Gradients, float32. */
  gradient_bytes: number;
  /** Sent, and received, by a process in a step. */
  sent_bytes: number;
  /** The gradients' sums alone, with nothing to compute meanwhile: the median. */
  sum_s: number;
}

/**
 * Tokens of a clip under V-JEPA's two masks: the means over batches of 24 of
 * its published lists, at 16 × 224 × 224. The sound's are those of 4 × 6 blocks
 * on 8 × 12 tokens.
 */
const maskLengths: readonly MaskLength[] = [
  { context: { video: 370, audio: 23 }, target: { video: 755, audio: 73 } },
  { context: { video: 113, audio: 57 }, target: { video: 1093, audio: 39 } },
];

/** Measures steps through the code that training runs, as one of the processes of `launch`. */
export async function benchStep(
  options: StepOptions,
  launch: LaunchPlan,
): Promise<StepReport> {
  const device = openDevice(launch.devices);
  const ranks = await joinProcesses(launch);
  const threads = Number(
    /(\d+) threads?/.exec(describeDevice(device))?.[1] ?? 1,
  );
  Bun.gc(true);
  const idle = residentBytes();
  resetPeak();
  const config = stepConfig(options);
  const trainer = makeTrainer(config, device, ranks);
  const { lr, weight_decay, ema, clip_grad } = config.optimization;
  const settings = {
    lr,
    wd: weight_decay,
    momentum: ema[0],
    clip: clip_grad,
    sampleFeatures: false,
  };
  const masks = maskLengths.map((mask) => audible(mask, options.app));
  const batch = makeBatch(config, masks);
  let step = 0;
  const take = () => trainStep(trainer, [batch], { ...settings, step: ++step });
  const seconds = await measure(take, {
    times: options.steps,
    warmUp: options.warmup,
  });
  // Steps are measured back to back: the most that is held within one is that of one step more.
  await synchronize(device);
  resetPeakMemory(device);
  const { bytes } = memory(device);
  const counters = await countStep(device, take);
  const { peakBytes } = memory(device);
  const flops = totalFlops(stepFlops(modelShape(config), masks, options.batch));
  const middle = median(seconds);
  const several =
    ranks.world > 1 ? { ranks: await benchRanks(trainer, options) } : {};
  await ranks.close();
  return {
    median_s: middle,
    min_s: Math.min(...seconds),
    samples_per_s: options.batch / middle,
    flops_per_step: flops,
    gflops: flops / middle / 1e9,
    peak_rss_bytes: peakResidentBytes(),
    idle_rss_bytes: idle,
    tensor_bytes: bytes,
    peak_tensor_bytes: peakBytes,
    ...(device === "cpu" ? {} : { device_counters: counters }),
    device,
    threads,
    ...several,
  };
}

/** What the device does for one step more. */
async function countStep(
  device: string,
  take: () => Promise<unknown>,
): Promise<DeviceCounters> {
  const before = deviceCounters(device);
  await take();
  await synchronize(device);
  const after = deviceCounters(device);
  return {
    dispatches: after.dispatches - before.dispatches,
    submissions: after.submissions - before.submissions,
    uploaded: after.uploaded - before.uploaded,
    downloaded: after.downloaded - before.downloaded,
  };
}

/** Times the sums of a step's gradients by themselves. */
async function benchRanks(
  { adamw, collective }: Trainer,
  { steps, warmup }: StepOptions,
): Promise<RanksReport> {
  const groups = adamw.gradientGroups;
  const bytes = groups.reduce((n, { gradients }) => n + 4 * gradients.size, 0);
  const seconds = await measure(
    async () => {
      await collective.barrier();
      // A loss of nothing: all gradients are final at once.
      scope(() =>
        collective.backward(requireGrad(tensor([0], [1])).sum(), groups),
      );
      await groups[0]?.gradients.slice(0, 0, 1).toNumbers();
    },
    { times: steps, warmUp: warmup },
  );
  const { world, engine } = collective;
  return {
    world,
    engine,
    gradient_bytes: bytes,
    sent_bytes: Math.round((2 * (world - 1) * bytes) / world),
    sum_s: median(seconds),
  };
}

/** The shipped configuration of the app, at another size. */
function stepConfig(options: StepOptions): ResolvedPretrainConfig {
  const file = { vjepa: "vitl16.yaml", avjepa: "av-vitt16.yaml" }[options.app];
  const path = join(import.meta.dir, "..", "configs", "pretrain", file);
  const checkpointing = options.checkpointing ? "block" : "none";
  return loadPretrainConfig(path, {
    set: [
      "data.datasets=[noise.csv]",
      `data.batch_size=${options.batch}`,
      `model.model_name=${options.model}`,
      `meta.dtype=${options.dtype}`,
      `optimization.activation_checkpointing=${checkpointing}`,
      `optimization.zero1=${options.zero1}`,
      // 8 × 12 tokens of sound.
      ...(options.app === "avjepa" ? ["data.audio.duration=1.92"] : []),
    ],
  }).config;
}

function audible(mask: MaskLength, app: StepOptions["app"]): MaskLength {
  if (app === "avjepa") return mask;
  const { context, target } = mask;
  return { context: { ...context, audio: 0 }, target: { ...target, audio: 0 } };
}

function makeBatch(
  config: ResolvedPretrainConfig,
  masks: readonly MaskLength[],
) {
  const { data } = config;
  const { video, audio } = modelShape(config);
  const grid = audioGrid(config);
  return syntheticBatch(
    data.batch_size,
    {
      frames: data.num_frames,
      crop: data.crop_size,
      videoTokens: video.tokens,
      audio: audio && {
        mel: grid.rows * grid.patch,
        frames: grid.cols * grid.patch,
        tokens: audio.tokens,
      },
    },
    masks,
  );
}
