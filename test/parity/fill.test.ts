import { expect, test } from "bun:test";
import { fillBytes, fillValues, unitValues } from "./fill.ts";

test("the fill rule gives its published check values", () => {
  expect(unitValues("x", 0, 1)[0]).toBe(-0.597583532333374);
  expect(fillValues("x", { seed: 0, scale: 0.217, offset: 0 }, 1)[0]).toBe(
    -0.12967562675476074,
  );
  expect(
    fillValues(
      "blocks.0.attn.qkv.weight",
      { seed: 6500197, scale: 0.217, offset: 1 },
      2,
    )[1],
  ).toBe(1.0717692375183105);
  expect(
    fillValues(
      "encoder.norm.weight",
      { seed: 1099511627777, scale: 0.217, offset: 0 },
      1001,
    )[1000],
  ).toBe(-0.1987151950597763);
  expect([...fillBytes("frames", { seed: 3 }, 8)]).toEqual([
    243, 157, 190, 142, 151, 194, 14, 202,
  ]);
});
