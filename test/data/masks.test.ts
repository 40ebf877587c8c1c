/** Masks of real batches: never without context or target. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import {
  AUDIO,
  type ClipBatch,
  type ClipLoaderOptions,
  type Masks,
  multiblockMasks,
  VIDEO,
} from "@avjepa/data";

import { batches, failure, Folder, shippedMask, tone } from "./support.ts";

const folder = new Folder();
let index: string;

beforeAll(async () => {
  await folder.film("whole.mp4");
  await folder.film("mute.mp4", { sound: null });
  await folder.film("early.mp4", { sound: tone(0.4) });
  folder.wav("sound.wav", tone(2));
  // A column or two of sound, and nothing else.
  folder.wav("brief.wav", tone(0.1));
  folder.wav("briefer.wav", tone(0.2));
  const names = [
    "whole.mp4",
    "mute.mp4",
    "early.mp4",
    "sound.wav",
    "brief.wav",
    "briefer.wav",
  ];
  index = folder.text("six.csv", ...names.map((name) => `${name} 0`));
});
afterAll(() => folder[Symbol.dispose]());

/** Every sequence: something to see, something to predict, what the row has, nothing twice. */
function check(batch: ClipBatch, masks: Masks, count: number): void {
  const { context, target } = masks;
  const sequences = count * batch.rows;
  for (const side of [context, target]) {
    expect([side.samples, side.masks]).toEqual([batch.rows, count]);
    expect(side.offsets).toHaveLength(sequences + 1);
    expect(side.offsets.at(-1)).toBe(side.position.length);
  }
  const [time, height, width] = batch.info.video?.grid ?? [0, 0, 0];
  const columns = batch.info.audio?.grid[1] ?? 0;
  const rows = batch.info.audio?.grid[0] ?? 0;
  for (let s = 0; s < sequences; s++) {
    const row = s % batch.rows;
    const seen = new Set<string>();
    for (const side of [context, target]) {
      const [from, to] = [side.offsets[s]!, side.offsets[s + 1]!];
      expect(to).toBeGreaterThan(from);
      for (let i = from; i < to; i++) {
        const place = side.position[i]!;
        const kind = side.modality[i]!;
        const inside =
          kind === VIDEO
            ? batch.hasVideo[row] === 1 && place < time * height * width
            : place < rows * columns && place % columns < batch.audioCols[row]!;
        if (place < 0 || !inside)
          throw new Error(`row ${row} has no token ${kind}:${place}`);
        seen.add(`${kind}:${place}`);
      }
    }
    const total =
      context.offsets[s + 1]! -
      context.offsets[s]! +
      target.offsets[s + 1]! -
      target.offsets[s]!;
    expect(seen.size).toBe(total);
  }
}

const grids: [string, Partial<ClipLoaderOptions>][] = [
  ["4 × 4 × 2 and 16 × 6 tokens", {}],
  ["no sound", { modalities: ["video"] }],
  ["no picture", { modalities: ["audio"] }],
  ["2 × 2 × 1 and 8 × 3 tokens", { patch: 16, frames: 2 }],
  ["1 × 1 × 2 and 4 × 2 tokens", { patch: 32, frames: 4, audioSeconds: 0.6 }],
];

describe.each(["unbiased", "reference"])("%s", (mask_mode) => {
  test.each(grids)("%s", async (_, options) => {
    if (mask_mode === "reference" && options.modalities?.[0] === "audio") {
      const run = batches(
        index,
        { batch: 6, ...options, mask: shippedMask, data: { mask_mode } },
        1,
      );
      expect((await failure(run)).message).toContain("need video");
      return;
    }
    const single = options.patch === 32;
    const mask = single
      ? [
          {
            num_blocks: 1,
            spatial_scale: [0.5, 0.5],
            temporal_scale: [0.5, 0.5],
          },
        ]
      : shippedMask;
    const found = await batches(
      index,
      { batch: 6, ...options, mask, data: { mask_mode, max_bad_fraction: 1 } },
      12,
    );
    for (const batch of found) check(batch, batch.masks!, mask.length);
  });

  test("random tubes", async () => {
    const found = await batches(
      index,
      {
        batch: 6,
        mask: [{ ratio: 0.5 }],
        data: { mask_mode, mask_type: "random_tube", max_bad_fraction: 1 },
        ...(mask_mode === "reference" && { modalities: ["video"] }),
      },
      6,
    );
    for (const batch of found) check(batch, batch.masks!, 1);
  });

  test("kept short in time and number", async () => {
    const mask = [
      {
        num_blocks: 2,
        spatial_scale: [0.2, 0.5],
        max_temporal_keep: 0.5,
        max_keep: 3,
      },
    ];
    const found = await batches(
      index,
      {
        batch: 6,
        mask,
        data: { mask_mode, max_bad_fraction: 1 },
        // With sound the published masks know no max_keep.
        ...(mask_mode === "reference" && { modalities: ["video"] }),
      },
      6,
    );
    for (const batch of found) {
      const { offsets, modality } = batch.masks!.context;
      for (let s = 0; s < batch.rows; s++) {
        const own = modality.subarray(offsets[s], offsets[s + 1]);
        expect(own.filter((kind) => kind === VIDEO).length).toBeLessThanOrEqual(
          3,
        );
        expect(own.length).toBeGreaterThan(0);
      }
    }
  });

  test.each([
    [{ num_blocks: 1, spatial_scale: [1, 1] }, "spatial_scale"],
    [{ num_blocks: 0 }, "num_blocks"],
    [{ max_keep: 0 }, "max_keep"],
    [{ spatial_scale: [0.5, 0.2] }, "spatial_scale"],
  ])("%j is refused by name", async (mask, key) => {
    const error = await failure(
      batches(index, { mask: [mask], data: { mask_mode } }, 1),
    );
    expect(error.code).toBe("AVJ_MASK");
    expect(error.message).toContain(key);
  });
});

test("multiblockMasks: for a batch without masks, the same each time", async () => {
  // A second clip of a sound that is over has nothing that could be masked.
  const names = ["whole.mp4", "mute.mp4", "early.mp4", "sound.wav"];
  const four = folder.text("four.csv", ...names.map((name) => `${name} 0`));
  const found = await batches(
    four,
    { batch: 4, clips: 2, data: { max_bad_fraction: 1 } },
    4,
  );
  for (const batch of found) {
    expect(batch.masks).toBeNull();
    check(batch, multiblockMasks(batch), 1);
    const two = [
      { numBlocks: 8 },
      { numBlocks: 2, spatialScale: [0.7, 0.7] as [number, number] },
    ];
    const masks = multiblockMasks(batch, two);
    check(batch, masks, 2);
    expect(multiblockMasks(batch, two)).toEqual(masks);
    expect(masks.context.modality.includes(AUDIO)).toBe(true);
  }
});

test("multiblockMasks are those of the loader with the same generators", async () => {
  const options = { batch: 6, data: { max_bad_fraction: 1 } };
  const entry = {
    num_blocks: 3,
    spatial_scale: [0.2, 0.4],
    audio_scale: [0.5, 0.5],
  };
  const [made] = await batches(index, { ...options, mask: [entry] }, 1);
  const [bare] = await batches(index, options, 1);
  expect(
    multiblockMasks(bare!, { numBlocks: 3, spatialScale: [0.2, 0.4] }),
  ).toEqual(made!.masks!);
});
