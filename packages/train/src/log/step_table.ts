/**
 * `{tag}_r{rank}.csv`: the reference's table, one row a step. The header is
 * written once, not at every start.
 */

import { AppendFile, cutLines } from "../files/append_file.ts";
import type { StepMetrics } from "./metrics_log.ts";

const header =
  "epoch,itr,loss,loss-jepa,reg-loss,enc-grad-norm,pred-grad-norm,gpu-time(ms),wall-time(ms)";

/** The table of one rank. */
export class StepTable {
  readonly #file: AppendFile;

  /** `ipe`: steps an epoch, which the column `itr` counts from 0. */
  constructor(
    path: string,
    readonly ipe: number,
  ) {
    this.#file = new AppendFile(path);
    if (this.#file.size === 0) this.#file.write(`${header}\n`);
  }

  /** Append a step; `deviceMs` is the device's own time, −1 where unknown. */
  write(metrics: StepMetrics, deviceMs = -1): void {
    const index = metrics.step - 1;
    const row = [
      Math.floor(index / this.ipe) + 1,
      index % this.ipe,
      metrics.loss.toFixed(5),
      metrics.loss_jepa.toFixed(5),
      metrics.loss_reg.toFixed(5),
      metrics.grad_norm_encoder.toFixed(5),
      metrics.grad_norm_predictor.toFixed(5),
      Math.trunc(deviceMs),
      Math.trunc(metrics.step_ms),
    ];
    this.#file.write(`${row.join(",")}\n`);
  }

  /** Keep the steps up to `step`. */
  truncateTo(step: number): void {
    cutLines(this.#file, (line) => {
      if (line === header) return false;
      const [epoch, itr] = line.split(",").map(Number);
      return !((epoch! - 1) * this.ipe + itr! + 1 <= step);
    });
    if (this.#file.size === 0) this.#file.write(`${header}\n`);
  }

  /** Close the file. */
  close(): void {
    this.#file.close();
  }
}
