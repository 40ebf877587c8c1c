/** Pretraining on a graphics adapter: along the CPU's curve, resumed to the bit, and what is left of it when the device fails. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import {
  Clips,
  bytesOf,
  metricsOf,
  pretrain,
  small,
  stepsOf,
} from "../pretrain/support.ts";
import { device, pretrainOnWgpu, wanted } from "./support.ts";

let clips: Clips;
beforeAll(() => {
  if (wanted) clips = new Clips(4);
}, 60_000);
afterAll(() => clips?.[Symbol.dispose]());

const args = (folder: string, ...more: string[]): string[] => [
  "configs/pretrain/av-vitt16.yaml",
  ...["--folder", clips.path(folder)],
  ...small(clips.path("clips.csv")),
  ...["--set", "logging.every_steps=1"],
  ...["--set", "logging.collapse_every_steps=100"],
  ...["--set", "model.depth=1", "--set", "model.pred_depth=1"],
  ...more,
];

const checkpoint = (folder: string, step: number): string =>
  join(clips.path(folder), `avjepaTiny-L1-s${step}`);

const losses = (folder: string): number[] =>
  metricsOf(clips.path(folder)).map(({ loss }) => loss as number);

describe.skipIf(!wanted)("pretraining on wgpu", () => {
  test("50 steps along the CPU's curve", () => {
    const more = stepsOf(5, 10);
    const cpu = pretrain(...args("cpu", ...more), "--devices", "cpu");
    expect(cpu.err + cpu.out).toContain("50");
    expect(cpu.exitCode).toBe(0);
    const wgpu = pretrainOnWgpu(args("wgpu", ...more));
    expect([wgpu.exitCode, wgpu.exitCode === 0 ? "" : wgpu.err]).toEqual([
      0,
      "",
    ]);
    const [expected, got] = [losses("cpu"), losses("wgpu")];
    expect(got.length).toBe(50);
    for (const [i, loss] of expected.entries())
      expect(Math.abs((got[i] as number) / loss - 1)).toBeLessThan(1e-3);
  }, 240_000);

  test("a resumed run is the whole one, to the bit", () => {
    const more = [...stepsOf(2, 3), "--set", "meta.checkpoint_every_steps=3"];
    expect(pretrainOnWgpu(args("whole", ...more)).exitCode).toBe(0);
    const half = pretrainOnWgpu(args("halves", ...more, "--steps", "3"));
    expect(half.exitCode).toBe(0);
    expect(pretrainOnWgpu(args("halves", ...more)).exitCode).toBe(0);
    expect(bytesOf(checkpoint("halves", 6))).toEqual(
      bytesOf(checkpoint("whole", 6)),
    );
  }, 240_000);

  test("a device that is lost leaves the last checkpoint, and a run that goes on", () => {
    const more = [...stepsOf(2, 4), "--set", "meta.checkpoint_every_steps=2"];
    process.env.AVJEPA_WGPU_FAULT = "lost:24";
    let lost: ReturnType<typeof pretrain>;
    try {
      lost = pretrain(...args("lost", ...more), "--devices", device);
    } finally {
      delete process.env.AVJEPA_WGPU_FAULT;
    }
    expect(lost.exitCode).toBe(1);
    expect(lost.err).toContain("the device was lost after 24 submissions");
    const saved = [2, 4, 6].filter((step) =>
      existsSync(checkpoint("lost", step)),
    );
    expect(saved.length).toBeGreaterThan(0);
    expect(pretrainOnWgpu(args("lost", ...more)).exitCode).toBe(0);
    expect(losses("lost").length).toBe(8);
    expect(readFileSync(join(clips.path("lost"), "log.txt"), "utf8")).toContain(
      "lost after 24 submissions",
    );
  }, 240_000);
});
