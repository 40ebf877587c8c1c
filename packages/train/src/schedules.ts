/**
 * The three schedules of pretraining, as closed forms of the step: resuming
 * needs a step number and nothing else, and two runs agree at a step however
 * they came there.
 *
 * With `ipe` iterations an epoch, `epochs` E and the stretch `ipeScale` c:
 *
 *     Tw = trunc(warmup · ipe)        Tm = trunc(c · E · ipe) − Tw
 *     lr(t) = start + t / max(1, Tw) · (ref − start)                     t < Tw
 *           = max(final, final + (ref − final) · ½(1 + cos π(t − Tw) / max(1, Tm)))
 *     wd(t) = final + (ref − final) · ½(1 + cos πt / trunc(c · E · ipe))
 *     m(i)  = m₀ + i · (m₁ − m₀) / (ipe · E · c)
 *
 * `t` counts from 1 (the schedules advance before the step), `i` from 0 (the
 * target follows after it). Source: V-JEPA, arXiv:2404.08471, appendix, and
 * its published training code.
 */

/** What the schedules are made from; the names of the configuration. */
export interface ScheduleOptions {
  /** Optimizer steps an epoch. */
  ipe: number;
  /** Epochs of the run. */
  epochs: number;
  /** Stretches every schedule beyond the run, so that it ends before they do. */
  ipeScale: number;
  /** Epochs of linear warm-up of the learning rate; may be a fraction. */
  warmup: number;
  startLr: number;
  lr: number;
  finalLr: number;
  weightDecay: number;
  finalWeightDecay: number;
  /** Momentum of the target encoder, at the first step and at the last. */
  ema: readonly [number, number];
}

/** The schedules of one run. */
export interface Schedules {
  /** Learning rate of step `t`, from 1. */
  lrAt(t: number): number;
  /** Weight decay of step `t`, from 1. */
  wdAt(t: number): number;
  /** Momentum of the target after step `i`, from 0; stays at its end value. */
  emaAt(i: number): number;
  /** Steps of the run: `ipe · epochs`. */
  totalSteps: number;
  /** Steps over which the schedules stretch: `trunc(ipeScale · epochs · ipe)`. */
  scheduleSteps: number;
  /** Steps of warm-up. */
  warmupSteps: number;
}

/**
 * Build the schedules of a run.
 *
 * @example
 * const schedules = makeSchedules({ ipe: 300, epochs: 300, ipeScale: 1.25, … });
 * schedules.lrAt(1); // 2.0003541666666668e-4
 */
export function makeSchedules(options: ScheduleOptions): Schedules {
  const { ipe, epochs, ipeScale, startLr, lr, finalLr } = options;
  const { weightDecay, finalWeightDecay } = options;
  const [ema0, ema1] = options.ema;
  const warmupSteps = Math.trunc(options.warmup * ipe);
  const scheduleSteps = Math.trunc(ipeScale * epochs * ipe);
  const decaySteps = Math.max(1, scheduleSteps - warmupSteps);
  const emaSteps = ipe * epochs * ipeScale;

  const cosine = (from: number, to: number, progress: number): number =>
    to + (from - to) * 0.5 * (1 + Math.cos(Math.PI * progress));

  return {
    totalSteps: ipe * epochs,
    scheduleSteps,
    warmupSteps,
    lrAt(t) {
      if (t < warmupSteps)
        return startLr + (t / Math.max(1, warmupSteps)) * (lr - startLr);
      return Math.max(
        finalLr,
        cosine(lr, finalLr, (t - warmupSteps) / decaySteps),
      );
    },
    wdAt(t) {
      const wd = cosine(
        weightDecay,
        finalWeightDecay,
        t / Math.max(1, scheduleSteps),
      );
      return finalWeightDecay <= weightDecay
        ? Math.max(finalWeightDecay, wd)
        : Math.min(finalWeightDecay, wd);
    },
    emaAt: (i) =>
      i >= emaSteps ? ema1 : ema0 + (i * (ema1 - ema0)) / emaSteps,
  };
}
