/**
 * Flat groups: parameters lie one after another in a few large chunks, each
 * parameter a view. One kernel then updates a whole chunk, one message reduces
 * it over ranks, one write saves it.
 */

import { type Parameter } from "../nn/parameter.ts";
import { keep } from "../scope.ts";
import {
  type Tensor,
  byteSize,
  operation,
  requireGrad,
  zeros,
} from "../tensor.ts";
import { invoke } from "../transport.ts";

/** Parameters begin at multiples of this many bytes. */
const ALIGNMENT = 256;
/** No chunk is larger, unless one parameter is: the smallest binding limit of common adapters. */
const CHUNK_BYTES = 128 * 1024 * 1024;

/** Where a parameter lies. */
export interface Place {
  name: string;
  parameter: Parameter;
  /** First element within the chunk. */
  start: number;
}

/** A run of parameters in one piece of memory. */
export interface Chunk {
  places: Place[];
  /** Elements, alignment included. */
  length: number;
  data: Tensor;
}

/** Moves parameters (all of one type and device) into chunks, in order, values kept. */
export function flatten(
  parameters: readonly [name: string, parameter: Parameter][],
): Chunk[] {
  const plans: { places: Place[]; length: number }[] = [];
  for (const [name, parameter] of parameters) {
    const elements = ALIGNMENT / byteSize([1], parameter.dtype);
    const length = Math.ceil(parameter.size / elements) * elements;
    let plan = plans.at(-1);
    if (
      plan === undefined ||
      byteSize([plan.length + length], parameter.dtype) > CHUNK_BYTES
    ) {
      plan = { places: [], length: 0 };
      plans.push(plan);
    }
    plan.places.push({ name, parameter, start: plan.length });
    plan.length += length;
  }
  return plans.map(({ places, length }) => {
    const { device, dtype } = (places[0] as Place).parameter;
    const data = keep(zeros([length], { device, dtype }));
    const chunk = { places, length, data };
    for (const place of places) {
      const view = viewOf(data, place);
      invoke("copy_", [view.handle, place.parameter.handle]);
      place.parameter.rebind(view);
    }
    return chunk;
  });
}

/** Gives each parameter of the chunk a view of one gradient buffer, which is returned. */
export function attachGradients(chunk: Chunk): Tensor {
  const { device, dtype } = chunk.data;
  const grad = keep(zeros([chunk.length], { device, dtype }));
  for (const place of chunk.places) {
    const gradient = viewOf(grad, place);
    place.parameter.rebind(requireGrad(viewOf(chunk.data, place), gradient));
    gradient.dispose();
  }
  return grad;
}

/** The part of a buffer laid out like the chunk that belongs to one parameter. */
export function viewOf(buffer: Tensor, { start, parameter }: Place): Tensor {
  return operation("view", buffer.device, [
    buffer.handle,
    start,
    [...parameter.shape],
  ]);
}
