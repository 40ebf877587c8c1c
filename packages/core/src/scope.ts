/**
 * How long tensors live: what is made inside `scope` is freed at its end, but
 * for what the function returns.
 */

import { AvjepaError } from "./error.ts";
import type { Tensor } from "./tensor.ts";

/** A result that is no promise: the callback must be synchronous. */
export type Synchronous<T> = T extends PromiseLike<unknown> ? never : T;

const scopes: Tensor[][] = [];

/** @internal Puts a new tensor into the innermost scope. */
export function adopt(tensor: Tensor): Tensor {
  scopes.at(-1)?.push(tensor);
  return tensor;
}

/** Takes a tensor out of every scope: it lives until it is disposed. */
export function keep<T extends Tensor>(tensor: T): T {
  for (const made of scopes) {
    const place = made.indexOf(tensor);
    if (place >= 0) made.splice(place, 1);
  }
  return tensor;
}

/**
 * Runs `work` and frees every tensor made inside, but those in its result (a
 * tensor, or arrays, maps, sets and objects of them), which pass to the scope around.
 * Work that throws frees everything. The graph behind a returned tensor stays.
 *
 * @param work synchronous: between the `await`s of a promise other code would
 *   run inside the scope. Its type refuses one, and so does the call.
 * @example
 * const loss = scope(() => model.forward(x).sub(y).square().mean());
 */
export function scope<T>(work: () => Synchronous<T>): T {
  const made: Tensor[] = [];
  const depth = scopes.push(made);
  let result: T | undefined;
  try {
    result = work() as T;
    refusePromise("scope", result);
    return result;
  } finally {
    scopes.length = depth - 1;
    const returned = new Set<unknown>();
    collect(result, returned);
    const outer = scopes.at(-1);
    for (const tensor of made) {
      if (returned.has(tensor)) outer?.push(tensor);
      else tensor[Symbol.dispose]();
    }
  }
}

/** @internal */
export function refusePromise(name: string, result: unknown): void {
  if (result instanceof Promise) {
    result.catch(() => {});
    throw new AvjepaError(
      "AVJ_ARGUMENT",
      `${name}: the function returned a promise`,
      {
        hint: `${name} takes a synchronous function: await before or after it`,
      },
    );
  }
}

function collect(value: unknown, found: Set<unknown>): void {
  if (typeof value !== "object" || value === null || found.has(value)) return;
  found.add(value);
  if (ArrayBuffer.isView(value)) return;
  if (value instanceof Map || value instanceof Set)
    for (const element of value.values()) collect(element, found);
  else if (Array.isArray(value))
    for (const element of value) collect(element, found);
  else if (!("handle" in value))
    for (const element of Object.values(value)) collect(element, found);
}
