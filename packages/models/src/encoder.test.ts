import { describe, expect, test } from "bun:test";
import {
  Generator,
  memory,
  noGrad,
  scope,
  synchronize,
  type Tensor,
  tensor,
  zeros,
} from "@avjepa/core";
import { settledMemory } from "../../core/src/testing.ts";
import { AudioVideoEncoder } from "./audio-video-encoder.ts";
import { imagenetMean, imagenetStd } from "./input.ts";
import { distance, tiny, tinyBatch, tinyEncoder } from "./testing.ts";
import { allTokens, packMasks } from "./tokens.ts";
import { VideoEncoder } from "./video-encoder.ts";

// Two masks, two samples; the first sample is silent under the second mask, the second is not seen.
const ragged = packMasks({
  video: [
    [
      [0, 4, 11],
      [7, 2],
    ],
    [[5], []],
  ],
  audio: [
    [
      [3, 1],
      [0, 11, 6, 7],
    ],
    [[], [9, 2]],
  ],
});

test("grids follow from crop, patch, frames, mel bands and columns", () => {
  using encoder = tinyEncoder();
  expect(encoder.videoGrid).toEqual([2, 2, 3]);
  expect(encoder.audioGrid).toEqual([3, 4]);
  using seconds = tinyEncoder({
    audioFrames: undefined,
    audioSeconds: 0.17,
    audioPatch: 4,
  });
  expect(seconds.audioGrid).toEqual([3, 4]);
  expect(encoder.forward(tinyBatch(2)).data.shape).toEqual([2 * (12 + 12), 24]);
});

describe("a packed sequence is what it is alone", () => {
  test("ragged masks", async () => {
    using encoder = tinyEncoder({ dtype: "float64" });
    const batch = tinyBatch(2, { dtype: "float64" });
    const packed = encoder.forward(batch, ragged);
    for (let s = 0; s < 4; s++) {
      const [start, end] = [
        ragged.offsets[s] as number,
        ragged.offsets[s + 1] as number,
      ];
      const own = (kind: number) =>
        [...ragged.position.subarray(start, end)].filter(
          (_, i) => ragged.modality[start + i] === kind,
        );
      const sample = s % 2;
      const alone = {
        video: batch.video.slice(0, sample, sample + 1),
        audio: batch.audio.slice(0, sample, sample + 1),
      };
      const h = encoder.forward(
        alone,
        packMasks({ video: [[own(0)]], audio: [[own(1)]] }),
      );
      expect(await distance(packed.sequence(s), h.data)).toBeLessThan(1e-13);
    }
  });

  test("one modality of a batch of both", async () => {
    using encoder = tinyEncoder({ dtype: "float64" });
    const { video, audio } = tinyBatch(2, { dtype: "float64" });
    const present = allTokens(2, {
      video: [[0, 1, 2], []],
      audio: [[], [4, 5]],
    });
    const h = encoder.forward({ video, audio, present });
    const seen = encoder.forward(
      { video: video.slice(0, 0, 1) },
      packMasks({ video: [[[0, 1, 2]]] }),
    );
    const heard = encoder.forward(
      { audio: audio.slice(0, 1, 2) },
      packMasks({ audio: [[[4, 5]]] }),
    );
    expect(await distance(h.sequence(0), seen.data)).toBeLessThan(1e-13);
    expect(await distance(h.sequence(1), heard.data)).toBeLessThan(1e-13);
  });

  test("a video without sound at all, and sound without video", () => {
    using encoder = tinyEncoder();
    const { video, audio } = tinyBatch(2);
    expect(encoder.forward({ video }).data.shape).toEqual([24, 24]);
    expect(encoder.forward({ audio }).data.shape).toEqual([24, 24]);
    expect(() => encoder.forward({})).toThrow("neither video nor audio");
    expect(() => encoder.forward({ video }, ragged)).toThrow(
      "there are audio tokens, but no audio",
    );
  });
});

test("masking is running on the kept tokens: values do not depend on what is left out", async () => {
  using encoder = tinyEncoder({ dtype: "float64" });
  const { video, audio } = tinyBatch(1, { dtype: "float64" });
  const kept = packMasks({ video: [[[0]]], audio: [[[0]]] });
  const changed = audio.mul(
    tensor(
      Float64Array.from({ length: 20 }, (_, i) => (i < 5 ? 1 : 3)),
      [20],
    ),
  );
  const [a, b] = [
    encoder.forward({ video, audio }, kept),
    encoder.forward({ video, audio: changed }, kept),
  ];
  expect(await distance(a.data, b.data)).toBe(0);
});

test("uint8 video is normalised as floats are beforehand", async () => {
  using encoder = new VideoEncoder({ ...tiny, dtype: "float64" });
  const bytes = Uint8Array.from(
    { length: 4 * 16 * 24 * 3 },
    (_, i) => (i * 89) % 256,
  );
  const floats = new Float64Array(bytes.length);
  bytes.forEach((value, i) => {
    const [place, c] = [Math.floor(i / 3), i % 3];
    floats[c * 4 * 16 * 24 + place] =
      (value / 255 - (imagenetMean[c] as number)) / (imagenetStd[c] as number);
  });
  const a = encoder.forward({ video: tensor(bytes, [1, 4, 16, 24, 3]) });
  const b = encoder.forward({ video: tensor(floats, [1, 3, 4, 16, 24]) });
  // Normalised in float32.
  expect(await distance(a.data, b.data)).toBeLessThan(1e-5);
});

test("pictures: two axes, a two-dimensional kernel, bytes too", () => {
  using encoder = new VideoEncoder({ ...tiny, frames: 1 });
  expect(encoder.videoGrid).toEqual([2, 3]);
  expect(encoder.patchEmbed.proj.weight.shape).toEqual([24, 3, 8, 8]);
  expect(encoder.forward({ video: zeros([2, 3, 16, 24]) }).data.shape).toEqual([
    12, 24,
  ]);
  expect(
    encoder.forward({
      video: tensor(new Uint8Array(16 * 24 * 3), [1, 16, 24, 3]),
    }).data.shape,
  ).toEqual([6, 24]);
  using both = tinyEncoder({ frames: 1 });
  expect(
    both.forward({ video: zeros([2, 3, 16, 24]), audio: zeros([2, 1, 12, 20]) })
      .data.shape,
  ).toEqual([36, 24]);
});

test("other input sizes have their positions interpolated", () => {
  using encoder = tinyEncoder();
  const input = {
    video: zeros([1, 3, 6, 32, 16]),
    audio: zeros([1, 1, 12, 37]),
  };
  expect(encoder.forward(input).data.shape).toEqual([3 * 4 * 2 + 3 * 7, 24]);
});

test("rotary positions replace the table, and turn with the place", async () => {
  using encoder = new VideoEncoder({
    ...tiny,
    positions: "rotary",
    dtype: "float64",
  });
  expect("pos_embed" in encoder.stateDict()).toBe(false);
  const { video } = tinyBatch(1, { dtype: "float64" });
  const one = encoder.forward({ video }, packMasks({ video: [[[0]]] }));
  const alone = encoder.forward({
    video: video.slice(2, 0, 2).slice(3, 0, 8).slice(4, 0, 8),
  });
  expect(await distance(one.data, alone.data)).toBeLessThan(1e-13);
  const pair = (second: number) =>
    encoder.forward(
      { video: zeros([1, 3, 4, 16, 24], { dtype: "float64" }) },
      packMasks({ video: [[[0, second]]] }),
    );
  expect(await distance(pair(1).data, pair(6).data)).toBe(0);
});

describe("checkpointing", () => {
  async function run(checkpointing: boolean): Promise<Float64Array[]> {
    using encoder = tinyEncoder({ checkpointing });
    const { data } = encoder.forward(tinyBatch(2), ragged);
    data.square().sum().backward();
    const gradients = encoder
      .parameters()
      .flatMap(({ grad }) => (grad ? [grad] : []));
    return Promise.all([data, ...gradients].map((t) => t.toNumbers()));
  }

  test("changes no bit of outputs or gradients", async () => {
    const [plain, again] = [await run(false), await run(true)];
    expect(plain.length).toBe(2 + 2 + 2 * 12 + 2 + 1);
    expect(again).toEqual(plain);
  });
});

test("outputs of single blocks, each through the last norm", async () => {
  using encoder = tinyEncoder();
  const batch = tinyBatch(1);
  const [last, first] = encoder.forwardLayers(batch, [1, 0]);
  expect(
    await distance(
      (last as { data: Tensor }).data,
      encoder.forward(batch).data,
    ),
  ).toBe(0);
  expect(
    await distance(
      (first as { data: Tensor }).data,
      encoder.forward(batch).data,
    ),
  ).toBeGreaterThan(0);
  expect(() => encoder.forwardLayers(batch, [2])).toThrow(
    "there is no block 2",
  );
});

describe("a copy", () => {
  test("has the same values and is another model", async () => {
    using encoder = tinyEncoder();
    using frozen = encoder.clone({ frozen: true });
    const batch = tinyBatch(1);
    expect(
      await distance(frozen.forward(batch).data, encoder.forward(batch).data),
    ).toBe(0);
    expect(frozen.parameterCount()).toBe(0);
    expect(frozen.forward(batch).data.requiresGrad).toBe(false);
    scope(() => encoder.norm.weight.copyFrom(zeros([24])));
    expect(await distance(frozen.norm.weight, encoder.norm.weight)).toBe(1);
  });

  test("leaves a shared generator where it was", () => {
    const generator = new Generator(3);
    using encoder = tinyEncoder({ generator });
    const { counter } = generator;
    using _ = encoder.clone();
    expect(generator.counter).toBe(counter);
  });
});

test("equal seeds give equal weights, of deviation 0.02 and without outliers", async () => {
  const make = (seed: number) =>
    new VideoEncoder({ ...tiny, embedDim: 192, depth: 2, seed });
  using a = make(5);
  using b = make(5);
  using c = make(6);
  const weights = await a.blocks[0]!.mlp.fc1.weight.toNumbers();
  const deviation = Math.sqrt(
    weights.reduce((sum, value) => sum + value * value, 0) / weights.length,
  );
  expect(deviation).toBeCloseTo(0.02, 3);
  expect(
    weights.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
  ).toBeLessThan(0.2);
  expect(await b.blocks[0]!.mlp.fc1.weight.toNumbers()).toEqual(weights);
  expect(await c.blocks[0]!.mlp.fc1.weight.toNumbers()).not.toEqual(weights);
  expect(await a.blocks[1]!.mlp.fc1.weight.toNumbers()).not.toEqual(weights);
});

test("a forward pass leaves nothing behind but its result", async () => {
  using encoder = tinyEncoder();
  const batch = tinyBatch(2);
  const before = await settledMemory();
  for (let i = 0; i < 3; i++) {
    const h = noGrad(() => encoder.forward(batch, ragged));
    h.data.dispose();
    h.offsets.dispose();
  }
  await synchronize();
  expect(memory().tensors).toBe(before.tensors);
  expect(memory().bytes).toBe(before.bytes);
});

describe("what does not fit is refused", () => {
  test.each([
    [{ numHeads: 5 }, "5 heads do not divide the width 24"],
    [{ embedDim: 258, numHeads: 2 }, "at most 128 are supported"],
    [
      { embedDim: 36, numHeads: 2, uniformPower: false },
      "the width 36 is not divisible by 8",
    ],
    [{ crop: 20 }, "the crop's height 20 is not divisible by the patch 8"],
    [{ frames: 5 }, "the number of frames 5 is not divisible by the tubelet 2"],
    [
      { mel: 13 },
      "the number of mel bands 13 is not divisible by the audio patch's height 4",
    ],
    [
      { audioFrames: 21 },
      "the number of audio frames 21 is not divisible by the audio patch's width 5",
    ],
    [{ depth: 0 }, "depth is 0"],
  ])("%p", (options, message) => {
    expect(() => tinyEncoder(options)).toThrow(message);
  });

  test("inputs of another layout", () => {
    using encoder = tinyEncoder();
    const { video, audio } = tinyBatch(1);
    expect(() => encoder.forward({ video: zeros([1, 4, 16, 24, 3]) })).toThrow(
      "the encoder's video is [1, 4, 16, 24, 3]",
    );
    expect(() => encoder.forward({ audio: zeros([1, 12, 20]) })).toThrow(
      "the encoder's audio is [1, 12, 20]",
    );
    expect(() => encoder.forward({ video: zeros([1, 3, 4, 4, 24]) })).toThrow(
      "holds no patch of",
    );
    expect(() =>
      encoder.forward({ video, audio: zeros([2, 1, 12, 20]) }),
    ).toThrow("1 samples of video, but 2 of audio");
    expect(() =>
      encoder.forward({ video, audio }, packMasks({ video: [[[]]] })),
    ).toThrow("no tokens at all");
  });

  test("weights of another model", () => {
    using small = new AudioVideoEncoder({ ...tiny, depth: 1 });
    using encoder = tinyEncoder();
    expect(() => encoder.loadStateDict(small.stateDict())).toThrow(
      "blocks.1.norm1.weight",
    );
  });
});

test("a video's three equal shares of sines fit any width", async () => {
  for (const embedDim of [42, 129]) {
    using encoder = new VideoEncoder({
      embedDim,
      depth: 1,
      numHeads: 3,
      crop: 16,
      patch: 8,
      frames: 4,
    });
    const video = new Generator(1).normal([1, 3, 4, 16, 16]);
    const { data } = encoder.forward({ video });
    expect(data.shape).toEqual([8, embedDim]);
    expect(await data.isFinite().min().item()).toBe(1);
  }
});
