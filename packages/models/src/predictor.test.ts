import { describe, expect, test } from "bun:test";
import { Generator, type Tensor } from "@avjepa/core";
import { AudioVideoPredictor } from "./audio-video-predictor.ts";
import { VideoPredictor } from "./predictor.ts";
import { distance, tiny, tinyBatch, tinyEncoder } from "./testing.ts";
import { oneMask, type PackedIndices, packMasks, Tokens } from "./tokens.ts";
import { VideoEncoder } from "./video-encoder.ts";

const context = packMasks({
  video: [
    [[0, 4], [7]],
    [[], [1, 2]],
  ],
  audio: [
    [[3, 1], []],
    [[5], [0]],
  ],
});
// The second sample has nothing to predict under the first mask.
const targets = packMasks({
  video: [
    [[1, 2], []],
    [[8], [3]],
  ],
  audio: [
    [[0], []],
    [[7, 6], []],
  ],
});
const shape = {
  dim: 24,
  depth: 2,
  seed: 2,
  zeroInitMaskTokens: false,
  dtype: "float64",
} as const;

/** The part of packed tokens that is one sequence, as a batch of one sample and mask. */
function alone(indices: PackedIndices, s: number): PackedIndices {
  const pick = (kind: number) => {
    const found: number[] = [];
    for (
      let m = indices.offsets[s] as number;
      m < (indices.offsets[s + 1] as number);
      m++
    ) {
      if (indices.modality[m] === kind)
        found.push(indices.position[m] as number);
    }
    return found;
  };
  return packMasks({ video: [[pick(0)]], audio: [[pick(1)]] });
}

test("a packed sequence is predicted as it is alone, with its mask's token", async () => {
  using encoder = tinyEncoder({ dtype: "float64" });
  using predictor = new AudioVideoPredictor(encoder, shape);
  const h = encoder.forward(tinyBatch(2, { dtype: "float64" }), context);
  const z = predictor.forward(h, targets);
  expect(z.data.shape).toEqual([7, 24]);
  expect(z.indices).toBe(targets);
  for (const s of [0, 2, 3]) {
    const own = new Tokens(h.sequence(s), alone(context, s));
    const single = predictor.forward(own, alone(targets, s), {
      maskIndices: [Math.floor(s / 2)],
    });
    expect(await distance(z.sequence(s), single.data)).toBeLessThan(1e-13);
  }
});

test("masks use their own tokens, modulo their number", async () => {
  using encoder = tinyEncoder({ dtype: "float64" });
  using predictor = new AudioVideoPredictor(encoder, {
    ...shape,
    maskTokens: 3,
  });
  const h = encoder.forward(
    tinyBatch(2, { dtype: "float64" }),
    oneMask(context, 0),
  );
  const predict = (mask: number) =>
    predictor.forward(h, oneMask(targets, 0), { maskIndices: [mask] }).data;
  expect(await distance(predict(1), predict(4))).toBe(0);
  expect(await distance(predict(1), predict(2))).toBeGreaterThan(1e-6);
});

test("a modality that no sequence has leaves its parameters without gradient", () => {
  using encoder = tinyEncoder();
  using predictor = new AudioVideoPredictor(encoder, { dim: 24, depth: 1 });
  const { video } = tinyBatch(1);
  const h = encoder.forward({ video }, packMasks({ video: [[[0, 1]]] }));
  predictor
    .forward(h, packMasks({ video: [[[5]]] }))
    .data.sum()
    .backward();
  expect(predictor.predictorEmbedA.weight.grad).toBeNull();
  expect(predictor.maskTokensA[0]?.grad).toBeNull();
  expect(predictor.maskTokensV[1]?.grad).toBeNull();
  expect(predictor.maskTokensV[0]?.grad).not.toBeNull();
});

test("without mask tokens, queries are noised targets", async () => {
  using encoder = tinyEncoder({ dtype: "float64" });
  using predictor = new AudioVideoPredictor(encoder, {
    ...shape,
    useMaskTokens: false,
  });
  expect(
    Object.keys(predictor.stateDict()).some((key) =>
      key.startsWith("mask_tokens"),
    ),
  ).toBe(false);
  const batch = tinyBatch(2, { dtype: "float64" });
  const [h, z] = [encoder.forward(batch), encoder.forward(batch, context)];
  const predict = (seed: number) => {
    const streams = [seed, 10, 11, 12].map((n) => new Generator(n));
    const generator = (sequence: number) => streams[sequence] as Generator;
    return predictor.forward(z, targets, { noise: { targets: h, generator } })
      .data;
  };
  expect(predict(1).shape).toEqual([7, 24]);
  expect(await distance(predict(1), predict(1))).toBe(0);
  expect(await distance(predict(1), predict(2))).toBeGreaterThan(1e-6);
  // The other sequences' noise is their own.
  const rest = (x: Tensor) => x.slice(0, targets.offsets[1] as number, 7);
  expect(await distance(rest(predict(1)), rest(predict(2)))).toBe(0);
  expect(() => predictor.forward(z, targets)).toThrow(
    "needs the targets to be noised",
  );
});

test("rotary positions, a video alone", async () => {
  using encoder = new VideoEncoder({
    ...tiny,
    positions: "rotary",
    dtype: "float64",
  });
  using predictor = new VideoPredictor(encoder, {
    ...shape,
    checkpointing: true,
  });
  expect("predictor_pos_embed" in predictor.stateDict()).toBe(false);
  const { video } = tinyBatch(1, { dtype: "float64" });
  const h = encoder.forward({ video }, packMasks({ video: [[[0, 1, 6]]] }));
  const predict = (positions: number[]): Tensor =>
    predictor.forward(h, packMasks({ video: [[positions]] })).data;
  expect(
    await distance(
      predict([4, 11]).slice(0, 0, 1),
      predict([11, 4]).slice(0, 1, 2),
    ),
  ).toBeLessThan(1e-13);
  expect(await distance(predict([4]), predict([5]))).toBeGreaterThan(1e-9);
});

describe("what does not fit is refused", () => {
  test("sizes", () => {
    using encoder = tinyEncoder();
    using deaf = new VideoEncoder(tiny);
    expect(() => new VideoPredictor(encoder, { dim: 28, numHeads: 3 })).toThrow(
      "3 heads do not divide the width 28",
    );
    expect(() => new AudioVideoPredictor(deaf, { dim: 24 })).toThrow(
      "its encoder takes no audio",
    );
    expect(() => new VideoPredictor(encoder, { depth: 0 })).toThrow(
      "depth is 0",
    );
  });

  test("masks", () => {
    using encoder = tinyEncoder();
    using predictor = new AudioVideoPredictor(encoder, { dim: 24, depth: 1 });
    const h = encoder.forward(tinyBatch(2), context);
    expect(() => predictor.forward(h, oneMask(targets, 0))).toThrow(
      "2 masks × 2 samples, but the targets are 1 × 2",
    );
    const outside = packMasks({
      video: [
        [[12], []],
        [[], []],
      ],
    });
    expect(() => predictor.forward(h, outside)).toThrow(
      "video position 12 is outside the grid of 12 tokens",
    );
    const nothing = packMasks({
      video: [
        [[], []],
        [[], []],
      ],
    });
    expect(() => predictor.forward(h, nothing)).toThrow(
      "there are no targets at all",
    );
  });
});
