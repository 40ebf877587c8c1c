/** Trains 200 steps of changing lengths and prints what they hold at the start and at the end. */

import { memory, synchronize } from "@avjepa/core";
import { readFileSync } from "node:fs";
import { Training } from "../transformer.ts";

const leak: unknown[] = [];
const leaky = process.argv.includes("--leak");

function resident(): number {
  try {
    const text = readFileSync("/proc/self/status", "utf8");
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(text)?.[1]);
  } catch {
    return process.memoryUsage().rss;
  }
}

const training = new Training(64, 2);
// Up and down, never the same twice in a row.
const tokens = (step: number) => 100 + ((step * 37) % 150);
const look = async () => {
  await synchronize();
  Bun.gc(true);
  return { ...memory(), resident: resident() };
};

const steps = async (from: number, to: number) => {
  for (let i = from; i < to; i++) {
    await training.step(tokens(i), { checkpointing: i % 2 === 0 });
    // What the test must notice: half a megabyte a step.
    if (leaky) leak.push(new Uint8Array(512 * 1024).fill(i));
  }
};
await steps(0, 50);
const first = await look();
await steps(50, 200);
const last = await look();
console.log(JSON.stringify({ first, last }));
