/** The training of a grid of probes, step by step, so that it can stop and go on anywhere. */

import type { Tensor } from "@avjepa/core";
import { RandomStream } from "@avjepa/data";

import type { TokenSet } from "../tokens/token_set.ts";
import type { GridPoint, ProbeGrid, ProbeStep } from "./probe_grid.ts";
import { predictedClass } from "../metrics/top_k.ts";
import { addProbabilities } from "./predictions.ts";

/** A label, or several, of each sample of a set. */
export type Labels = readonly (number | readonly number[])[];

/** What is trained on, and how. */
export interface TrainOptions {
  /** One for each encoded pass; epochs take them in turn. They hold the same samples. */
  sets: readonly TokenSet[];
  /** Of each sample of the sets. */
  labels: Labels;
  /** The samples to train on. */
  samples: Int32Array;
  batch: number;
  epochs: number;
  seed: number;
  settings(step: number, point: GridPoint): ProbeStep;
}

/** How an epoch went, so far. */
export interface EpochSums {
  samples: number;
  /** By probe: loss times samples, and samples answered rightly (with one label each). */
  loss: number[];
  right: number[];
}

/** Goes through the epochs of a grid. */
export class ProbeTraining {
  /** Steps done. */
  step = 0;
  sums: EpochSums;
  readonly #grid: ProbeGrid;
  readonly #options: TrainOptions;
  #reading: Promise<void> = Promise.resolve();
  #order: { epoch: number; samples: Float64Array } | undefined;

  constructor(grid: ProbeGrid, options: TrainOptions) {
    this.#grid = grid;
    this.#options = options;
    this.sums = this.#zero();
  }

  /** Steps of an epoch: the last batch may be smaller. */
  get perEpoch(): number {
    const { samples, batch } = this.#options;
    return Math.ceil(samples.length / batch);
  }

  get steps(): number {
    return this.perEpoch * this.#options.epochs;
  }

  /** Epochs done. */
  get epoch(): number {
    return Math.floor(this.step / this.perEpoch);
  }

  /** Whether the last step ended an epoch. */
  get atEpochEnd(): boolean {
    return this.step % this.perEpoch === 0;
  }

  /**
   * Enqueues a step of every probe; what it came to is read while the next one
   * runs. {@link sums} is whole after {@link settle}, and at an epoch's end.
   */
  async next(): Promise<void> {
    const { sets, labels, samples, batch, settings } = this.#options;
    const epoch = this.epoch;
    if (this.atEpochEnd) this.sums = this.#zero();
    const at = (this.step % this.perEpoch) * batch;
    const order = this.#orderOf(epoch);
    const chosen = Array.from(
      order.subarray(at, at + batch),
      (i) => samples[i]!,
    );
    const grid = this.#grid;
    const input = sets[epoch % sets.length]!.batch(chosen, grid.device);
    const own = chosen.map((sample) => labels[sample]!);
    const targets = targetsOf(own, input.sampleOf, grid.classes);
    this.step += 1;
    const step = this.step;
    const results = grid.step(input, targets, (point) => settings(step, point));
    input.tokens.data.dispose();
    input.tokens.offsets.dispose();
    const before = this.#reading;
    this.#reading = this.#read(results, own, input.sampleOf);
    await before;
    if (this.atEpochEnd) await this.settle();
  }

  /** Waits for what has been enqueued. */
  async settle(): Promise<void> {
    await this.#reading;
  }

  async #read(
    results: readonly { loss: Tensor; logits: Tensor }[],
    labels: readonly (number | readonly number[])[],
    sampleOf: Int32Array,
  ): Promise<void> {
    const { sums } = this;
    const { classes, multiLabel } = this.#grid;
    await Promise.all(
      results.map(async ({ loss, logits }, i) => {
        const [mean, rows] = await Promise.all([
          loss.item(),
          logits.toArray() as Promise<Float32Array>,
        ]);
        loss.dispose();
        logits.dispose();
        sums.loss[i]! += labels.length * mean;
        if (multiLabel) return;
        const scores = new Float32Array(labels.length * classes);
        addProbabilities(rows, sampleOf, classes, false, scores);
        labels.forEach((label, s) => {
          const own = scores.subarray(s * classes, (s + 1) * classes);
          if (predictedClass(own) === label) sums.right[i]! += 1;
        });
      }),
    );
    sums.samples += labels.length;
  }

  #zero(): EpochSums {
    const zeros = () => this.#grid.points.map(() => 0);
    return { samples: 0, loss: zeros(), right: zeros() };
  }

  #orderOf(epoch: number): Float64Array {
    if (this.#order?.epoch !== epoch) {
      const { seed, samples } = this.#options;
      const stream = new RandomStream("sample", [seed, epoch, 0, 0]);
      const drawn = stream.draw("shuffle", [...samples.keys()]);
      this.#order = { epoch, samples: drawn };
    }
    return this.#order.samples;
  }
}

function targetsOf(
  labels: readonly (number | readonly number[])[],
  sampleOf: Int32Array,
  classes: number,
): Int32Array | Float32Array {
  if (labels.every((label) => typeof label === "number"))
    return sampleOf.map((sample) => labels[sample] as number);
  const targets = new Float32Array(sampleOf.length * classes);
  sampleOf.forEach((sample, row) => {
    for (const label of labels[sample] as readonly number[])
      targets[row * classes + label] = 1;
  });
  return targets;
}
