import { describe, expect, test } from "bun:test";
import { inspect } from "node:util";

import type { DType, HostArray } from "./dtype.ts";
import {
  concat,
  full,
  ones,
  type Tensor,
  tensor,
  type TensorOptions,
  zeros,
} from "./tensor.ts";

const numbers = async (x: Tensor) => [...(await x.toNumbers())];

describe("making and reading", () => {
  const arrays: [DType, HostArray][] = [
    ["float32", Float32Array.of(1.5, -0, 3e38, 1e-40)],
    ["float64", Float64Array.of(Math.PI, -1e300, Number.NaN, 5e-324)],
    ["int32", Int32Array.of(-(2 ** 31), 0, 7, 2 ** 31 - 1)],
    ["int64", BigInt64Array.of(-(2n ** 63n), 0n, 7n, 2n ** 63n - 1n)],
    ["uint8", Uint8Array.of(0, 1, 128, 255)],
    ["bfloat16", Uint16Array.of(0x3f80, 0xbf80, 0x7f80, 0x0001)],
  ];

  test.each(arrays)("%s comes back bit for bit", async (dtype, values) => {
    using x = tensor(values, [2, 2]);
    expect([x.dtype, x.shape, x.size, x.ndim, x.device]).toEqual([
      dtype,
      [2, 2],
      4,
      2,
      "cpu",
    ]);
    // By bytes: NaN is not equal to itself.
    const bytes = (of: HostArray) =>
      Buffer.from(of.buffer, of.byteOffset, of.byteLength).toString("hex");
    const found = await x.toArray();
    expect(found.constructor).toBe(values.constructor);
    expect(bytes(found)).toBe(bytes(values));
  });

  test.each([
    ["float32", [1.5, -2], [1.5, -2]],
    ["float64", [Math.PI], [Math.PI]],
    ["int32", [3, -4], [3, -4]],
    ["int64", [5, -6], [5, -6]],
    ["uint8", [7, 255], [7, 255]],
    // Eight bits of mantissa, ties to even.
    [
      "bfloat16",
      [1 + 2 ** -8, 1 + 3 * 2 ** -8, -3.140625],
      [1, 1.015625, -3.140625],
    ],
  ] as const)("numbers as %s", async (dtype, values, expected) => {
    expect(await numbers(tensor(values, [values.length], { dtype }))).toEqual([
      ...expected,
    ]);
  });

  test("a view of a larger host array", async () => {
    const whole = Float32Array.of(0, 1, 2, 3, 4);
    expect(await numbers(tensor(whole.subarray(2, 4)))).toEqual([2, 3]);
  });

  test("host values may change once the tensor is made", async () => {
    const values = Float32Array.of(1, 2);
    const x = tensor(values);
    values.fill(9);
    expect(await numbers(x)).toEqual([1, 2]);
  });

  test("filled, empty and single", async () => {
    expect(await numbers(full([3], 2.5))).toEqual([2.5, 2.5, 2.5]);
    expect(await numbers(zeros([2], { dtype: "int64" }))).toEqual([0, 0]);
    expect(await numbers(ones([1, 2], { dtype: "bfloat16" }))).toEqual([1, 1]);
    expect(await numbers(zeros([0, 4]))).toEqual([]);
    const one = tensor([42], []);
    expect(one.shape).toEqual([]);
    expect(await one.item()).toBe(42);
  });

  test("prints its shape, type and place", () => {
    const x = tensor([1, 2]);
    expect(inspect(x)).toBe("Tensor([2], float32, cpu)");
    x.dispose();
    expect(inspect(x)).toBe("Tensor([2], float32, cpu, freed)");
  });
});

const f64 = (
  values: number[],
  shape = [values.length],
  more: TensorOptions = {},
) => tensor(values, shape, { dtype: "float64", ...more });

describe("elementwise operations", () => {
  const values = [-1.5, -0.25, 0.5, 2];
  /** Abramowitz & Stegun 7.1.26 is too coarse: the series of erf. */
  const erf = (x: number) => {
    let [sum, term] = [x, x];
    for (let n = 1; n < 60; n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  };
  const unary: [string, (x: Tensor) => Tensor, (x: number) => number][] = [
    ["neg", (x) => x.neg(), (x) => -x],
    ["abs", (x) => x.abs(), Math.abs],
    ["exp", (x) => x.exp(), Math.exp],
    ["log", (x) => x.log(), Math.log],
    ["sqrt", (x) => x.sqrt(), Math.sqrt],
    ["rsqrt", (x) => x.rsqrt(), (x) => 1 / Math.sqrt(x)],
    ["square", (x) => x.square(), (x) => x * x],
    ["reciprocal", (x) => x.reciprocal(), (x) => 1 / x],
    ["sin", (x) => x.sin(), Math.sin],
    ["cos", (x) => x.cos(), Math.cos],
    ["tanh", (x) => x.tanh(), Math.tanh],
    ["sigmoid", (x) => x.sigmoid(), (x) => 1 / (1 + Math.exp(-x))],
    ["relu", (x) => x.relu(), (x) => Math.max(0, x)],
    ["gelu", (x) => x.gelu(), (x) => 0.5 * x * (1 + erf(x / Math.SQRT2))],
    ["erf", (x) => x.erf(), erf],
    ["sign", (x) => x.sign(), Math.sign],
    ["affine", (x) => x.affine(3, -1), (x) => 3 * x - 1],
    ["clamp", (x) => x.clamp(-1, 1), (x) => Math.min(1, Math.max(-1, x))],
    ["pow", (x) => x.pow(3), (x) => x ** 3],
    ["add a number", (x) => x.add(2), (x) => x + 2],
    ["sub a number", (x) => x.sub(2), (x) => x - 2],
    ["mul a number", (x) => x.mul(2), (x) => x * 2],
    ["div by a number", (x) => x.div(4), (x) => x / 4],
    ["cast", (x) => x.cast("float32"), (x) => x],
  ];

  test.each(unary)("%s", async (_, run, expected) => {
    const found = await numbers(run(f64(values)));
    for (const [i, x] of values.entries()) {
      const want = expected(x);
      if (Number.isNaN(want)) expect(found[i]).toBeNaN();
      else
        expect(Math.abs((found[i] ?? 0) - want)).toBeLessThan(
          1e-12 * (1 + Math.abs(want)),
        );
    }
  });

  test("isFinite", async () => {
    const x = tensor([1, Number.POSITIVE_INFINITY, Number.NaN, 0]);
    expect(await numbers(x.isFinite())).toEqual([1, 0, 0, 1]);
  });

  const binary: [
    string,
    (a: Tensor, b: Tensor) => Tensor,
    (a: number, b: number) => number,
  ][] = [
    ["add", (a, b) => a.add(b), (a, b) => a + b],
    ["sub", (a, b) => a.sub(b), (a, b) => a - b],
    ["mul", (a, b) => a.mul(b), (a, b) => a * b],
    ["div", (a, b) => a.div(b), (a, b) => a / b],
    ["maximum", (a, b) => a.maximum(b), Math.max],
    ["minimum", (a, b) => a.minimum(b), Math.min],
    ["equal", (a, b) => a.equal(b), (a, b) => Number(a === b)],
    ["less", (a, b) => a.less(b), (a, b) => Number(a < b)],
    ["pow", (a, b) => a.pow(b), (a, b) => a ** b],
  ];

  test.each(binary)("%s broadcasts", async (_, run, expected) => {
    const [a, b] = [
      [1, 2, 3, 4, 5, 6],
      [3, 2, 4],
    ] as const;
    const found = await numbers(run(f64([...a], [2, 3]), f64([...b], [3])));
    expect(found).toEqual(a.map((x, i) => expected(x, b[i % 3] as number)));
  });
});

describe("reductions and products", () => {
  const x = () => f64([1, 2, 3, 4, 5, 9], [2, 3]);

  test.each([
    ["sum of all", () => x().sum(), [], [24]],
    ["sum of rows", () => x().sum(1), [2], [6, 18]],
    [
      "sum of columns, kept",
      () => x().sum(0, { keepdim: true }),
      [1, 3],
      [5, 7, 12],
    ],
    ["sum over a negative axis", () => x().sum(-1), [2], [6, 18]],
    ["mean", () => x().mean([0, 1]), [], [4]],
    ["max", () => x().max(1), [2], [3, 9]],
    ["min", () => x().min(0), [3], [1, 2, 3]],
  ] as const)("%s", async (_, run, shape, expected) => {
    const y = run();
    expect(y.shape).toEqual([...shape]);
    expect(await numbers(y)).toEqual([...expected]);
  });

  test("softmax sums to one and does not overflow", async () => {
    const y = await numbers(
      f64([0, Math.log(3), 1000, 1000], [2, 2]).softmax(),
    );
    for (const [i, want] of [0.25, 0.75, 0.5, 0.5].entries())
      expect(y[i]).toBeCloseTo(want, 12);
  });

  test("matmul: plain, transposed, batched", async () => {
    const a = f64([1, 2, 3, 4, 5, 6], [2, 3]);
    const b = f64([1, 0, 0, 1, 1, 1], [3, 2]);
    const product = a.matmul(b);
    expect(product.shape).toEqual([2, 2]);
    expect(await numbers(product)).toEqual([4, 5, 10, 11]);
    const transposed = a.matmul(f64([1, 0, 1, 0, 1, 1], [2, 3]), {
      transpose: true,
    });
    expect(await numbers(transposed)).toEqual([4, 5, 10, 11]);
    const batched = a
      .reshape(2, 1, 3)
      .matmul(f64([1, 1, 1, 2, 2, 2], [2, 3, 1]));
    expect(batched.shape).toEqual([2, 1, 1]);
    expect(await numbers(batched)).toEqual([6, 30]);
  });
});

describe("moving", () => {
  const x = () => tensor([0, 1, 2, 3, 4, 5], [2, 3]);

  test.each([
    ["reshape", () => x().reshape(3, -1), [3, 2], [0, 1, 2, 3, 4, 5]],
    ["permute", () => x().permute(1, 0), [3, 2], [0, 3, 1, 4, 2, 5]],
    ["slice", () => x().slice(1, 1, 3), [2, 2], [1, 2, 4, 5]],
    ["an empty slice", () => x().slice(0, 1, 1), [0, 3], []],
    [
      "concat",
      () => concat([x(), x().slice(0, 0, 1)]),
      [3, 3],
      [0, 1, 2, 3, 4, 5, 0, 1, 2],
    ],
    [
      "concat of columns",
      () => concat([x().slice(1, 2, 3), x().slice(1, 0, 1)], 1),
      [2, 2],
      [2, 0, 5, 3],
    ],
    [
      "indexSelect",
      () => x().indexSelect(tensor(Int32Array.of(1, 0, 1))),
      [3, 3],
      [3, 4, 5, 0, 1, 2, 3, 4, 5],
    ],
    ["detach", () => x().detach(), [2, 3], [0, 1, 2, 3, 4, 5]],
  ] as const)("%s", async (_, run, shape, expected) => {
    const y = run();
    expect(y.shape).toEqual([...shape]);
    expect(await numbers(y)).toEqual([...expected]);
  });

  test("to another device goes through the host", async () => {
    expect(await numbers(await x().to("cpu"))).toEqual([0, 1, 2, 3, 4, 5]);
  });
});
