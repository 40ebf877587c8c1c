import { expect, test } from "bun:test";
import { tinyEncoder } from "./testing.ts";
import { MultiMask, unwrapKeys } from "./multi-mask.ts";

test("the wrapper's prefix goes on and off", () => {
  using encoder = tinyEncoder();
  const wrapped = new MultiMask(encoder).stateDict();
  expect(Object.keys(wrapped)[0]).toBe("backbone.video_pos_embed");
  expect(Object.keys(unwrapKeys(wrapped))).toEqual(
    Object.keys(encoder.stateDict()),
  );
  expect(
    unwrapKeys({ "module.backbone.norm.weight": 1, "module.linear.bias": 2 }),
  ).toEqual({ "norm.weight": 1, "linear.bias": 2 });
});
