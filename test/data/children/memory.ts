/**
 * Prints what is resident before and after 200 batches of many loaders: `[bytes, bytes]`.
 *
 *     bun memory.ts INDEX OPTIONS_JSON
 */

import { ClipLoader, type ClipLoaderOptions } from "@avjepa/data";

import { residentBytes } from "../../../bench/process_memory.ts";

const [index = "", options = "{}"] = process.argv.slice(2);

/** Reads so many batches with a loader of their own; bytes resident while it is open. */
async function read(batches: number): Promise<number> {
  await using loader = new ClipLoader(
    index,
    JSON.parse(options) as ClipLoaderOptions,
  );
  for (let i = 0; i < batches; i++) await loader.next();
  Bun.gc(true);
  return residentBytes();
}

/** The least of several: allocators and the collector give back when they like to. */
async function resident(): Promise<number> {
  const all = [];
  for (let i = 0; i < 5; i++) all.push(await read(20));
  return Math.min(...all);
}

await read(50);
const before = await resident();
await read(100);
for (let i = 0; i < 20; i++) await read(5);
const after = await resident();
process.stdout.write(JSON.stringify([before, after]));
