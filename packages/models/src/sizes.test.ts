import { expect, test } from "bun:test";
import type { nn } from "@avjepa/core";
import { AttentiveClassifier } from "./attentive-pooler.ts";
import { AudioVideoEncoder } from "./audio-video-encoder.ts";
import { AudioVideoPredictor } from "./audio-video-predictor.ts";
import { Blank } from "./init.ts";
import { VideoPredictor } from "./predictor.ts";
import { vitDims, type VitSize } from "./sizes.ts";
import { VideoEncoder } from "./video-encoder.ts";

/** Learned values of a model of `depth` blocks, counted on one of a single block. */
function count(
  model: nn.Module & { blocks?: nn.Module[]; predictorBlocks?: nn.Module[] },
  depth: number,
): number {
  const [block] = (model.blocks ?? model.predictorBlocks) as nn.Module[];
  const total =
    model.parameterCount() +
    (depth - 1) * (block as nn.Module).parameterCount();
  model.dispose();
  return total;
}

// Of the published code: encoder, audio-visual encoder, predictor of 384 × 12, audio-visual predictor.
test.each<[VitSize, number, number, number, number]>([
  ["vit_tiny", 5_633_856, 5_683_200, 21_443_136, 21_518_016],
  ["vit_small", 21_884_544, 21_983_232, 21_590_784, 21_739_392],
  ["vit_base", 86_236_416, 86_433_792, 21_886_080, 22_182_144],
  ["vit_large", 303_885_312, 304_148_480, 22_082_944, 22_477_312],
  ["vit_huge", 631_648_000, 631_976_960, 22_279_808, 22_772_480],
  ["vit_giant", 1_012_173_952, 1_012_535_808, 22_378_240, 22_920_064],
])(
  "%s has as many parameters as the published one",
  (size, video, audible, predictor, audiblePredictor) => {
    const { depth } = vitDims(size);
    const generator = new Blank();
    const encoder = new VideoEncoder({ size, depth: 1, generator });
    const both = new AudioVideoEncoder({ size, depth: 1, generator });
    expect(
      count(new VideoPredictor(encoder, { depth: 1, generator }), 12),
    ).toBe(predictor);
    expect(
      count(new AudioVideoPredictor(both, { depth: 1, generator }), 12),
    ).toBe(audiblePredictor);
    expect(count(encoder, depth)).toBe(video);
    expect(count(both, depth)).toBe(audible);
  },
);

test("a probe has as many parameters as the published one", () => {
  using large = new AttentiveClassifier({
    dim: 1024,
    numHeads: 16,
    classes: 400,
    generator: new Blank(),
  });
  expect(large.parameterCount()).toBe(13_007_248);
});

test("the largest MLP is the one that was meant", () => {
  const { embedDim, mlpRatio } = vitDims("vit_gigantic");
  expect(Math.trunc(embedDim * mlpRatio)).toBe(8192);
});

test("single numbers go over a named size, unknown names are refused", () => {
  expect(vitDims("vit_tiny", { depth: 2 })).toEqual({
    embedDim: 192,
    depth: 2,
    numHeads: 3,
    mlpRatio: 4,
  });
  expect(() => vitDims("vit_Base")).toThrow('there is no size "vit_Base"');
  expect(() => vitDims(undefined, { embedDim: 48 })).toThrow(
    "neither size nor depth is given",
  );
});
