import { expect, test } from "bun:test";

import { memory, synchronize } from "./device.ts";
import { keep, scope } from "./scope.ts";
import { type Tensor, tensor } from "./tensor.ts";
import { settledMemory } from "./testing.ts";

const one = () => tensor([1]);

/** Of the tensors made by `work`, how many its scope left alive. */
function survivors(work: () => unknown): number {
  const before = memory().tensors;
  scope(() => work());
  return memory().tensors - before;
}

test("only what is returned survives, wherever it is in the result", () => {
  class Holder {
    constructor(readonly held: Tensor) {}
  }
  const cyclic = () => {
    const result: Record<string, unknown> = { x: one() };
    result.self = result;
    return result;
  };
  for (const [work, expected] of [
    [() => void one(), 0],
    [() => one().neg().neg(), 1],
    [() => [one(), [one()], one().neg()], 3],
    [() => ({ a: one(), b: { c: one() }, n: 1, s: "x", none: null }), 2],
    [() => new Map([["x", one()]]), 1],
    [() => new Set([one(), one()]), 2],
    [() => new Holder(one()), 1],
    [cyclic, 1],
    [() => new Float32Array(1_000_000), 0],
    [() => () => one(), 0],
  ] as const)
    expect(survivors(work)).toBe(expected);
});

test("a nested scope hands its result to the one around", () => {
  let inner: Tensor | undefined;
  const outer = scope(() => {
    inner = scope(() => {
      one();
      return one();
    });
    const sum = inner.add(1);
    expect(inner.isDisposed).toBe(false);
    return sum;
  });
  expect(inner?.isDisposed).toBe(true);
  expect(outer.isDisposed).toBe(false);
  outer.dispose();
});

test("what was made before is left alone, even when it is returned", () => {
  const x = one();
  expect(survivors(() => x)).toBe(0);
  expect(x.isDisposed).toBe(false);
  x.dispose();
});

test("a throw frees everything, and the scope around goes on", () => {
  const made: Tensor[] = [];
  const before = memory().tensors;
  const rest = scope(() => {
    const first = one();
    expect(() =>
      scope(() => {
        made.push(one());
        throw new Error("midway");
      }),
    ).toThrow("midway");
    expect(first.isDisposed).toBe(false);
    return one();
  });
  expect(made[0]?.isDisposed).toBe(true);
  rest.dispose();
  expect(memory().tensors).toBe(before);
});

test("keep takes a tensor out of every scope; disposing inside is no error", () => {
  let kept: Tensor | undefined;
  scope(() =>
    scope(() => {
      kept = keep(one());
      one().dispose();
    }),
  );
  expect(kept?.isDisposed).toBe(false);
  kept?.dispose();
});

test("the graph behind a returned tensor stays", async () => {
  const x = tensor([3], [1], { requiresGrad: true });
  const loss = scope(() => x.square().mul(2).sum());
  loss.backward();
  expect(await x.grad?.item()).toBe(12);
});

test("using frees at the end of the block", async () => {
  const before = (await settledMemory()).tensors;
  {
    using x = one();
    using y = x.add(1);
    expect(await y.item()).toBe(2);
  }
  expect(memory().tensors).toBe(before);
});

test("bytes go when the queue has come to it, and come back to what they were", async () => {
  const before = await settledMemory();
  const x = tensor(new Float32Array(1000));
  await synchronize();
  expect(memory().bytes - before.bytes).toBe(4000);
  expect(memory().buffers - before.buffers).toBe(1);
  scope(() => void x.neg().exp().sum());
  await synchronize();
  expect(memory().bytes - before.bytes).toBe(4000);
  x.dispose();
  await synchronize();
  expect({ ...memory(), peakBytes: 0 }).toEqual({ ...before, peakBytes: 0 });
});
