/** Many attentive probes trained at once on the same tokens. */

import {
  autocast,
  binaryCrossEntropy,
  crossEntropy,
  noGrad,
  optim,
  scope,
  type Tensor,
  tensor,
} from "@avjepa/core";
import { AttentiveClassifier, type Projection } from "@avjepa/models";

import type { TokenBatch } from "../tokens/token_set.ts";

/** What distinguishes a probe of the grid. */
export interface GridPoint {
  lr: number;
  weight_decay: number;
  depth: number;
}

/** What the probes have in common. */
export interface ProbeShape {
  dim: number;
  numHeads: number;
  classes: number;
  projection: Projection;
  blocks: "after" | "before";
  /** Several labels a sample: binary cross-entropy. */
  multiLabel: boolean;
}

/** Where and how they are trained. */
export interface ProbeGridOptions extends ProbeShape {
  seed: number;
  device: string;
  /** Matrix products in bfloat16; losses are float32 anyway. */
  bfloat16: boolean;
  /** Largest L2 norm of a probe's gradient. */
  clip: number | null;
}

/** One step's settings of a probe. */
export interface ProbeStep {
  lr: number;
  wd: number;
}

/** All points of a grid, depths varying slowest. */
export function gridPoints(grid: {
  lr: readonly number[];
  weight_decay: readonly number[];
  depth: readonly number[];
}): GridPoint[] {
  return grid.depth.flatMap((depth) =>
    grid.weight_decay.flatMap((weight_decay) =>
      grid.lr.map((lr) => ({ lr, weight_decay, depth })),
    ),
  );
}

/** Probes of the same initial values, each with an optimizer of its own. */
export class ProbeGrid implements Disposable {
  readonly points: readonly GridPoint[];
  readonly probes: readonly AttentiveClassifier[];
  readonly #adamw: readonly optim.AdamW[];
  readonly #options: ProbeGridOptions;

  constructor(points: readonly GridPoint[], options: ProbeGridOptions) {
    const { dim, numHeads, classes, projection, blocks, seed, device } =
      options;
    this.points = points;
    this.#options = options;
    this.probes = points.map(
      ({ depth }) =>
        new AttentiveClassifier({
          dim,
          numHeads,
          classes,
          projection,
          blocks,
          depth,
          seed,
          device,
        }),
    );
    this.#adamw = this.probes.map((probe) => new optim.AdamW([probe]));
  }

  get classes(): number {
    return this.#options.classes;
  }

  get multiLabel(): boolean {
    return this.#options.multiLabel;
  }

  get device(): string {
    return this.#options.device;
  }

  /** `[S, classes]` logits of a probe, float32. */
  logits(i: number, batch: TokenBatch): Tensor {
    const run = () => this.probes[i]!.forward(batch.tokens);
    return scope(() => {
      const found = this.#options.bfloat16 ? autocast("bfloat16", run) : run();
      return found.dtype === "float32" ? found : found.cast("float32");
    });
  }

  /**
   * One step of every probe.
   *
   * @param targets `[S]` classes, or `[S, classes]` zeros and ones.
   * @returns loss and logits of each, to be disposed by the caller.
   */
  step(
    batch: TokenBatch,
    targets: Int32Array | Float32Array,
    settings: (point: GridPoint) => ProbeStep,
  ): { loss: Tensor; logits: Tensor }[] {
    const { clip, device, classes } = this.#options;
    return this.points.map((point, i) =>
      scope(() => {
        const logits = this.logits(i, batch);
        const rows = batch.sampleOf.length;
        const loss =
          targets instanceof Int32Array
            ? crossEntropy(logits, tensor(targets, [rows], { device })).mean()
            : binaryCrossEntropy(
                logits,
                tensor(targets, [rows, classes], { device }),
              ).mean();
        loss.backward();
        this.#adamw[i]!.step({ ...settings(point), clip });
        return { loss: loss.detach(), logits: logits.detach() };
      }),
    );
  }

  /** Logits of some probes, without gradients. */
  predict(batch: TokenBatch, which: readonly number[]): Tensor[] {
    return scope(() => noGrad(() => which.map((i) => this.logits(i, batch))));
  }

  /** Weights by `{probe}.{name}`: not copies. */
  weights(): Record<string, Tensor> {
    return Object.fromEntries(
      this.probes.flatMap((probe, i) =>
        Array.from(probe.namedParameters(`${i}.`)),
      ),
    );
  }

  /** Moments by `{probe}.{name}.{exp_avg|exp_avg_sq}`: views, to be disposed by the caller. */
  moments(): Record<string, Tensor> {
    return Object.fromEntries(
      this.#adamw.flatMap((adamw, i) =>
        Object.entries(adamw.stateDict()).map(([name, values]) => [
          name.replace(/^0\./, `${i}.`),
          values,
        ]),
      ),
    );
  }

  /** Restores {@link weights} and {@link moments} after `steps` steps. @throws AvjepaError AVJ_STATE_DICT */
  restore(
    weights: Record<string, Tensor>,
    moments: Record<string, Tensor>,
    steps: number,
  ): void {
    this.probes.forEach((probe, i) => {
      probe.loadStateDict(below(weights, `${i}.`, ""));
      this.#adamw[i]!.loadStateDict(below(moments, `${i}.`, "0."), steps);
    });
  }

  [Symbol.dispose](): void {
    for (const adamw of this.#adamw) adamw.dispose();
    for (const probe of this.probes) probe.dispose();
  }
}

function below(
  values: Record<string, Tensor>,
  prefix: string,
  replacement: string,
): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(values)
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, value]) => [replacement + name.slice(prefix.length), value]),
  );
}
