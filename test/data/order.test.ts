/** What comes when: threads, cursors, ranks, passes, weights. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { ClipLoader } from "@avjepa/data";

import { batches, contents, Folder, shippedMask, small } from "./support.ts";

const folder = new Folder();
let index: string;

beforeAll(async () => {
  const names = Array.from({ length: 7 }, (_, i) => `${i}.mp4`);
  for (const [i, name] of names.entries())
    await folder.film(name, { seed: i, ...(i === 3 && { sound: null }) });
  index = folder.text("seven.csv", ...names.map((name, i) => `${name} ${i}`));
});
afterAll(() => folder[Symbol.dispose]());

describe("the same batches", () => {
  test.each([
    { mask: shippedMask },
    { mask: shippedMask, data: { mask_mode: "reference" }, clips: 2 },
    {
      compat: "reference",
      pixels: "f32",
      dataAug: { auto_augment: true, motion_shift: true, reprob: 0.3 },
    },
  ] as const)("with 1 and 3 threads: %j", async (options) => {
    const one = await batches(index, { ...options, workers: 1 }, 5);
    const three = await batches(index, { ...options, workers: 3 }, 5);
    expect(three.map(contents)).toEqual(one.map(contents));
    expect(three.flatMap(({ events }) => events)).toEqual(
      one.flatMap(({ events }) => events),
    );
  });

  test("from a cursor within a pass and from one in a later pass", async () => {
    const options = { mask: shippedMask, workers: 2, batch: 3 };
    const all = (await batches(index, options, 8)).map(contents);
    for (const from of [1, 2, 4, 5]) {
      const cursor = all[from - 1]!.next;
      const rest = await batches(index, { ...options, cursor }, 8 - from);
      expect(rest.map(contents)).toEqual(all.slice(from));
    }
    await using loader = new ClipLoader(index, { ...small, ...options });
    await loader.next();
    loader.cursor = all[5]!.next;
    expect(contents((await loader.next())!)).toEqual(all[6]!);
    expect(loader.cursor).toEqual(all[6]!.next);
  });

  test("for a seed, and others for another", async () => {
    const [a, again, other] = await Promise.all(
      [1, 1, 2].map((seed) => batches(index, { seed }, 1)),
    );
    expect(contents(again![0]!)).toEqual(contents(a![0]!));
    expect(contents(other![0]!).video).not.toBe(contents(a![0]!).video);
  });
});

describe("each sample once a pass", () => {
  test("over batches that do not divide it", async () => {
    const found = await batches(index, { batch: 3 }, 14);
    const seen = found.flatMap(({ indices, passes }) =>
      [...indices].map((i, s) => ({ i, pass: passes[s]! })),
    );
    for (let pass = 0; pass < 6; pass++) {
      const own = seen.filter((of) => of.pass === pass).map(({ i }) => i);
      expect(own.toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    }
    expect(found[6]!.next).toEqual({ pass: 3, position: 21 });
  });

  test.each(["shuffled", "sequential"] as const)(
    "over ranks together, %s",
    async (order) => {
      const options = { batch: 2, passes: 1, order };
      const ranks = await Promise.all(
        [0, 1, 2].map((rank) => batches(index, { ...options, rank, world: 3 })),
      );
      const seen = ranks.flat().flatMap(({ indices }) => [...indices]);
      expect(seen.toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6]);
      // The same samples as one process with the same global batch has.
      const alone = await batches(index, { ...options, batch: 6 });
      const first = ranks.flatMap(([batch]) => [...batch!.indices]);
      expect(first.toSorted()).toEqual([...alone[0]!.indices].toSorted());
    },
  );

  test("passes end, with or without the last batch", async () => {
    const sizes = async (dropLast: boolean) =>
      (await batches(index, { batch: 4, passes: 1, dropLast })).map(
        ({ samples }) => samples,
      );
    expect(await sizes(false)).toEqual([4, 3]);
    expect(await sizes(true)).toEqual([4]);
  });
});

test("a pass has an order of its own", async () => {
  const [first, second] = await batches(index, { batch: 7 }, 2);
  expect([...first!.indices]).not.toEqual([...second!.indices]);
});

test("weights choose the index, each file's samples alike", async () => {
  const rare = folder.text("rare.csv", "0.mp4 0", "1.mp4 1");
  const often = folder.text("often.csv", "4.mp4 4", "5.mp4 5", "6.mp4 6");
  const found = await batches(
    [rare, often],
    {
      batch: 40,
      workers: 2,
      modalities: ["audio"],
      data: { datasets_weights: [1, 3] },
    },
    5,
  );
  const labels = found.flatMap((batch) => [...batch.labels]);
  const share = labels.filter((label) => label >= 4).length / labels.length;
  expect(share).toBeGreaterThan(0.65);
  expect(share).toBeLessThan(0.85);
  expect(new Set(labels)).toEqual(new Set([0, 1, 4, 5, 6]));
});

test("clips of a file lie one after another, rows clip by clip", async () => {
  const [batch] = await batches(
    index,
    { clips: 2, batch: 3, order: "sequential" },
    1,
  );
  expect(batch!.rows).toBe(6);
  expect(batch!.videoShape).toEqual([6, 4, 32, 32, 3]);
  for (let s = 0; s < 3; s++)
    expect(batch!.starts[3 + s]).toBeGreaterThan(batch!.starts[s]!);
  const cut = batch!.frames.subarray(0, 4);
  expect([...cut]).toEqual([0, 2, 4, 6].map((at) => at + cut[0]!));
});
