/** Clips as evaluations take them. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ClipLoader, type ClipLoaderOptions, writeFilm } from "@avjepa/data";

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "avjepa-evaluation-"));
  const [width, height, count] = [64, 32, 30];
  const frames = Uint8Array.from(
    { length: count * height * width * 3 },
    // Brighter to the right and with time, so that crops and clips differ.
    (_, i) =>
      2 * (Math.floor(i / 3) % width) + 3 * Math.floor(i / 3 / width / height),
  );
  const sound = Float32Array.from({ length: 19_200 }, (_, t) =>
    Math.sin(t * t * 1e-5),
  );
  const film = { width, height, fps: 25, frames, sound };
  await writeFilm(join(folder, "film.mp4"), film);
  writeFileSync(join(folder, "index.csv"), "film.mp4 3\n");
});
afterAll(() => rmSync(folder, { recursive: true }));

async function load(options: Partial<ClipLoaderOptions>) {
  await using loader = new ClipLoader(join(folder, "index.csv"), {
    batch: 1,
    crop: 16,
    patch: 8,
    frames: 4,
    step: 2,
    audioSeconds: 0.32,
    order: "sequential",
    passes: 1,
    ...options,
  });
  const batch = (await loader.next())!;
  const { rows, starts, labels } = batch;
  const each = <T extends { slice(from: number, to: number): T }>(
    values: T & { length: number },
  ): T[] =>
    Array.from({ length: rows }, (_, row) =>
      values.slice(
        (row * values.length) / rows,
        ((row + 1) * values.length) / rows,
      ),
    );
  return {
    rows,
    labels: [...labels],
    starts: [...starts],
    frames: each(Array.from(batch.frames)),
    pixels: each(batch.videoData as Uint8Array),
    sound: each(batch.audioData!),
    end: await loader.next(),
  };
}

test("clips are spread over the film, crops over its long side; nothing is drawn", async () => {
  const evaluation = { views: 3 };
  const one = await load({ clips: 2, evaluation, seed: 1 });
  expect(one.rows).toBe(6);
  expect(one.labels).toEqual([3]);
  expect(one.end).toBeNull();
  // Clip by clip, view by view: from the first frame, and to the last.
  expect(one.frames).toEqual([
    ...Array(3).fill([0, 2, 4, 6]),
    ...Array(3).fill([23, 25, 27, 29]),
  ]);
  for (const first of [0, 3]) {
    const [a, b, c] = one.pixels.slice(first, first + 3);
    const mean = (of: Uint8Array) => of.reduce((x, y) => x + y, 0) / of.length;
    // 32 pixels wide after resizing: windows at 0, 8 and 16.
    expect(mean(b!) - mean(a!)).toBeCloseTo(32, -1);
    expect(mean(c!) - mean(b!)).toBeCloseTo(32, -1);
    expect(one.sound[first + 1]).toEqual(one.sound[first]!);
    expect(one.starts[first + 2]).toBe(one.starts[first]!);
  }
  expect(one.sound[3]).not.toEqual(one.sound[0]!);
  expect(await load({ clips: 2, evaluation, seed: 9, workers: 2 })).toEqual(
    one,
  );
});

test("one view is the centre; none is a random crop", async () => {
  const [centre, three] = [
    await load({ evaluation: { views: 1 } }),
    await load({ evaluation: { views: 3 } }),
  ];
  expect(centre.rows).toBe(1);
  expect(centre.frames[0]).toEqual(three.frames[0]!);
  const drawn = await Promise.all(
    [1, 2].map((seed) => load({ evaluation: { views: 0 }, seed })),
  );
  expect(drawn[0]!.rows).toBe(1);
  expect(drawn[0]!.pixels).not.toEqual(drawn[1]!.pixels);
});

test("sound alone has the same clips every time", async () => {
  const options = {
    clips: 3,
    evaluation: { views: 1 },
    modalities: ["audio" as const],
  };
  await using loader = new ClipLoader(join(folder, "index.csv"), {
    ...{ batch: 1, audioSeconds: 0.32, order: "sequential", passes: 1 },
    ...options,
  } as ClipLoaderOptions);
  const { starts } = (await loader.next())!;
  expect(starts[0]).toBe(0);
  expect(starts[1]).toBeCloseTo(starts[2]! / 2, 9);
  expect(starts[2]).toBeCloseTo(1.2 - 0.32, 1);
});
