import { describe, expect, test } from "bun:test";

import { AvjepaError } from "../error.ts";
import { Generator } from "../random.ts";
import { scope } from "../scope.ts";
import { ones, type Tensor, tensor, zeros } from "../tensor.ts";
import { LayerNorm, Linear, Module, Parameter } from "./index.ts";

class Net extends Module {
  readonly posEmbed = new Parameter(zeros([1, 4, 3]), { requiresGrad: false });
  readonly patchEmbed = new Linear(2, 3, { generator: new Generator(1) });
  readonly blocks = [new Linear(3, 3, { bias: false }), new LayerNorm(3)];
  readonly maskTokens = [new Parameter(ones([1, 1, 3]))];
  readonly name = "no parameter";
  readonly nothing = null;
}

test("names are PyTorch's, in the order of registration", () => {
  const net = new Net();
  expect(Object.keys(net.stateDict())).toEqual([
    "pos_embed",
    "patch_embed.weight",
    "patch_embed.bias",
    "blocks.0.weight",
    "blocks.1.weight",
    "blocks.1.bias",
    "mask_tokens.0",
  ]);
  expect(net.parameters()).toHaveLength(7);
  expect(net.parameterCount()).toBe(6 + 3 + 9 + 6 + 3);
  expect(net.parameterCount({ frozen: true })).toBe(net.parameterCount() + 12);
});

test("parameters outlive the scope they are made in, until the module is disposed", () => {
  const net = scope(() => {
    const made = new Net();
    return { made }.made;
  });
  const weights = net.parameters();
  expect(weights.some((p) => p.isDisposed)).toBe(false);
  net.dispose();
  expect(weights.every((p) => p.isDisposed)).toBe(true);
});

test("equal seeds draw equal weights", async () => {
  const draw = async (seed: number) => {
    const { weight } = new Linear(5, 7, {
      generator: new Generator(seed),
      std: 0.1,
    });
    return [...(await weight.toNumbers())];
  };
  expect(await draw(4)).toEqual(await draw(4));
  expect(await draw(4)).not.toEqual(await draw(5));
  expect((await draw(4)).every((w) => Math.abs(w) <= 2 && w !== 0)).toBe(true);
});

test("a linear layer and a norm learn", async () => {
  const linear = new Linear(2, 1);
  linear.weight.copyFrom(tensor([2, 3], [1, 2]));
  const norm = new LayerNorm(2, { eps: 0 });
  const y = linear.forward(norm.forward(tensor([1, 3], [1, 2])));
  expect(await y.item()).toBeCloseTo(1, 6);
  y.backward(ones([1, 1]));
  expect([...((await norm.bias.grad?.toNumbers()) ?? [])]).toEqual([2, 3]);
  expect(await linear.bias?.grad?.item()).toBe(1);
});

describe("loading", () => {
  const state = () => new Net().stateDict();
  const caught = (load: () => unknown): AvjepaError => {
    try {
      load();
    } catch (error) {
      return error as AvjepaError;
    }
    throw new Error("it loaded");
  };

  test("copies values", async () => {
    const [from, to] = [new Net(), new Net()];
    from.patchEmbed.bias?.copyFrom(tensor([1, 2, 3]));
    expect(to.loadStateDict(from.stateDict())).toEqual({
      missing: [],
      unexpected: [],
      misshaped: [],
    });
    from.dispose();
    expect([...((await to.patchEmbed.bias?.toNumbers()) ?? [])]).toEqual([
      1, 2, 3,
    ]);
  });

  test("strictly: what differs is listed, and nothing is copied", async () => {
    const { "blocks.0.weight": _, ...rest } = state();
    const wrong = {
      ...rest,
      "head.weight": ones([2]),
      "mask_tokens.0": ones([1, 1, 4]),
      pos_embed: ones([1, 4, 3]),
    };
    const net = new Net();
    const error = caught(() => net.loadStateDict(wrong));
    expect(error).toBeInstanceOf(AvjepaError);
    expect([error.code, error.message]).toEqual([
      "AVJ_STATE_DICT",
      [
        "the weights do not fit the model",
        "missing (1): blocks.0.weight",
        "unexpected (1): head.weight",
        "of another shape (1): mask_tokens.0 is [1, 1, 4], not [1, 1, 3]",
      ].join("\n"),
    ]);
    expect(await net.posEmbed.sum().item()).toBe(0);
  });

  test("long lists are cut short", () => {
    const extra = Object.fromEntries(
      Array.from({ length: 20 }, (_, i): [string, Tensor] => [
        `x.${i}`,
        ones([1]),
      ]),
    );
    const { message } = caught(() =>
      new Net().loadStateDict({ ...state(), ...extra }),
    );
    expect(message).toContain("unexpected (20): x.0, x.1,");
    expect(message).toEndWith(", …");
  });

  test("not strictly: what fits is loaded, what does not is told; shapes must still agree", async () => {
    const net = new Net();
    const { blocks: _, ...some } = {
      ...state(),
      blocks: 0,
      pos_embed: ones([1, 4, 3]),
    };
    delete (some as Record<string, Tensor>)["mask_tokens.0"];
    const difference = net.loadStateDict(
      { ...some, more: ones([1]) } as Record<string, Tensor>,
      { strict: false },
    );
    expect(difference).toMatchObject({
      missing: ["mask_tokens.0"],
      unexpected: ["more"],
    });
    expect(await net.posEmbed.sum().item()).toBe(12);
    const misshaped = { pos_embed: ones([2]) };
    expect(
      caught(() => net.loadStateDict(misshaped, { strict: false })).message,
    ).toContain("pos_embed is [2]");
  });
});
