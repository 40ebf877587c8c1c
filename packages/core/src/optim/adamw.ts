/**
 * AdamW (Loshchilov & Hutter, arXiv 1711.05101) over flat groups, with
 * clipping and the target network's moving average in the same pass.
 */

import { AvjepaError } from "../error.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { keep } from "../scope.ts";
import { type Tensor, operation, zeros } from "../tensor.ts";
import { invoke } from "../transport.ts";
import { type Chunk, attachGradients, flatten, viewOf } from "./flat.ts";

export interface AdamWOptions {
  /** Default (0.9, 0.999). */
  betas?: readonly [number, number];
  /** Default 1e-8. */
  eps?: number;
  /** Names that are not decayed, besides biases and vectors. */
  noDecay?: (name: string) => boolean;
}

/** One step's settings. */
export interface AdamWStep {
  lr: number;
  /** Weight decay of parameters with two or more axes whose name has no "bias". */
  wd?: number;
  /** Largest L2 norm of each module's gradient; default no limit. */
  clip?: number | null;
  /** Moves `target`, a copy of one of the modules, towards it: `t = momentum·t + (1 − momentum)·p`. */
  ema?: { target: Module; momentum: number };
}

/** Gradients that lie together, and the parameters that they are of. */
export interface GradientGroup {
  /** A view of all of them. */
  gradients: Tensor;
  parameters: readonly Parameter[];
}

/** Elements of a {@link GradientGroup}: large enough to travel well, small enough that the first leaves early. */
const groupSize = 4 * 1024 * 1024;

/** State of one chunk. */
interface Slab {
  module: number;
  decayed: boolean;
  chunk: Chunk;
  grad: Tensor;
  m: Tensor;
  v: Tensor;
}

export class AdamW {
  readonly #modules: readonly Module[];
  readonly #slabs: Slab[];
  readonly #targets = new Map<Module, Map<Slab, Chunk>>();
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  #steps = 0;
  #groups: GradientGroup[] | undefined;

  /**
   * Moves the modules' learned parameters into flat groups, in the order:
   * decayed ones of each module, then the others of each module.
   */
  constructor(modules: readonly Module[], options: AdamWOptions = {}) {
    this.#modules = modules;
    this.#betas = options.betas ?? [0.9, 0.999];
    this.#eps = options.eps ?? 1e-8;
    const { noDecay = () => false } = options;
    const decays = (name: string, p: Parameter) =>
      isDecayed(name, p) && !noDecay(name);
    this.#slabs = [true, false].flatMap((decayed) =>
      modules.flatMap((module, i) =>
        flatten(
          learned(module).filter(([name, p]) => decays(name, p) === decayed),
        ).map((chunk) => {
          const { device, dtype } = chunk.data;
          const state = () => keep(zeros([chunk.length], { device, dtype }));
          return {
            module: i,
            decayed,
            chunk,
            grad: attachGradients(chunk),
            m: state(),
            v: state(),
          };
        }),
      ),
    );
  }

  /** Steps taken so far. */
  get steps(): number {
    return this.#steps;
  }

  /**
   * The gradients in groups, roughly in the order in which a backward pass
   * finishes with them: later modules first, and each from its end.
   */
  get gradientGroups(): readonly GradientGroup[] {
    this.#groups ??= this.#slabs
      .toSorted((a, b) => b.module - a.module)
      .flatMap(({ chunk, grad }) => {
        const groups: GradientGroup[] = [];
        let end = chunk.length;
        let parameters: Parameter[] = [];
        for (const { start, parameter } of chunk.places.toReversed()) {
          parameters.push(parameter);
          if (end - start < groupSize && start > 0) continue;
          const gradients = keep(
            operation("view", grad.device, [grad.handle, start, [end - start]]),
          );
          groups.push({ gradients, parameters });
          [end, parameters] = [start, []];
        }
        return groups;
      });
    return this.#groups;
  }

  /** Sets every gradient to zero. A step does so by itself. */
  zeroGrad(): void {
    for (const { grad } of this.#slabs) invoke("fill_", [grad.handle, 0]);
  }

  /**
   * Norms first, then one fused pass over each chunk: clip, AdamW, moving
   * average, zero the gradients.
   *
   * @returns the L2 norm of each module's gradient before clipping, `[1]` each.
   */
  step(options: AdamWStep): Tensor[] {
    const { lr, wd = 0, clip = null, ema } = options;
    const norms = this.#modules.map((module, i) => {
      const grads = this.#slabs
        .filter((slab) => slab.module === i)
        .map((slab) => slab.grad);
      const device =
        grads[0]?.device ?? module.parameters()[0]?.device ?? "cpu";
      return operation("norm", device, [grads.map((grad) => grad.handle)]);
    });
    const averages = ema && this.#average(ema.target);
    this.#steps += 1;
    for (const slab of this.#slabs) {
      invoke("adamw", [
        slab.chunk.data.handle,
        slab.grad.handle,
        slab.m.handle,
        slab.v.handle,
        averages?.get(slab)?.data.handle ?? null,
        null,
        clip === null ? null : (norms[slab.module]?.handle ?? null),
        clip ?? 0,
        lr,
        slab.decayed ? wd : 0,
        ...this.#betas,
        this.#eps,
        this.#steps,
        ema?.momentum ?? 0,
        true,
      ]);
    }
    return norms;
  }

  /** First and second moments by parameter: views, to be disposed by the caller. Keys are `{module}.{name}.{exp_avg|exp_avg_sq}`. */
  stateDict(): Record<string, Tensor> {
    const state: Record<string, Tensor> = {};
    for (const { module, chunk, m, v } of this.#slabs) {
      for (const place of chunk.places) {
        state[`${module}.${place.name}.exp_avg`] = viewOf(m, place);
        state[`${module}.${place.name}.exp_avg_sq`] = viewOf(v, place);
      }
    }
    return state;
  }

  /** Restores {@link stateDict} and the number of steps. @throws AvjepaError AVJ_STATE_DICT when a moment is missing or of another shape. */
  loadStateDict(state: Record<string, Tensor>, steps: number): void {
    const own = this.stateDict();
    try {
      for (const [name, view] of Object.entries(own)) {
        const values = state[name];
        if (values === undefined || values.shape.join() !== view.shape.join()) {
          const found = values
            ? `is [${values.shape.join(", ")}], not [${view.shape.join(", ")}]`
            : "is missing";
          throw new AvjepaError(
            "AVJ_STATE_DICT",
            `optimizer state: ${name} ${found}`,
            {
              hint: "the checkpoint is of another model",
            },
          );
        }
        invoke("copy_", [view.handle, values.handle]);
      }
    } finally {
      for (const view of Object.values(own)) view.dispose();
    }
    this.#steps = steps;
  }

  /** Frees gradients and moments; the parameters stay with their modules. */
  dispose(): void {
    for (const { gradients } of this.#groups ?? []) gradients[Symbol.dispose]();
    for (const { grad, m, v, chunk } of this.#slabs.splice(0)) {
      for (const tensor of [grad, m, v, chunk.data]) tensor[Symbol.dispose]();
    }
    for (const chunks of this.#targets.values()) {
      for (const chunk of chunks.values()) chunk.data[Symbol.dispose]();
    }
  }

  /** The target's parameters, laid out like the chunks of the module it is a copy of. */
  #average(target: Module): Map<Slab, Chunk> {
    const known = this.#targets.get(target);
    if (known) return known;
    const named = new Map(target.namedParameters());
    const own = this.#modules.findIndex((module) => {
      const names = learned(module);
      return (
        names.length > 0 &&
        names.every(
          ([name, p]) => named.get(name)?.shape.join() === p.shape.join(),
        )
      );
    });
    if (own < 0) {
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        "adamw.step: ema.target is no copy of any of the optimizer's modules",
      );
    }
    const chunks = new Map<Slab, Chunk>();
    for (const slab of this.#slabs.filter(({ module }) => module === own)) {
      const copies = slab.chunk.places.map(({ name }): [string, Parameter] => [
        name,
        named.get(name) as Parameter,
      ]);
      const [chunk] = flatten(copies);
      chunks.set(slab, chunk as Chunk);
    }
    this.#targets.set(target, chunks);
    return chunks;
  }
}

function learned(module: Module): [name: string, parameter: Parameter][] {
  return Array.from(module.namedParameters()).filter(([, p]) => p.requiresGrad);
}

/** The reference's rule: matrices and tokens are decayed, vectors and biases are not. */
function isDecayed(name: string, parameter: Parameter): boolean {
  return !name.includes("bias") && parameter.ndim !== 1;
}
