/** Loaders end, and leave nothing behind. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { ClipLoader } from "@avjepa/data";

import { failure, Folder, shippedMask, small } from "./support.ts";

const folder = new Folder();
let index: string;

beforeAll(async () => {
  for (let i = 0; i < 4; i++) await folder.film(`${i}.mp4`, { seed: i });
  const lines = Array.from({ length: 4 }, (_, i) => `${i}.mp4 0`);
  index = folder.text("four.csv", ...lines);
});
afterAll(() => folder[Symbol.dispose]());

/** Threads of this process; null off Linux. */
function threads(): number | null {
  try {
    return readdirSync("/proc/self/task").length;
  } catch {
    return null;
  }
}

test("closing while a batch is waited for", async () => {
  const loader = new ClipLoader(index, { ...small, batch: 5000, workers: 2 });
  const waiting = failure(loader.next());
  await Bun.sleep(20);
  loader.close();
  loader.close();
  expect((await waiting).code).toBe("AVJ_CLOSED");
  expect((await failure(loader.next())).code).toBe("AVJ_CLOSED");
});

test("breaking out of a loop, and leaving it by an error", async () => {
  await using loader = new ClipLoader(index, { ...small, workers: 2 });
  for await (const batch of loader) {
    expect(batch.rows).toBe(4);
    break;
  }
  const error = await failure(
    (async () => {
      for await (const batch of loader) throw new Error(`at ${batch.number}`);
    })(),
  );
  expect(error.message).toBe("at 1");
});

test("a program that stops reading ends", () => {
  const program = `
    import { ClipLoader } from "@avjepa/data";
    const loader = new ClipLoader(${JSON.stringify(index)}, ${JSON.stringify(small)});
    for await (const batch of loader) { console.log(batch.rows); break; }`;
  const run = Bun.spawnSync([process.execPath, "-e", program], {
    cwd: import.meta.dir,
    timeout: 30_000,
  });
  expect([run.exitCode, String(run.stdout), String(run.stderr)]).toEqual([
    0,
    "4\n",
    "",
  ]);
}, 40_000);

test("closed loaders leave no threads", async () => {
  const open = async () => {
    await using loader = new ClipLoader(index, { ...small, workers: 2 });
    await loader.next();
  };
  await open();
  const before = threads();
  for (let i = 0; i < 20; i++) await open();
  for (let waited = 0; threads()! > before! && waited < 5000; waited += 20)
    await Bun.sleep(20);
  expect(threads()!).toBeLessThanOrEqual(before!);
});

// In a process of its own: what other tests leave to the collector would be counted, or not.
test("memory stays flat over 200 batches and many loaders", () => {
  const options = {
    ...small,
    workers: 2,
    mask: shippedMask,
    crop: 64,
    patch: 16,
  };
  const run = Bun.spawnSync(
    [
      process.execPath,
      join(import.meta.dir, "children/memory.ts"),
      index,
      JSON.stringify(options),
    ],
    { timeout: 110_000 },
  );
  expect([run.exitCode, String(run.stderr)]).toEqual([0, ""]);
  const [before, after] = JSON.parse(String(run.stdout)) as [number, number];
  // A batch is 4 × 4 × 64 × 64 × 3 bytes and 4 spectrograms, 0.3 MB; 200 of them kept would be 60 MB.
  expect(after - before).toBeLessThan(20 * 1024 * 1024);
}, 120_000);
