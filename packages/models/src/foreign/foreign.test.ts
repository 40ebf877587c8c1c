import { describe, expect, test } from "bun:test";
import { type HostArray, nn } from "@avjepa/core";
import { positionTable } from "../positions.ts";
import { AudioVideoEncoder } from "../audio-video-encoder.ts";
import { VideoEncoder } from "../video-encoder.ts";
import { describeForeignEncoder, describeForeignProbe } from "./describe.ts";
import { elementTypes } from "./element-types.ts";
import { gridBefore, loadForeignWeights } from "./load.ts";
import { isForeignCheckpoint, readForeignCheckpoint } from "./read.ts";
import type { ForeignTensor, ForeignWeights } from "./types.ts";

const fixtures = new URL("../../../../test/fixtures/parity/", import.meta.url)
  .pathname;
const pretrained = `${fixtures}checkpoints/avjepa_zip.pth.tar`;
const size = { embedDim: 24, depth: 1, numHeads: 2, frames: 4 };

/** A tensor that is at hand. */
function held(values: HostArray, shape: readonly number[]): ForeignTensor {
  return {
    shape,
    dtype: "float32",
    fileDtype: "float32",
    read: async () => values,
  };
}

/** An encoder's own weights, as if they came from a file. */
async function weightsOf(
  module: nn.Module,
): Promise<Map<string, ForeignTensor>> {
  const weights = new Map<string, ForeignTensor>();
  for (const [name, value] of module.namedParameters())
    weights.set(name, held(await value.toArray(), value.shape));
  return weights;
}

const load = (
  module: nn.Module,
  weights: ForeignWeights,
  options: Parameters<typeof loadForeignWeights>[2] = {},
) => loadForeignWeights(module, weights, options);

describe("loading", () => {
  test("every key must be there, and no other, of the right shape", async () => {
    using encoder = new VideoEncoder({ ...size, crop: 32 });
    const weights = await weightsOf(encoder);
    weights.delete("norm.bias");
    weights.set("head.weight", held(new Float32Array(2), [2]));
    weights.set("norm.weight", held(new Float32Array(3), [3]));
    const message = await load(encoder, weights, { path: "a.pth.tar" }).catch(
      (error: Error) => error.message,
    );
    expect(message).toContain("a.pth.tar: the weights do not fit the model");
    expect(message).toContain("missing (1): norm.bias");
    expect(message).toContain("unexpected (1): head.weight");
    expect(message).toContain("norm.weight is [3], not [24]");
  });

  test("patterns allow what is missing or extra, and the notes say what", async () => {
    using encoder = new VideoEncoder({ ...size, crop: 32 });
    const weights = await weightsOf(encoder);
    weights.delete("norm.bias");
    weights.set("head.weight", held(new Float32Array(2), [2]));
    await expect(
      load(encoder, weights, { allowMissing: ["norm.*"] }),
    ).rejects.toThrow("unexpected (1): head.weight");
    const notes = await load(encoder, weights, {
      allowMissing: ["norm.*"],
      allowExtra: ["head.*"],
    });
    expect(notes).toEqual([
      "not in the file, and initial: norm.bias",
      "in the file, and not used: head.weight",
    ]);
  });

  test("positions of another size are interpolated, or the model's own", async () => {
    using small = new VideoEncoder({ ...size, crop: 32 });
    using large = new VideoEncoder({ ...size, crop: 64 });
    const own = await large.posEmbed!.toNumbers();
    const weights = await weightsOf(small);
    const [analytic] = await load(large, weights, { positions: "analytic" });
    expect(analytic).toContain("8 places, the model's 32");
    expect(await large.posEmbed!.toNumbers()).toEqual(own);
    const [note] = await load(large, weights);
    expect(note).toContain("interpolated from 2×2×2 to 2×4×4");
    const resized = await large.posEmbed!.toNumbers();
    expect(resized).not.toEqual(own);
    // The corner is clamped to the small table's.
    expect([...resized.slice(0, 24)]).toEqual([
      ...(await small.posEmbed!.toNumbers()).slice(0, 24),
    ]);
  });

  test("a model of video gives its parts to one of video and sound", async () => {
    using video = new VideoEncoder({ ...size, crop: 32, seed: 1 });
    using both = new AudioVideoEncoder({ ...size, crop: 32, seed: 2 });
    const weights = await weightsOf(video);
    await expect(load(both, weights)).rejects.toThrow(
      "missing (2): patch_embed.audio_proj.weight, patch_embed.audio_proj.bias",
    );
    const sound = await both.patchEmbed.audioProj.weight.toArray();
    await load(both, weights, { allowMissing: ["patch_embed.audio_proj.*"] });
    const { qkv } = both.blocks[0]!.attn;
    expect(await qkv.weight.toArray()).toEqual(
      await video.blocks[0]!.attn.qkv.weight.toArray(),
    );
    expect(await both.patchEmbed.audioProj.weight.toArray()).toEqual(sound);
  });

  test("a file without a table has the formula's", async () => {
    using encoder = new VideoEncoder({ ...size, crop: 32 });
    const weights = await weightsOf(encoder);
    weights.delete("pos_embed");
    const [note] = await load(encoder, weights);
    expect(note).toContain("the table of sines and cosines is used");
    expect([...(await encoder.posEmbed!.toArray())]).toEqual([
      ...positionTable(24, [2, 2, 2], { uniformPower: true }),
    ]);
  });

  test("the grid behind a table", () => {
    expect(gridBefore(1568, [8, 24, 24])).toEqual([8, 14, 14]);
    expect(gridBefore(784, [8, 14, 14])).toEqual([4, 14, 14]);
    expect(gridBefore(196, [24, 24])).toEqual([14, 14]);
    expect(gridBefore(96, [8, 25])).toEqual([8, 12]);
    expect(gridBefore(97, [8, 25])).toBeNull();
  });
});

describe("what weights say", () => {
  test("an audio-visual encoder", async () => {
    const found = await readForeignCheckpoint(pretrained, { key: "encoder" });
    const told = await describeForeignEncoder(found, {
      frames: 4,
      numHeads: 2,
    });
    expect(told).toMatchObject({ crop: 32, frames: 4, patch: 16, tubelet: 2 });
    expect(told.audio).toEqual({ mel: 128, frames: 192, patch: [16, 16] });
    await expect(describeForeignEncoder(found, { frames: 4 })).rejects.toThrow(
      "how many heads",
    );
    await expect(
      describeForeignEncoder(found, { frames: 6, numHeads: 2 }),
    ).rejects.toThrow("no square picture for 6 frames");
  });

  test("sound in a model that has none is extra", async () => {
    const { weights } = await readForeignCheckpoint(pretrained);
    using encoder = new VideoEncoder({ ...size, crop: 32 });
    const message = await load(encoder, weights).catch(
      (error: Error) => error.message,
    );
    expect(message).toContain("patch_embed.audio_proj.weight");
    const notes = await load(encoder, weights, {
      allowExtra: ["*audio*", "video_pos_embed"],
    });
    expect(notes[0]).toContain("in the file, and not used");
  });

  test("a probe must be told its projection", async () => {
    const found = await readForeignCheckpoint(
      `${fixtures}checkpoints/probe_m.pth.tar`,
    );
    expect(found.layout).toBe("probe");
    expect(() => describeForeignProbe(found, { numHeads: 2 })).toThrow(
      "whether the probe applies the projection",
    );
    const { projection, classes } = describeForeignProbe(found, {
      numHeads: 2,
      projection: "unused",
    });
    expect([projection, classes]).toEqual(["unused", 7]);
    await expect(describeForeignEncoder(found)).rejects.toThrow("no encoder's");
  });
});

describe("files", () => {
  test("a wrong key lists those that are there", async () => {
    const wrong = readForeignCheckpoint(pretrained, { key: "ema" });
    await expect(wrong).rejects.toMatchObject({
      code: "AVJ_FOREIGN",
      hint: "it has encoder, predictor, target_encoder: set the key to one of them",
    });
    await expect(
      readForeignCheckpoint(`${fixtures}hf_vjepa2/model_h24`, { key: "probe" }),
    ).rejects.toThrow("no weights under the key probe");
  });

  test("what is no checkpoint is said to be none", async () => {
    await expect(readForeignCheckpoint("absent.pth.tar")).rejects.toThrow(
      "there is no file absent.pth.tar",
    );
    await expect(readForeignCheckpoint(fixtures)).rejects.toThrow(
      "is a folder",
    );
    await expect(readForeignCheckpoint(import.meta.path)).rejects.toThrow(
      "no file of torch.save",
    );
    expect(isForeignCheckpoint(pretrained)).toBe(true);
    expect(isForeignCheckpoint(`${fixtures}hf_vjepa2/model_h24`)).toBe(true);
    expect(isForeignCheckpoint(fixtures)).toBe(false);
  });
});

test("small floats have their values", () => {
  const read = (
    type: string,
    bits: number[],
    Words: typeof Uint16Array | typeof Uint8Array,
  ) => [...elementTypes[type]!.decode(new Words(bits).buffer as ArrayBuffer)];
  expect(
    read("float16", [0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00], Uint16Array),
  ).toEqual([1, -2, 65504, 2 ** -24, Infinity]);
  expect(read("bfloat16", [0x3f80, 0xc040], Uint16Array)).toEqual([1, -3]);
  expect(read("float8_e4m3fn", [0x38, 0x7e, 0x7f, 0x01], Uint8Array)).toEqual([
    1,
    448,
    Number.NaN,
    2 ** -9,
  ]);
  expect(read("float8_e5m2", [0x3c, 0x7b, 0xfc], Uint8Array)).toEqual([
    1,
    57344,
    -Infinity,
  ]);
});
