import { describe, expect, test } from "bun:test";
import { Generator, type Tensor } from "@avjepa/core";
import { AttentiveClassifier, AttentivePooler } from "./attentive-pooler.ts";
import { distance } from "./testing.ts";
import { packMasks, Tokens } from "./tokens.ts";

const shape = { dim: 24, numHeads: 3, dtype: "float64", seed: 9 } as const;
const features = (count: number) =>
  new Generator(2).normal([count, 24], 0, 1, { dtype: "float64" });

async function deviation(t: Tensor): Promise<number> {
  const values = await t.toNumbers();
  return Math.sqrt(
    values.reduce((sum, value) => sum + value * value, 0) / values.length,
  );
}

describe.each([1, 3])("depth %p", (depth) => {
  test.each(["before", "after"] as const)(
    "blocks %p: a packed sequence is pooled as it is alone",
    async (blocks) => {
      using pooler = new AttentivePooler({
        ...shape,
        depth,
        blocks,
        queries: 2,
      });
      const data = features(7);
      const tokens = new Tokens(
        data,
        packMasks({
          video: [
            [
              [0, 1, 2, 3, 4],
              [0, 1],
            ],
          ],
        }),
      );
      const pooled = pooler.forward(tokens);
      expect(pooled.shape).toEqual([2, 2, 24]);
      const first = pooler.forward(data.slice(0, 0, 5).reshape(1, 5, 24));
      const second = pooler.forward(data.slice(0, 5, 7).reshape(1, 2, 24));
      expect(await distance(pooled.slice(0, 0, 1), first)).toBeLessThan(1e-13);
      expect(await distance(pooled.slice(0, 1, 2), second)).toBeLessThan(1e-13);
    },
  );
});

test("what writes into the residual stream is scaled by depth, the head is uniform", async () => {
  using probe = new AttentiveClassifier({
    ...shape,
    dim: 192,
    depth: 2,
    classes: 400,
  });
  const { crossAttentionBlock: cross, blocks } = probe.pooler;
  expect(await deviation(cross.mlp.fc1.weight)).toBeCloseTo(0.02, 3);
  expect(await deviation(cross.mlp.fc2.weight)).toBeCloseTo(
    0.02 / Math.sqrt(2),
    3,
  );
  expect(await deviation(cross.xattn.proj!.weight)).toBeCloseTo(
    0.02 / Math.sqrt(2),
    3,
  );
  expect(await deviation(blocks[0]!.attn.proj.weight)).toBeCloseTo(0.02 / 2, 3);
  expect(await deviation(probe.linear.weight)).toBeCloseTo(
    1 / Math.sqrt(3 * 192),
    3,
  );
  const head = await probe.linear.weight.toNumbers();
  expect(
    head.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
  ).toBeLessThanOrEqual(1 / Math.sqrt(192));
});

test("the projection after cross-attention is applied, a parameter without use, or absent", async () => {
  using applied = new AttentiveClassifier({ ...shape, classes: 3 });
  using unused = new AttentiveClassifier({
    ...shape,
    classes: 3,
    projection: "unused",
  });
  using absent = new AttentiveClassifier({
    ...shape,
    classes: 3,
    projection: "absent",
  });
  unused.loadStateDict(applied.stateDict());
  const {
    "pooler.cross_attention_block.xattn.proj.weight": weight,
    "pooler.cross_attention_block.xattn.proj.bias": _,
    ...rest
  } = applied.stateDict();
  expect(weight?.shape).toEqual([24, 24]);
  absent.loadStateDict(rest);
  const x = features(4).reshape(1, 4, 24);
  expect(await distance(unused.forward(x), absent.forward(x))).toBe(0);
  expect(await distance(unused.forward(x), applied.forward(x))).toBeGreaterThan(
    1e-6,
  );
  unused.forward(x).sum().backward();
  expect(unused.pooler.crossAttentionBlock.xattn.proj?.weight.grad).toBeNull();
});

test("sizes that do not fit are refused", () => {
  expect(() => new AttentivePooler({ ...shape, numHeads: 5 })).toThrow(
    "5 heads do not cut the width 24",
  );
  expect(() => new AttentiveClassifier({ ...shape, classes: 0 })).toThrow(
    "classes is 0",
  );
  using pooler = new AttentivePooler(shape);
  expect(() => pooler.forward(features(4))).toThrow(
    "must be tokens, or [B, N, D]",
  );
});
