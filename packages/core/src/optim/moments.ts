/** AdamW's moments as they are saved: whole, by parameter, also where processes share them out. */

import { AvjepaError } from "../error.ts";
import { type HostTensor, readTensors } from "../safetensors.ts";
import { synchronize } from "../device.ts";
import { keep } from "../scope.ts";
import { type Tensor, zeros } from "../tensor.ts";
import { invoke } from "../transport.ts";
import { type Chunk, viewOf } from "./flat.ts";
import { type Part, type Shards, range } from "./shard.ts";

/** A chunk and its state. */
export interface Slab {
  module: number;
  decayed: boolean;
  chunk: Chunk;
  grad: Tensor;
  /** What of the chunk is updated here, and has moments here. */
  part: Part;
  m: Tensor;
  v: Tensor;
}

const kinds = ["exp_avg", "exp_avg_sq"] as const;

/** Moments that are whole here: views, to be disposed by the caller. */
export function viewMoments(slabs: readonly Slab[]): Record<string, Tensor> {
  const state: Record<string, Tensor> = {};
  for (const { module, chunk, m, v } of slabs) {
    for (const place of chunk.places) {
      state[`${module}.${place.name}.exp_avg`] = viewOf(m, place);
      state[`${module}.${place.name}.exp_avg_sq`] = viewOf(v, place);
    }
  }
  return state;
}

/** See AdamW.copyState. */
export async function copyMoments(
  slabs: readonly Slab[],
  shards: Shards | undefined,
  wanted: boolean,
): Promise<Record<string, HostTensor>> {
  const copies: Record<string, HostTensor> = {};
  for (const slab of slabs) {
    const whole = shards ? putTogether(slab, shards) : slab;
    const views = viewMoments([{ ...slab, ...whole }]);
    if (wanted) Object.assign(copies, await readTensors(views));
    // Not all chunks at once, where nothing else is waited for.
    else await synchronize(slab.chunk.data.device);
    for (const view of Object.values(views)) view.dispose();
    if (shards) for (const made of [whole.m, whole.v]) made.dispose();
  }
  return copies;
}

/** Whole moments of a slab, to be disposed. */
function putTogether(
  { chunk, part, m, v }: Slab,
  shards: Shards,
): Pick<Slab, "m" | "v"> {
  const whole = { m: emptyLike(chunk), v: emptyLike(chunk) };
  copyPart(m, whole.m, part, "out");
  copyPart(v, whole.v, part, "out");
  shards.allGather([whole.m, whole.v], [part.size, part.size]);
  return whole;
}

/** See AdamW.loadStateDict. */
export function loadMoments(
  slabs: readonly Slab[],
  areShared: boolean,
  state: Readonly<Record<string, Tensor>>,
): void {
  for (const { module, chunk, part, m, v } of slabs)
    for (const [kind, own] of [m, v].entries()) {
      const whole = areShared ? emptyLike(chunk) : own;
      try {
        for (const place of chunk.places) {
          const name = `${module}.${place.name}.${kinds[kind]}`;
          const values = checked(name, state[name], place.parameter.shape);
          const view = viewOf(whole, place);
          invoke("copy_", [view.handle, values.handle]);
          view.dispose();
        }
        if (areShared) copyPart(own, whole, part, "in");
      } finally {
        if (areShared) whole.dispose();
      }
    }
}

function emptyLike({ length, data }: Chunk): Tensor {
  return keep(zeros([length], { device: data.device, dtype: data.dtype }));
}

/** Copies a process's own moments into its part of the whole ones, or back out of it. */
function copyPart(
  own: Tensor,
  whole: Tensor,
  { start, length }: Part,
  way: "in" | "out",
): void {
  if (length === 0) return;
  const there = range(whole, start, start + length);
  const [to, from] = way === "out" ? [there, own] : [own, there];
  invoke("copy_", [to.handle, from.handle]);
  there.dispose();
}

/** A moment that fits its parameter. */
function checked(
  name: string,
  values: Tensor | undefined,
  shape: readonly number[],
): Tensor {
  if (values?.shape.join() === shape.join()) return values as Tensor;
  const found = values
    ? `is [${values.shape.join(", ")}], not [${shape.join(", ")}]`
    : "is missing";
  throw new AvjepaError("AVJ_STATE_DICT", `optimizer state: ${name} ${found}`, {
    hint: "the checkpoint is of another model",
  });
}
