/**
 * How a step would scale over many GPUs: a small simulation, not a measurement.
 *
 * A step's operations, its gradients' bytes and their grouping are this
 * program's own; what GPUs and links do is assumed, and stated. Backward
 * finishes groups at an even pace; a group travels when it is finished and the
 * link is free; what is still on its way when backward ends is waited for.
 */

import {
  encoderParameters,
  loadPretrainConfig,
  meanMaskLengths,
  modelShape,
  predictorParameters,
  stepFlops,
  totalFlops,
} from "@avjepa/train";
import { join } from "node:path";

/** What the machines are taken to do. */
export interface Machines {
  name: string;
  /** Operations a second of a GPU that training reaches. */
  flops: number;
  /** GPUs of a node. */
  local: number;
  /** Bytes a second between GPUs of a node, each way, as reached. */
  inside: number;
  /** Bytes a second of a node to others, each way, as reached. */
  between: number;
  /** Seconds from one GPU to the next. */
  latency: number;
  /** Standard deviation of a step's time from rank to rank, relative: masks and clocks. */
  jitter: number;
}

/** H100s at 40 % of their peak in bfloat16; links at 80 % of theirs. */
export const machines: readonly Machines[] = [
  {
    name: "8 × H100 a node, NVLink, 8 × 400 Gb/s InfiniBand",
    flops: 400e12,
    local: 8,
    inside: 360e9,
    between: 8 * 40e9,
    latency: 5e-6,
    jitter: 0.02,
  },
  {
    name: "8 × H100 a node, NVLink, 100 Gb/s Ethernet",
    flops: 400e12,
    local: 8,
    inside: 360e9,
    between: 10e9,
    latency: 3e-5,
    jitter: 0.02,
  },
];

/** What is trained. */
export interface Work {
  model: string;
  /** Operations of a step, a clip. */
  flopsPerClip: number;
  /** Share of the step in which gradients are made. */
  backward: number;
  /** Bytes of the gradients: float32. */
  bytes: number;
}

/** Bytes of a group of gradients: 4 Mi values. */
const groupBytes = 16 * 1024 * 1024;

/** The shipped ViT-L and ViT-H runs, and ViT-g under ViT-H's. */
export function works(): Work[] {
  const configs: [file: string, set: string[]][] = [
    ["vitl16.yaml", []],
    ["vith16.yaml", []],
    ["vith16.yaml", ["model.model_name=vit_giant"]],
  ];
  return configs.map(([file, set]) => {
    const { config } = loadPretrainConfig(
      join(import.meta.dir, "../configs/pretrain", file),
      { set: [...set, "data.datasets=[clips.csv]"] },
    );
    const shape = modelShape(config);
    const masks = meanMaskLengths(config, shape);
    const flops = totalFlops(stepFlops(shape, masks, 1));
    const target = totalFlops(stepFlops(shape, [], 1));
    const learned =
      encoderParameters(shape).learned + predictorParameters(shape).learned;
    return {
      model: config.model.model_name,
      flopsPerClip: flops,
      // The target only runs forward; of the rest two thirds are backward.
      backward: ((flops - target) * (2 / 3)) / flops,
      bytes: 4 * learned,
    };
  });
}

/** Seconds that a group of `bytes` takes to be summed over `gpus`. */
export function reduceSeconds(
  { local, inside, between, latency }: Machines,
  gpus: number,
  bytes: number,
): number {
  const m = Math.min(gpus, local);
  const nodes = Math.ceil(gpus / local);
  // Reduce-scatter and all-gather within a node; between nodes, trees on each GPU's part.
  const own = (2 * (m - 1) * bytes) / (m * inside) + 2 * (m - 1) * latency;
  if (nodes === 1) return own;
  const others =
    (2 * (nodes - 1) * bytes) / (nodes * between) +
    2 * Math.log2(nodes) * latency;
  return own + others;
}

/** A step of one case. */
export interface ScaleRow {
  machines: string;
  model: string;
  gpus: number;
  clips_per_gpu: number;
  compute_s: number;
  /** Waited for after backward has ended. */
  exposed_s: number;
  /** Waited for by the ranks that are done before the slowest. */
  jitter_s: number;
  /** Of the time of one GPU alone. */
  efficiency: number;
}

/** Simulates a step. */
export function simulate(
  m: Machines,
  work: Work,
  gpus: number,
  clips: number,
): ScaleRow {
  const compute = (clips * work.flopsPerClip) / m.flops;
  const groups = Math.ceil(work.bytes / groupBytes);
  const begin = compute * (1 - work.backward);
  let free = 0;
  for (let i = 1; i <= groups && gpus > 1; i++) {
    const ready = begin + (compute * work.backward * i) / groups;
    free = Math.max(ready, free) + reduceSeconds(m, gpus, work.bytes / groups);
  }
  const exposed = Math.max(0, free - compute);
  // The largest of n normal deviations lies near √(2 ln n).
  const jitter = compute * m.jitter * Math.sqrt(2 * Math.log(gpus));
  return {
    machines: m.name,
    model: work.model,
    gpus,
    clips_per_gpu: clips,
    compute_s: compute,
    exposed_s: exposed,
    jitter_s: jitter,
    efficiency: compute / (compute + exposed + jitter),
  };
}

/** Clips of a step in the shipped runs, however many GPUs share them. */
const totalClips = 3072;

/** All cases: 24 clips a GPU, and 3,072 clips in all where that is another number. */
export function benchScale(): ScaleRow[] {
  const counts = [8, 16, 32, 64, 128, 256, 512, 1024];
  return machines.flatMap((m) =>
    works().flatMap((work) =>
      counts.flatMap((gpus) => {
        const shared = totalClips / gpus;
        const clips = shared < 24 ? [24, shared] : [24];
        return clips.map((n) => simulate(m, work, gpus, n));
      }),
    ),
  );
}

/** A table for people. */
export function formatScale(rows: readonly ScaleRow[]): string {
  const lines: string[] = [];
  let heading = "";
  for (const row of rows) {
    const title = `${row.model}, ${row.machines}`;
    if (title !== heading) {
      lines.push(
        "",
        title,
        "  GPUs  clips each  compute  exposed  uneven  efficiency",
      );
      heading = title;
    }
    const ms = (seconds: number) => `${(1000 * seconds).toFixed(0)} ms`;
    lines.push(
      [
        String(row.gpus).padStart(6),
        String(row.clips_per_gpu).padStart(10),
        ms(row.compute_s).padStart(8),
        ms(row.exposed_s).padStart(8),
        ms(row.jitter_s).padStart(7),
        `${(100 * row.efficiency).toFixed(1)} %`.padStart(10),
      ].join(" "),
    );
  }
  return lines.slice(1).join("\n");
}
