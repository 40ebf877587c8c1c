import { describe, expect, test } from "bun:test";

import { attention, layerNorm, linear, mlp } from "./functional.ts";
import { autocast, autocastType, checkpoint, noGrad } from "./grad.ts";
import { Generator } from "./random.ts";
import { scope } from "./scope.ts";
import { requireGrad, type Tensor, tensor, zeros } from "./tensor.ts";

const numbers = async (x: Tensor | null) =>
  x === null ? null : [...(await x.toNumbers())];

describe("gradients", () => {
  test("of a chain, by hand", async () => {
    const x = tensor([1, -2, 3], [3], { requiresGrad: true });
    const w = tensor([4, 5, 6], [3], { requiresGrad: true });
    x.mul(w).square().sum().backward();
    expect(await numbers(x.grad)).toEqual([32, -100, 216]);
    expect(await numbers(w.grad)).toEqual([8, 40, 108]);
  });

  test("add up over uses and over backward passes, until they are forgotten", async () => {
    const x = tensor([2], [1], { requiresGrad: true });
    x.add(x).sum().backward();
    x.mul(5).sum().backward();
    expect(await numbers(x.grad)).toEqual([7]);
    x.zeroGrad();
    expect(x.grad).toBeNull();
  });

  test("start from a given gradient", async () => {
    const x = tensor([1, 2], [2], { requiresGrad: true });
    x.square().backward(tensor([1, 10]));
    expect(await numbers(x.grad)).toEqual([2, 40]);
  });

  test("are collected where they are wanted", async () => {
    const gradient = tensor([100, 100]);
    const x = requireGrad(tensor([1, 2]), gradient);
    x.square().sum().backward();
    expect(await numbers(gradient)).toEqual([102, 104]);
  });

  test("do not flow through detach, nor into constants", async () => {
    const x = tensor([2], [1], { requiresGrad: true });
    const constant = tensor([3]);
    x.mul(x.detach()).add(constant).sum().backward();
    expect(await numbers(x.grad)).toEqual([2]);
    expect(constant.grad).toBeNull();
  });
});

describe("noGrad", () => {
  test("remembers nothing, and ends after a throw, however deep", () => {
    const x = tensor([1], [1], { requiresGrad: true });
    expect(noGrad(() => noGrad(() => x.neg()).requiresGrad)).toBe(false);
    expect(noGrad(() => (noGrad(() => 0), x.neg().requiresGrad))).toBe(false);
    expect(() =>
      noGrad(() => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(x.neg().requiresGrad).toBe(true);
  });
});

/** A transformer block over packed tokens, written out. */
function block(p: Record<string, Tensor>, x: Tensor, offsets: Tensor): Tensor {
  const qkv = linear(layerNorm(x, null, null, 1e-6), p.qkv as Tensor, null);
  const y = linear(attention(qkv, offsets, 2), p.proj as Tensor, null, {
    residual: x,
  });
  const weights = {
    weight1: p.fc1 as Tensor,
    bias1: null,
    weight2: p.fc2 as Tensor,
    bias2: null,
  };
  return mlp(layerNorm(y, null, null, 1e-6), weights, y);
}

function parameters(): Record<string, Tensor> {
  const random = new Generator(3);
  const shapes = {
    qkv: [96, 32],
    proj: [32, 32],
    fc1: [64, 32],
    fc2: [32, 64],
  };
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [
      name,
      requireGrad(random.normal(shape, 0, 0.2)),
    ]),
  );
}

test.each([["float32" as const], ["bfloat16" as const]])(
  "a checkpoint's values and gradients are the plain ones bit for bit, in %s",
  async (dtype) => {
    const offsets = tensor(Int32Array.of(0, 5, 5, 12));
    const run = async (around: (work: () => Tensor) => Tensor) => {
      const p = parameters();
      const x = requireGrad(new Generator(9).normal([12, 32]));
      const y = autocast(dtype, () =>
        scope(() => {
          const first = around(() => block(p, x, offsets));
          return around(() => block(p, first, offsets));
        }),
      );
      y.square().mean().backward();
      const tensors = [y, x.grad, ...Object.values(p).map((t) => t.grad)];
      return Promise.all(
        tensors.map(async (t) =>
          t === null
            ? ""
            : Buffer.from((await t.toArray()).buffer).toString("hex"),
        ),
      );
    };
    const plain = await run((work) => work());
    expect(plain.every((bytes) => bytes.length > 0)).toBe(true);
    expect(await run((work) => checkpoint(work))).toEqual(plain);
  },
);

test("a checkpoint passes several tensors on, and what does not need gradients", async () => {
  const x = tensor([3], [1], { requiresGrad: true });
  const [square, half, constant] = checkpoint(() => [
    x.square(),
    x.div(2),
    tensor([7]),
  ]);
  expect([square?.requiresGrad, constant?.requiresGrad]).toEqual([true, false]);
  (square as Tensor)
    .add(half as Tensor)
    .add(constant as Tensor)
    .sum()
    .backward();
  expect(await numbers(x.grad)).toEqual([6.5]);
});

test("a checkpoint that throws leaves nothing recorded", () => {
  const x = tensor([1], [1], { requiresGrad: true });
  expect(() => checkpoint(() => x.add(zeros([2, 2, 2]).reshape(3)))).toThrow(
    "reshape",
  );
  const y = x.square();
  y.backward();
  expect(x.grad).not.toBeNull();
});

test("autocast sets the type of products only, nested and restored", async () => {
  const x = tensor([1, 2], [1, 2]);
  const w = tensor([1, 1], [1, 2]);
  const types = autocast("bfloat16", () => [
    autocastType(),
    linear(x, w, null).dtype,
    linear(x, w, null, { residual: zeros([1, 1]) }).dtype,
    layerNorm(x, null, null, 1e-6).dtype,
    x.add(1).dtype,
    autocast("float32", () => linear(x, w, null).dtype),
    autocastType(),
  ]);
  expect(types).toEqual([
    "bfloat16",
    "bfloat16",
    "float32",
    "bfloat16",
    "float32",
    "float32",
    "bfloat16",
  ]);
  expect(autocastType()).toBeNull();
  expect(() =>
    autocast("bfloat16", () => {
      throw new Error("inside");
    }),
  ).toThrow("inside");
  expect(autocastType()).toBeNull();
});

test("bfloat16 gradients of a block are within 2 % of the float32 ones", async () => {
  const offsets = tensor(Int32Array.of(0, 40, 64));
  const run = async (dtype: "float32" | "bfloat16") => {
    const p = parameters();
    const x = new Generator(9).normal([64, 32]);
    const loss = autocast(dtype, () => block(p, x, offsets))
      .square()
      .mean();
    loss.backward();
    const grads = await Promise.all(
      Object.values(p).map((t) => (t.grad as Tensor).toNumbers()),
    );
    return grads.map((g) => [...g]);
  };
  const [exact, half] = [await run("float32"), await run("bfloat16")];
  const norm = (v: number[]) => Math.hypot(...v);
  exact.forEach((g, i) => {
    const difference = g.map((v, j) => v - (half[i]?.[j] ?? 0));
    expect(norm(difference) / norm(g)).toBeLessThan(0.02);
  });
});
