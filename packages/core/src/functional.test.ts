import { describe, expect, test } from "bun:test";

import {
  assemble,
  attention,
  binaryCrossEntropy,
  crossAttention,
  crossEntropy,
  eppsPulley,
  layerNorm,
  linear,
  lpLoss,
  mlp,
  patchify,
  rotary,
  segmentStd,
} from "./functional.ts";
import { autocast } from "./grad.ts";
import { Generator } from "./random.ts";
import { type Tensor, tensor } from "./tensor.ts";

/** Values of no pattern. */
const values = (count: number, seed = 1) =>
  Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1) * seed));
const f64 = (of: ArrayLike<number>, shape: number[]) =>
  tensor(Float64Array.from(of), shape);
const int32 = (...of: number[]) => tensor(Int32Array.from(of));

async function expectClose(
  x: Tensor,
  expected: ArrayLike<number>,
  tolerance = 1e-12,
) {
  const found = await x.toNumbers();
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < found.length; i++)
    expect(
      Math.abs((found[i] as number) - (expected[i] as number)),
    ).toBeLessThanOrEqual(tolerance);
}

/** `[m, k] × [n, k]ᵀ + b` */
function product(x: number[], w: number[], b: number[], k: number): number[] {
  const [m, n] = [x.length / k, w.length / k];
  return Array.from({ length: m * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = b[j] ?? 0;
    for (let c = 0; c < k; c++)
      sum += (x[i * k + c] ?? 0) * (w[j * k + c] ?? 0);
    return sum;
  });
}

const gelu = async (x: number[]) => [
  ...(await f64(x, [x.length]).gelu().toNumbers()),
];

describe("layers", () => {
  const [x, w, b] = [values(6), values(12, 2), values(4, 3)];

  test("linear, with a bias, a residual and a GELU", async () => {
    const [tx, tw, tb] = [f64(x, [2, 3]), f64(w, [4, 3]), f64(b, [4])];
    const plain = product(x, w, b, 3);
    await expectClose(linear(tx, tw, tb), plain);
    await expectClose(linear(tx, tw, null), product(x, w, [], 3));
    await expectClose(linear(tx, tw, tb, { gelu: true }), await gelu(plain));
    const residual = values(8, 5);
    await expectClose(
      linear(tx, tw, tb, { residual: f64(residual, [2, 4]) }),
      plain.map((y, i) => y + (residual[i] ?? 0)),
    );
  });

  test("mlp is two linear layers with a GELU between", async () => {
    const [w2, b2, residual] = [values(12, 7), values(3, 8), values(6, 9)];
    const hidden = await gelu(product(x, w, b, 3));
    const expected = product(hidden, w2, b2, 4);
    const weights = {
      weight1: f64(w, [4, 3]),
      bias1: f64(b, [4]),
      weight2: f64(w2, [3, 4]),
      bias2: f64(b2, [3]),
    };
    await expectClose(mlp(f64(x, [2, 3]), weights), expected);
    await expectClose(
      mlp(f64(x, [2, 3]), weights, f64(residual, [2, 3])),
      expected.map((y, i) => y + (residual[i] ?? 0)),
    );
  });

  test("layer norm", async () => {
    const [mean, variance] = [(1 + 2 + 6) / 3, (4 + 1 + 9) / 3];
    const normal = [1, 2, 6].map((v) => (v - mean) / Math.sqrt(variance + 0.1));
    await expectClose(
      layerNorm(f64([1, 2, 6], [1, 3]), null, null, 0.1),
      normal,
    );
    await expectClose(
      layerNorm(
        f64([1, 2, 6], [1, 3]),
        f64([2, 3, 4], [3]),
        f64([1, 0, -1], [3]),
        0.1,
      ),
      normal.map((v, i) => v * (i + 2) + (1 - i)),
    );
  });
});

/** Attention of one head by definition. */
function attend(
  q: number[][],
  k: number[][],
  v: number[][],
  scale: number,
): number[][] {
  return q.map((row) => {
    const scores = k.map(
      (key) => scale * key.reduce((sum, y, c) => sum + y * (row[c] ?? 0), 0),
    );
    const most = Math.max(...scores);
    const weights = scores.map((s) => Math.exp(s - most));
    const total = weights.reduce((sum, p) => sum + p, 0);
    return (v[0] ?? []).map((_, c) =>
      weights.reduce((sum, p, j) => sum + (p / total) * (v[j]?.[c] ?? 0), 0),
    );
  });
}

test("attention stays within sequences, head by head", async () => {
  const [heads, dim, tokens] = [2, 6, 5];
  const data = values(tokens * 3 * dim);
  const offsets = [0, 2, 2, 5];
  const part = (row: number, which: number, head: number) => {
    const start = row * 3 * dim + which * dim + head * 3;
    return data.slice(start, start + 3);
  };
  const expected: number[] = [];
  for (let s = 0; s < 3; s++) {
    const rows = Array.from(
      { length: (offsets[s + 1] ?? 0) - (offsets[s] ?? 0) },
      (_, i) => (offsets[s] ?? 0) + i,
    );
    for (let head = 0; head < heads; head++) {
      const all = (which: number) => rows.map((row) => part(row, which, head));
      const y = attend(all(0), all(1), all(2), 3 ** -0.5);
      rows.forEach((row, i) =>
        y[i]?.forEach(
          (value, c) => (expected[row * dim + head * 3 + c] = value),
        ),
      );
    }
  }
  const qkv = f64(data, [tokens, 3 * dim]);
  await expectClose(attention(qkv, int32(...offsets), heads), expected);
});

test("cross-attention; a query without keys gives zero", async () => {
  const [q, kv] = [values(6), values(16, 2)];
  const y = crossAttention(
    f64(q, [3, 2]),
    f64(kv, [4, 4]),
    int32(0, 1, 2, 3),
    int32(0, 3, 3, 4),
    1,
    0.5,
  );
  const rows = [0, 1, 2, 3].map((r) => kv.slice(4 * r, 4 * r + 4));
  const side = (from: number, to: number, start: number) =>
    rows.slice(from, to).map((row) => row.slice(start, start + 2));
  const first = attend([q.slice(0, 2)], side(0, 3, 0), side(0, 3, 2), 0.5);
  const last = attend([q.slice(4, 6)], side(3, 4, 0), side(3, 4, 2), 0.5);
  await expectClose(y, [...(first[0] ?? []), 0, 0, ...(last[0] ?? [])]);
});

describe("tokens", () => {
  test("patchify cuts floats in the order of a convolution's weight", async () => {
    // [1, 2 channels, 2, 2, 4], patches of 1 × 2 × 2: 2 times, 1 row, 2 columns.
    const x = tensor(
      Float32Array.from({ length: 32 }, (_, i) => i),
      [1, 2, 2, 2, 4],
    );
    const y = patchify(x, { patch: [1, 2, 2], rows: int32(3, 0) });
    expect(y.shape).toEqual([2, 8]);
    expect([...(await y.toNumbers())]).toEqual([
      10, 11, 14, 15, 26, 27, 30, 31, 0, 1, 4, 5, 16, 17, 20, 21,
    ]);
  });

  test("patchify normalises bytes", async () => {
    const x = tensor(Uint8Array.from([0, 51, 255, 102]), [1, 1, 1, 2, 2]);
    const y = patchify(x, {
      patch: [1, 1, 1],
      mean: [0.2, 0.4],
      std: [0.5, 2],
    });
    await expectClose(y, [-0.4, -0.1, 1.6, 0], 1e-6);
  });

  test("assemble picks rows and adds positions", async () => {
    const [a, b] = [tensor([1, 2, 3, 4], [2, 2]), tensor([10, 20], [1, 2])];
    const table = {
      values: tensor([100, 200, 300, 400], [2, 2]),
      positions: int32(1, 0, 1),
    };
    const y = assemble([a, b], int32(2, 0, 1), table);
    expect([...(await y.toNumbers())]).toEqual([310, 420, 101, 202, 303, 404]);
  });

  test("rotary turns pairs of columns", async () => {
    const x = f64([9, 1, 2, 9], [1, 4]);
    const angle = (f: (a: number) => number) => f64([f(0.3), f(0.3)], [1, 2]);
    const y = rotary(x, {
      heads: 1,
      headDim: 2,
      column: 1,
      cos: angle(Math.cos),
      sin: angle(Math.sin),
    });
    const [c, s] = [Math.cos(0.3), Math.sin(0.3)];
    await expectClose(y, [9, c - 2 * s, 2 * c + s, 9]);
  });
});

describe("losses", () => {
  test("lpLoss compares with the normalised target", async () => {
    const [z, h] = [values(6), values(9, 2)];
    for (const p of [1, 2]) {
      const y = lpLoss(f64(z, [2, 3]), f64(h, [3, 3]), int32(2, 0), { p });
      const normal = await layerNorm(
        f64(h, [3, 3]),
        null,
        null,
        1e-5,
      ).toNumbers();
      const expected = [2, 0].map((row, i) => {
        const terms = [0, 1, 2].map(
          (c) =>
            Math.abs((z[3 * i + c] ?? 0) - (normal[3 * row + c] ?? 0)) ** p / p,
        );
        return terms.reduce((sum, term) => sum + term, 0) / 3;
      });
      await expectClose(y, expected);
    }
    const plain = lpLoss(f64([1, 2], [1, 2]), f64([3, 5], [1, 2]), int32(0), {
      p: 1,
      normEps: null,
    });
    await expectClose(plain, [2.5]);
  });

  test("segmentStd is unbiased, over the tokens of a sequence", async () => {
    const y = segmentStd(
      f64([1, 0, 3, 0, 5, 0, 7, 7], [4, 2]),
      int32(0, 3, 4),
      0.5,
    );
    const found = await y.toNumbers();
    expect(found[0]).toBeCloseTo(Math.sqrt(4.5), 12);
    expect(found[1]).toBeCloseTo(Math.sqrt(0.5), 12);
  });

  test("cross-entropies", async () => {
    const logits = [1, 2, 0.5];
    const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
    const x = f64(logits, [1, 3]);
    await expectClose(crossEntropy(x, int32(1)), [total - 2]);
    const smooth =
      0.9 * (total - 2) +
      (0.1 / 3) * logits.reduce((sum, z) => sum + total - z, 0);
    await expectClose(crossEntropy(x, int32(1), { smoothing: 0.1 }), [smooth]);
    const bce = binaryCrossEntropy(f64([0, 2], [2]), f64([1, 0.25], [2]));
    await expectClose(bce, [Math.LN2, Math.log1p(Math.exp(2)) - 0.5]);
  });

  test("Epps-Pulley compares characteristic functions", async () => {
    const x = f64([0.5, -0.5], [2, 1]);
    // Mean of cos(t·x), against exp(−t²/2); the sines cancel.
    const term = (t: number) =>
      (Math.cos(0.5 * t) - Math.exp((-t * t) / 2)) ** 2;
    const [y] = await eppsPulley(x, [1, 2], [0.25, 2]).toNumbers();
    expect((y ?? 0) / (0.25 * term(1) + 2 * term(2))).toBeCloseTo(2, 10);
  });
});

test("a bfloat16 product is close to the float32 one, and of its own type", async () => {
  const random = new Generator(5);
  const [x, w, b] = [
    random.normal([33, 70]),
    random.normal([21, 70]),
    random.normal([21]),
  ];
  const exact = await linear(x, w, b).toNumbers();
  const half = autocast("bfloat16", () => linear(x, w, b));
  expect(half.dtype).toBe("bfloat16");
  const found = await half.toNumbers();
  const norm = (of: ArrayLike<number>) =>
    Math.sqrt(Array.from(of).reduce((sum, v) => sum + v * v, 0));
  const error = norm(Array.from(found, (v, i) => v - (exact[i] ?? 0)));
  expect(error / norm(exact)).toBeLessThan(2 ** -7);
  expect(error).toBeGreaterThan(0);
});
