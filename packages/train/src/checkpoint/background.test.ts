import { expect, test } from "bun:test";

import { BackgroundWriter } from "./background.ts";
import type { Checkpoint } from "./store.ts";

const checkpoint = (step: number): Checkpoint => ({
  path: `s${step}`,
  step,
  state: { format_version: 1, step, files: {} },
});

test("writes one at a time, in order, while its caller goes on", async () => {
  const writer = new BackgroundWriter();
  const order: string[] = [];
  const slow = (step: number) => async () => {
    order.push(`begin ${step}`);
    await Bun.sleep(5);
    order.push(`end ${step}`);
    return checkpoint(step);
  };
  await writer.begin(slow(1));
  expect(writer.saved).toBeUndefined();
  await writer.begin(slow(2));
  expect(writer.saved?.step).toBe(1);
  expect((await writer.finish())?.step).toBe(2);
  expect(order).toEqual(["begin 1", "end 1", "begin 2", "end 2"]);
});

test("an error comes at the next call, once, and the checkpoint before it stays", async () => {
  const writer = new BackgroundWriter(checkpoint(3));
  const fail = () => Promise.reject(new Error("the disk is full"));
  await writer.begin(fail);
  await Bun.sleep(1);
  expect(() => writer.check()).toThrow("the disk is full");
  writer.check();
  await writer.begin(fail);
  await expect(writer.finish()).rejects.toThrow("the disk is full");
  expect((await writer.finish())?.step).toBe(3);
});
