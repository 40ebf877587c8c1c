/** Files without sound or picture, too short, silent, or broken. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";

import { ClipLoader } from "@avjepa/data";

import { batches, failure, Folder, small, tone } from "./support.ts";

const folder = new Folder();
const path = (name: string) => folder.path(name);

beforeAll(async () => {
  await folder.film("whole.mp4");
  await folder.film("mute.mp4", { sound: null });
  await folder.film("silent.mkv", { sound: new Float32Array(25_600) });
  await folder.film("short.mp4", { seconds: 0.3 });
  await folder.film("early.mp4", { sound: tone(0.24) });
  folder.wav("sound.wav", tone(2));
  folder.wav("silent.wav", new Float32Array(32_000));
  folder.text("text.mp4", "not a film");
  writeFileSync(path("empty.mp4"), "");
  writeFileSync(
    path("cut.mp4"),
    readFileSync(path("whole.mp4")).subarray(0, 2000),
  );
});
afterAll(() => folder[Symbol.dispose]());

/** One batch of these files in their order. */
async function one(names: string[], options = {}) {
  const index = folder.text("given.csv", ...names.map((name) => `${name} 0`));
  const data = { max_bad_fraction: 1, ...(options as { data?: object }).data };
  const [batch] = await batches(
    index,
    { order: "sequential", batch: names.length, ...options, data },
    1,
  );
  return batch!;
}

const kinds = (batch: { events: readonly { kind: string; path: string }[] }) =>
  batch.events.map((event) => [
    event.kind,
    event.path.slice(folder.root.length + 1),
  ]);

describe("masked", () => {
  test("a film without sound", async () => {
    const batch = await one(["whole.mp4", "mute.mp4"]);
    expect([...batch.hasVideo]).toEqual([1, 1]);
    expect(batch.audioCols[0]).toBe(6);
    expect(batch.audioCols[1]).toBe(0);
    expect(kinds(batch)).toEqual([["missing_audio", "mute.mp4"]]);
    expect(batch.events[0]!.reason).toBe("the file has no sound");
    const half = batch.audioData!.length / 2;
    expect(batch.audioData!.subarray(half).every((x) => x === 0)).toBe(true);
    expect(batch.counts).toMatchObject({ tried: 2, bad: 0, missingAudio: 1 });
  });

  test("digital silence", async () => {
    const batch = await one(["silent.mkv"]);
    expect(kinds(batch)).toEqual([["silent", "silent.mkv"]]);
    expect([batch.hasVideo[0], batch.audioCols[0]]).toEqual([1, 0]);
  });

  test("sound without picture", async () => {
    const batch = await one(["sound.wav", "whole.mp4"]);
    expect([...batch.hasVideo]).toEqual([0, 1]);
    expect([...batch.audioCols]).toEqual([6, 6]);
    expect(kinds(batch)).toEqual([["missing_video", "sound.wav"]]);
    expect([...batch.frames.subarray(0, 4)]).toEqual([-1, -1, -1, -1]);
  });

  test("what lies past the end of the track", async () => {
    const [from0] = [await one(["early.mp4"], { frames: 8 })];
    // 0.24 s and what the encoder adds, of 0.48 s; a column is 0.08 s.
    expect(from0.audioCols[0]).toBeGreaterThan(0);
    expect(from0.audioCols[0]).toBeLessThan(6);
    const padded = await one(["early.mp4"], {
      frames: 8,
      data: { audio: { pad: "zero" } },
    });
    expect(padded.audioCols[0]).toBe(6);
  });

  test("a film shorter than a clip: its last frame again", async () => {
    const batch = await one(["short.mp4"]);
    expect([...batch.frames]).toEqual([0, 2, 2, 2]);
    expect(kinds(batch)).toContainEqual(["short", "short.mp4"]);
  });
});

describe("left out", () => {
  test.each([
    ["missing_audio", "mute.mp4", { data: { missing_audio: "skip" } }],
    ["silent", "silent.mkv", { data: { missing_audio: "skip" } }],
    ["missing_video", "sound.wav", { data: { missing_video: "skip" } }],
    ["short", "short.mp4", { data: { filter_short_videos: true } }],
    ["silent", "silent.wav", {}],
  ])("%s: %s with %j", async (kind, name, options) => {
    const batch = await one([name, "whole.mp4"], options);
    expect(batch.paths).toEqual([path("whole.mp4"), path("whole.mp4")]);
    expect(kinds(batch)).toEqual([[kind, name]]);
    expect(batch.events[0]!.replaced).toBe(true);
    expect(batch.counts.bad).toBe(0);
  });

  test("all of them: an error that names the settings", async () => {
    const error = await failure(
      one(["mute.mp4", "mute.mp4"], { data: { missing_audio: "skip" } }),
    );
    expect(error.code).toBe("AVJ_BAD_FILES");
    expect(error.hint).toContain("data.missing_audio");
  });
});

describe("the run ends", () => {
  test.each([
    ["mute.mp4", { data: { missing_audio: "error" } }, "data.missing_audio"],
    ["sound.wav", { data: { missing_video: "error" } }, "data.missing_video"],
  ])("at %s with %j", async (name, options, key) => {
    const error = await failure(one([name, "whole.mp4"], options));
    expect(error.message).toContain(path(name));
    expect(error.hint).toContain(key);
  });

  test("when there is nothing but bad files, naming them", async () => {
    const names = ["text.mp4", "empty.mp4", "cut.mp4", "gone.mp4"];
    const error = await failure(one(names));
    expect(error.code).toBe("AVJ_BAD_FILES");
    for (const name of names) expect(error.message).toContain(path(name));
    expect(error.message).toContain("4 of 4 files");
    expect(error.hint).toContain("bun run doctor");
  });

  test("past data.max_bad_fraction, and goes on failing", async () => {
    const lines = Array.from({ length: 19 }, () => "whole.mp4 0");
    const index = folder.text("some.csv", ...lines, "text.mp4 0", "gone.mp4 0");
    const options = { ...small, order: "sequential", batch: 7 } as const;
    await using strict = new ClipLoader(index, {
      ...options,
      data: { max_bad_fraction: 0.05 },
    });
    await strict.next();
    await strict.next();
    const error = await failure(strict.next());
    expect(error.message).toContain("2 of 21 files");
    expect(await failure(strict.next())).toEqual(error);
    const lenient = await batches(index, {
      ...options,
      passes: 1,
      data: { max_bad_fraction: 0.1 },
    });
    expect(lenient.map(({ samples }) => samples)).toEqual([7, 7, 7]);
    expect(lenient[2]!.counts.bad).toBe(2);
  });
});

test("a broken file is replaced, reported once, with its reason", async () => {
  const batch = await one([
    "text.mp4",
    "empty.mp4",
    "cut.mp4",
    "gone.mp4",
    "whole.mp4",
  ]);
  expect(new Set(batch.paths)).toEqual(new Set([path("whole.mp4")]));
  const reasons = Object.fromEntries(
    batch.events.map((event) => [event.path, event.reason]),
  );
  expect(reasons[path("text.mp4")]).toContain("text");
  expect(reasons[path("empty.mp4")]).toContain("empty");
  expect(reasons[path("gone.mp4")]).toContain("no such file");
  expect(reasons[path("cut.mp4")]).toBeString();
  expect(batch.events).toHaveLength(4);
});

describe("one modality", () => {
  test("sound alone, from films and from sound files", async () => {
    const batch = await one(["whole.mp4", "sound.wav"], {
      modalities: ["audio"],
      clips: 2,
    });
    expect(batch.videoData).toBeNull();
    expect(batch.videoShape).toBeNull();
    expect(batch.audioShape).toEqual([4, 1, 128, 48]);
    expect([...batch.audioCols]).toEqual([6, 6, 6, 6]);
    expect(batch.events).toHaveLength(0);
    expect(batch.present.offsets.at(-1)).toBe(4 * 16 * 6);
  });

  test("sound whose clock does not begin at 0", async () => {
    const made = Bun.spawnSync(
      ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i"].concat(
        folder.path("sound.wav"),
        ["-c:a", "aac", "-output_ts_offset", "7", folder.path("late.ts")],
      ),
    );
    expect(String(made.stderr)).toBe("");
    const batch = await one(["late.ts"], { modalities: ["audio"], clips: 2 });
    expect(batch.events).toHaveLength(0);
    expect([...batch.audioCols]).toEqual([6, 6]);
  });

  test("picture alone: sound is not looked at", async () => {
    const batch = await one(["mute.mp4", "whole.mp4"], {
      modalities: ["video"],
    });
    expect(batch.audioData).toBeNull();
    expect(batch.events).toHaveLength(0);
    expect(batch.present.offsets.at(-1)).toBe(2 * 2 * 4 * 4);
  });

  test("a sound file is no film", async () => {
    const batch = await one(["sound.wav", "whole.mp4"], {
      modalities: ["video"],
    });
    expect(kinds(batch)).toEqual([["bad", "sound.wav"]]);
  });
});

test("files are read again each pass", async () => {
  copyFileSync(path("whole.mp4"), path("copy.mp4"));
  const index = folder.text("twice.csv", "copy.mp4 0", "whole.mp4 0");
  const found = await batches(index, { batch: 2, passes: 2 });
  const hashes = found.map(({ videoData }) =>
    Bun.hash(videoData as Uint8Array),
  );
  expect(hashes[0]).not.toBe(hashes[1]!);
});

test("numbers that cannot be are refused by their names", () => {
  const index = folder.text("one.csv", "whole.mp4 0");
  const open = (options: object) => () =>
    new ClipLoader(index, { ...small, ...options });
  expect(open({ batch: undefined })).toThrow("batch is NaN");
  expect(open({ workers: -1 })).toThrow("workers is -1");
  expect(open({ frames: 0 })).toThrow("frames is 0");
  expect(open({ crop: 33 })).toThrow("not divisible");
});
