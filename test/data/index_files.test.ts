/** Index files as users write them. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import { makeIndex, readIndex } from "@avjepa/data";

import { batches, failure, Folder } from "./support.ts";

const folder = new Folder();

beforeAll(async () => {
  mkdirSync(folder.path("clips/b c"), { recursive: true });
  mkdirSync(folder.path("clips/a"));
  await folder.film("clips/a/my clip, 1.mp4");
  await folder.film('clips/b c/say "hi".mkv', { seed: 1 });
  await folder.film("clips/b c/ünï.avi", { seed: 2 });
});
afterAll(() => folder[Symbol.dispose]());

test("quotes, tabs, commas, absolute and relative paths", async () => {
  const quoted = '"clips/b c/say ""hi"".mkv"';
  const index = folder.text(
    "mixed.csv",
    '"clips/a/my clip, 1.mp4" 3',
    `${quoted}, -1`,
    "clips/b c/ünï.avi\t7\r",
    "",
    `"${folder.path("clips/a/my clip, 1.mp4")}"   2`,
    "clips/b c/ünï.avi,0",
  );
  const [batch] = await batches(index, { batch: 5, order: "sequential" }, 1);
  expect([...batch!.labels]).toEqual([3, -1, 7, 2, 0]);
  expect(batch!.events).toHaveLength(0);
  expect(batch!.paths[1]).toBe(folder.path('clips/b c/say "hi".mkv'));
});

test("bun run index: what it writes is read back, also from elsewhere", async () => {
  const index = folder.path("made.csv");
  const run = Bun.spawnSync(
    [process.execPath, "scripts/index.ts", folder.path("clips"), "-o", index],
    { cwd: join(import.meta.dir, "../..") },
  );
  expect(String(run.stderr)).toBe("");
  expect(run.exitCode).toBe(0);
  const lines = readIndex(index);
  expect([...lines.labels]).toEqual([0, 1, 1]);
  const [batch] = await batches(index, { batch: 3, passes: 1 });
  expect(batch!.events).toHaveLength(0);
  // Relative paths: the folder may move as a whole.
  mkdirSync(folder.path("moved"));
  cpSync(folder.path("clips"), folder.path("moved/clips"), { recursive: true });
  renameSync(index, folder.path("moved/made.csv"));
  const moved = await batches(folder.path("moved/made.csv"), {
    batch: 3,
    passes: 1,
  });
  expect([...moved[0]!.videoData!]).toEqual([...batch!.videoData!]);
  expect(readIndex(folder.path("moved/made.csv")).fingerprint).toBe(
    lines.fingerprint,
  );
});

test("a folder without media is refused", async () => {
  mkdirSync(folder.path("nothing"));
  const error = await failure(
    makeIndex(folder.path("nothing"), folder.path("no.csv")),
  );
  expect(error.code).toBe("AVJ_INDEX");
  expect(error.message).toContain(folder.path("nothing"));
});

test("links: to files and folders they count, in circles and to nothing they are told of", async () => {
  mkdirSync(folder.path("linked/c"), { recursive: true });
  symlinkSync(folder.path("clips/a"), folder.path("linked/a"));
  symlinkSync(
    folder.path("clips/b c/ünï.avi"),
    folder.path("linked/c/link.avi"),
  );
  symlinkSync("..", folder.path("linked/c/up"));
  const alone = await makeIndex(folder.path("linked"), folder.path("l.csv"));
  expect(alone.classes.map(({ files }) => files)).toEqual([1, 1]);
  expect(alone.notices).toEqual([]);
  symlinkSync("/no/such/disk/b", folder.path("linked/b"));
  const two = await makeIndex(folder.path("linked"), folder.path("l.csv"));
  expect(two.notices).toEqual([
    expect.stringContaining("linked/b leads nowhere"),
  ]);
  symlinkSync("loop.mp4", folder.path("linked/c/loop.mp4"));
  const three = await makeIndex(folder.path("linked"), folder.path("l.csv"), {
    paths: "absolute",
  });
  expect(three.notices[0]).toStartWith("2 links lead nowhere");
  expect([...readIndex(folder.path("l.csv")).paths]).toEqual([
    folder.path("linked/a/my clip, 1.mp4"),
    folder.path("linked/c/link.avi"),
  ]);
});

test.each([
  ["no label", "clip.mp4", "label"],
  ["a label that is a word", "clip.mp4 cat", '"cat" is not an integer'],
  ["an open quote", '"clip.mp4 1', "quote is not closed"],
  ["a label out of range", "clip.mp4 99999999999", "out of range"],
  ["nothing", "", "the index is empty"],
])("a line with %s: file and line are named", async (_, line, words) => {
  const index = folder.text(
    "wrong.csv",
    ...(line ? ["good.mp4 0", line] : [""]),
  );
  const error = await failure(batches(index, {}, 1));
  expect(error.code).toBe("AVJ_INDEX");
  expect(error.message).toContain(line ? `${index}:2: ` : index);
  expect(error.message).toContain(words);
  expect(error.hint).toBeString();
});

test.each(["missing.csv", ".", "clips/a/my clip, 1.mp4"])(
  "%s is no index",
  async (name) => {
    const error = await failure(batches(folder.path(name), {}, 1));
    expect(error.code).toBe("AVJ_INDEX");
    expect(error.message).toContain(folder.path(name));
    expect(error.hint).toBeString();
  },
);
