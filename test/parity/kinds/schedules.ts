/** Learning rate, weight decay and momentum by step. */

import type { ParityCase } from "../case.ts";
import {
  makeSchedules,
  type Schedules,
} from "../../../packages/train/src/schedules.ts";

/** The schedules of a case's settings. */
export function schedulesOf({ hyper }: ParityCase): Schedules {
  return makeSchedules({
    ipe: hyper.ipe,
    epochs: hyper.epochs,
    ipeScale: hyper.ipe_scale,
    warmup: hyper.warmup,
    startLr: hyper.start_lr,
    lr: hyper.lr,
    finalLr: hyper.final_lr,
    weightDecay: hyper.wd,
    finalWeightDecay: hyper.final_wd,
    ema: hyper.ema,
  });
}

export function runSchedules(given: ParityCase): void {
  const { lrAt, wdAt, emaAt } = schedulesOf(given);
  const series = {
    lr: (i: number) => lrAt(i + 1),
    wd: (i: number) => wdAt(i + 1),
    ema: emaAt,
  };
  for (const [name, at] of Object.entries(series)) {
    if (!given.has(name)) continue;
    const [length = 0] = given.shape(name);
    given.compare(
      name,
      Float64Array.from({ length }, (_, i) => at(i)),
    );
  }
}
