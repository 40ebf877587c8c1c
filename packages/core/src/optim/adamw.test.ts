import { describe, expect, test } from "bun:test";

import { AvjepaError } from "../error.ts";
import { Module, Parameter } from "../nn/index.ts";
import { scope } from "../scope.ts";
import { tensor } from "../tensor.ts";
import { AdamW, type AdamWStep } from "./adamw.ts";

class Net extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly table = new Parameter(tensor([9], [1, 1]), { requiresGrad: false });

  constructor(
    weight: readonly number[] = [1, -2],
    bias: readonly number[] = [3],
  ) {
    super();
    this.weight = new Parameter(
      tensor(weight, [weight.length, 1], { dtype: "float64" }),
    );
    this.bias = new Parameter(
      tensor(bias, [bias.length], { dtype: "float64" }),
    );
  }

  async values(): Promise<number[]> {
    return [
      ...(await this.weight.toNumbers()),
      ...(await this.bias.toNumbers()),
    ];
  }

  /** Gradients: twice the weight, minus one for the bias. */
  backward(): void {
    scope(() => {
      this.weight.square().sum().sub(this.bias.sum()).backward();
    });
  }
}

/** AdamW by its formulae, on one value. */
class Expected {
  m = 0;
  v = 0;
  t = 0;

  constructor(
    public p: number,
    readonly decay: number,
  ) {}

  step(
    g: number,
    lr: number,
    [b1, b2] = [0.9, 0.999] as const,
    eps = 1e-8,
  ): void {
    this.t += 1;
    this.m = b1 * this.m + (1 - b1) * g;
    this.v = b2 * this.v + (1 - b2) * g * g;
    const update =
      this.m /
      (1 - b1 ** this.t) /
      (Math.sqrt(this.v / (1 - b2 ** this.t)) + eps);
    this.p = this.p * (1 - lr * this.decay) - lr * update;
  }
}

const expectClose = (found: readonly number[], expected: readonly number[]) => {
  expect(found.length).toBe(expected.length);
  found.forEach((x, i) =>
    expect(Math.abs(x - (expected[i] ?? 0))).toBeLessThan(1e-12),
  );
};

test("three steps by hand; biases are not decayed, frozen tables not touched", async () => {
  const net = new Net();
  const adamw = new AdamW([net]);
  const expected = [
    new Expected(1, 0.5),
    new Expected(-2, 0.5),
    new Expected(3, 0),
  ];
  for (const lr of [0.1, 0.2, 0.05]) {
    net.backward();
    adamw.step({ lr, wd: 0.5 });
    for (const [i, value] of expected.entries())
      value.step(i < 2 ? 2 * value.p : -1, lr);
  }
  expectClose(
    await net.values(),
    expected.map(({ p }) => p),
  );
  expect(await net.table.item()).toBe(9);
  expect(adamw.steps).toBe(3);
});

test("norms are before clipping, one a module; each module is clipped by its own", async () => {
  const [a, b] = [new Net([3, 4], [0]), new Net([0.1, 0], [0])];
  const adamw = new AdamW([a, b], { betas: [0, 0], eps: 1 });
  a.weight.square().sum().backward();
  b.weight.square().sum().backward();
  const norms = adamw.step({ lr: 1, clip: 1 });
  expectClose(await Promise.all(norms.map((norm) => norm.item())), [10, 0.2]);
  // With no memory and ε = 1 the update is g / (|g| + 1), g clipped: here by 1 / (10 + 1e-6).
  const clipped = (g: number) => g / (10 + 1e-6) / (g / (10 + 1e-6) + 1);
  expectClose(await a.values(), [3 - clipped(6), 4 - clipped(8), 0]);
  expectClose(await b.values(), [0.1 - 0.2 / 1.2, 0, 0]);
});

test("a step forgets the gradients, zeroGrad too, and they add up until then", async () => {
  const net = new Net();
  const adamw = new AdamW([net]);
  const gradient = async () => [
    ...((await net.weight.grad?.toNumbers()) ?? []),
  ];
  net.backward();
  net.backward();
  expect(await gradient()).toEqual([4, -8]);
  adamw.step({ lr: 0 });
  expect(await gradient()).toEqual([0, 0]);
  net.backward();
  adamw.zeroGrad();
  expect(await gradient()).toEqual([0, 0]);
});

test("the target follows the values after the step", async () => {
  const [net, target] = [new Net(), new Net([10, 20], [30])];
  const adamw = new AdamW([net]);
  for (const momentum of [0.5, 0.9]) {
    const before = await target.values();
    net.backward();
    adamw.step({ lr: 0.1, ema: { target, momentum } });
    const after = await net.values();
    expectClose(
      await target.values(),
      before.map((t, i) => momentum * t + (1 - momentum) * (after[i] ?? 0)),
    );
  }
  const ends: [number, () => Promise<number[]>][] = [
    [1, () => target.values()],
    [0, () => net.values()],
  ];
  for (const [momentum, source] of ends) {
    const before = await source();
    adamw.step({ lr: 0, ema: { target, momentum } });
    expectClose(await target.values(), before);
  }
});

test("a target that is no copy is refused", () => {
  const adamw = new AdamW([new Net()]);
  const target = new Net([1, 2, 3]);
  expect(() => adamw.step({ lr: 1, ema: { target, momentum: 0.9 } })).toThrow(
    "no copy",
  );
});

describe("state", () => {
  const step: AdamWStep = { lr: 0.1, wd: 0.1, clip: 1 };
  const trained = () => {
    const net = new Net();
    const adamw = new AdamW([net]);
    for (let i = 0; i < 3; i++) {
      net.backward();
      adamw.step(step);
    }
    return { net, adamw };
  };

  test("a restored optimizer goes on as if it had never stopped", async () => {
    const first = trained();
    const second = { net: new Net([0, 0], [0]), adamw: null as AdamW | null };
    second.adamw = new AdamW([second.net]);
    second.net.loadStateDict(first.net.stateDict());
    const state = first.adamw.stateDict();
    expect(Object.keys(state)).toEqual([
      "0.weight.exp_avg",
      "0.weight.exp_avg_sq",
      "0.bias.exp_avg",
      "0.bias.exp_avg_sq",
    ]);
    second.adamw.loadStateDict(state, first.adamw.steps);
    for (const view of Object.values(state)) view.dispose();
    for (const { net, adamw } of [first, second]) {
      net.backward();
      adamw?.step(step);
    }
    expect(await second.net.values()).toEqual(await first.net.values());
  });

  test("of another model is refused by name", () => {
    const { adamw } = trained();
    const other = new AdamW([new Net([1, 2, 3])]);
    const load = (state: ReturnType<AdamW["stateDict"]>) => {
      try {
        adamw.loadStateDict(state, 1);
      } catch (error) {
        return error as AvjepaError;
      }
      throw new Error("it loaded");
    };
    expect(load(other.stateDict()).message).toBe(
      "optimizer state: 0.weight.exp_avg is [3, 1], not [2, 1]",
    );
    const { "0.bias.exp_avg": _, ...rest } = adamw.stateDict();
    expect(load(rest).message).toBe(
      "optimizer state: 0.bias.exp_avg is missing",
    );
    expect(load(rest).code).toBe("AVJ_STATE_DICT");
  });
});
