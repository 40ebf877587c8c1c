/** `metrics.jsonl`: one JSON object a step. */

import { AppendFile, cutLines } from "../files/append_file.ts";

/**
 * What a step reports. The names are `metrics.jsonl`'s; those that a run does
 * not measure are left out.
 */
export interface StepMetrics {
  /** Optimizer steps done, this one included; from 1. */
  step: number;
  /** From 1. */
  epoch: number;
  loss: number;
  loss_jepa: number;
  loss_reg: number;
  lr: number;
  wd: number;
  /** Momentum of the target after this step. */
  momentum: number;
  /** L2 norms before clipping. */
  grad_norm_encoder: number;
  grad_norm_predictor: number;
  /** Wall time of the step, in milliseconds. */
  step_ms: number;
  /** Of it, waiting for data. */
  data_ms: number;
  clips_per_s: number;
  /** Bytes of tensors on the device. */
  memory_bytes: number;
  /** Tokens of all sequences of the step. */
  tokens_context: number;
  tokens_target: number;
  /** Standard deviation of the features over the samples; at its interval. */
  feature_std_video?: number;
  feature_std_audio?: number;
  /** exp of the entropy of the features' spectrum; at its interval. */
  effective_rank?: number;
  /** Loss on the held-out index; at its interval. */
  loss_held_out?: number;
  /** Further named terms of the loss: `loss_video`, `loss_audio`, … */
  [term: string]: number | undefined;
}

/** Keys of {@link StepMetrics} that differ between two equal runs. */
export const timeKeys: readonly string[] = [
  "step_ms",
  "data_ms",
  "clips_per_s",
  "memory_bytes",
];

/** The file. Numbers that are not finite are written as null. */
export class MetricsLog {
  readonly #file: AppendFile;

  constructor(path: string) {
    this.#file = new AppendFile(path);
  }

  /** Append a step. */
  write(metrics: StepMetrics): void {
    this.#file.write(`${JSON.stringify(metrics)}\n`);
  }

  /** Keep the steps up to `step`. */
  truncateTo(step: number): void {
    cutLines(this.#file, (line) => {
      try {
        const { step: at } = JSON.parse(line) as { step: unknown };
        return typeof at !== "number" || at > step;
      } catch {
        return true;
      }
    });
  }

  /** All values written of `key`, in order. */
  valuesOf(key: string): number[] {
    return this.#file
      .read()
      .toString()
      .split("\n")
      .filter((line) => line.includes(`"${key}":`))
      .flatMap((line) => (JSON.parse(line) as StepMetrics)[key] ?? []);
  }

  /** Close the file. */
  close(): void {
    this.#file.close();
  }
}
