/**
 * AdamW (Loshchilov & Hutter, arXiv 1711.05101) over flat groups, with
 * clipping and the target network's moving average in the same pass.
 */

import { AvjepaError } from "../error.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import type { HostTensor } from "../safetensors.ts";
import { keep } from "../scope.ts";
import { type Tensor, operation, zeros } from "../tensor.ts";
import { invoke } from "../transport.ts";
import { type Chunk, attachGradients, flatten } from "./flat.ts";
import { type Slab, copyMoments, loadMoments, viewMoments } from "./moments.ts";
import { type Shards, partOf, range } from "./shard.ts";

export interface AdamWOptions {
  /** Default (0.9, 0.999). */
  betas?: readonly [number, number];
  /** Default 1e-8. */
  eps?: number;
  /** Names that are not decayed, besides biases and vectors. */
  noDecay?: (name: string) => boolean;
  /** Processes that keep a part of the moments each; default: all of them here. */
  shards?: Shards;
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

export class AdamW {
  readonly #modules: readonly Module[];
  readonly #slabs: Slab[];
  readonly #targets = new Map<Module, Map<Slab, Chunk>>();
  readonly #betas: readonly [number, number];
  readonly #eps: number;
  readonly #shards: Shards | undefined;
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
    this.#shards = options.shards;
    const { noDecay = () => false } = options;
    const decays = (name: string, p: Parameter) =>
      isDecayed(name, p) && !noDecay(name);
    this.#slabs = [true, false].flatMap((decayed) =>
      modules.flatMap((module, i) =>
        flatten(
          learned(module).filter(([name, p]) => decays(name, p) === decayed),
        ).map((chunk) => {
          const { device, dtype } = chunk.data;
          const part = partOf(chunk, options.shards);
          const state = () => keep(zeros([part.length], { device, dtype }));
          return {
            module: i,
            decayed,
            chunk,
            grad: attachGradients(chunk),
            part,
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
    const { clip = null, ema } = options;
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
      const norm = clip === null ? null : (norms[slab.module] ?? null);
      this.#update(slab, averages?.get(slab), norm, options);
    }
    if (this.#shards) this.#putTogether(averages, ema?.momentum ?? 0);
    return norms;
  }

  /** The pass over what of a chunk is this process's. */
  #update(
    { chunk, grad, part, m, v, decayed }: Slab,
    average: Chunk | undefined,
    norm: Tensor | null,
    { lr, wd = 0, clip, ema }: AdamWStep,
  ): void {
    if (part.length === 0) return;
    const own = (tensor: Tensor) =>
      range(tensor, part.start, part.start + part.length);
    const views = [chunk.data, grad, ...(average ? [average.data] : [])];
    const [data, gradient, target] = views.map(own);
    invoke("adamw", [
      data?.handle ?? null,
      gradient?.handle ?? null,
      m.handle,
      v.handle,
      target?.handle ?? null,
      null,
      norm?.handle ?? null,
      clip ?? 0,
      lr,
      decayed ? wd : 0,
      ...this.#betas,
      this.#eps,
      this.#steps,
      ema?.momentum ?? 0,
      true,
    ]);
    for (const view of [data, gradient, target]) view?.dispose();
  }

  /** Gets the others' parts, and does with them what the pass does with the own. */
  #putTogether(averages: Map<Slab, Chunk> | undefined, momentum: number): void {
    this.#shards?.allGather(
      this.#slabs.map(({ chunk }) => chunk.data),
      this.#slabs.map(({ part }) => part.size),
    );
    for (const slab of this.#slabs) {
      const { chunk, part } = slab;
      const target = averages?.get(slab)?.data;
      for (const [start, end] of [
        [0, part.start],
        [part.start + part.length, chunk.length],
      ] as const) {
        if (start === end || !target) continue;
        const [old, now] = [target, chunk.data].map((t) =>
          range(t, start, end),
        );
        invoke("ema_", [old?.handle ?? null, now?.handle ?? null, momentum]);
        old?.dispose();
        now?.dispose();
      }
    }
    this.zeroGrad();
  }

  /**
   * First and second moments by parameter: views, to be disposed by the caller.
   * Keys are `{module}.{name}.{exp_avg|exp_avg_sq}`.
   *
   * @throws AvjepaError AVJ_ARGUMENT where they are shared out: see {@link copyState}.
   */
  stateDict(): Record<string, Tensor> {
    if (this.#shards)
      throw new AvjepaError(
        "AVJ_ARGUMENT",
        "adamw.stateDict: the moments are shared out over processes",
        { hint: "copyState puts them together, called by all of them" },
      );
    return viewMoments(this.#slabs);
  }

  /**
   * Copies {@link stateDict} to the host, a chunk at a time, whole also where
   * it is shared out: then every process calls it, and may do without the copy.
   */
  async copyState(wanted = true): Promise<Record<string, HostTensor>> {
    return copyMoments(this.#slabs, this.#shards, wanted);
  }

  /** Restores {@link stateDict}, always whole, and the number of steps. @throws AvjepaError AVJ_STATE_DICT when a moment is missing or of another shape. */
  loadStateDict(state: Record<string, Tensor>, steps: number): void {
    loadMoments(this.#slabs, this.#shards !== undefined, state);
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
