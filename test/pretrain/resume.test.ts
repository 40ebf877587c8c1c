/** A run that was killed, or stopped, ends as one that was not: to the bit. */

import { timeKeys } from "@avjepa/train";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import {
  Clips,
  bytesOf,
  metricsOf,
  pretrain,
  small,
  startPretrain,
  stepsOf,
  until,
} from "./support.ts";

let clips: Clips;
beforeAll(() => {
  clips = new Clips();
});
afterAll(() => clips[Symbol.dispose]());

const tags = { avjepa: "avjepaTiny-L1", vjepa: "jepa" };

/** 12 steps over 8 clips: the third step of two batches of three ends in the second pass. */
const args = (folder: string): string[] => [
  "configs/pretrain/av-vitt16.yaml",
  ...["--folder", clips.path(folder)],
  ...small(clips.path("clips.csv")),
  ...stepsOf(3, 4),
  ...[
    "--set",
    "meta.checkpoint_every_steps=1",
    "--set",
    "meta.keep_checkpoints=20",
  ],
  ...["--set", "data.batch_size=3", "--set", "optimization.grad_accum=2"],
  ...[
    "--set",
    "logging.collapse_every_steps=3",
    "--set",
    "logging.every_steps=1",
  ],
  ...["--set", `data.held_out=[${clips.path("clips.csv")}]`],
  ...["--set", "model.use_mask_tokens=false"],
];

const checkpoint = (folder: string, step: number): string =>
  join(clips.path(folder), `${tags.avjepa}-s${step}`);

/** `log.txt` without what tells of time. */
const logOf = (folder: string): string =>
  readFileSync(join(clips.path(folder), "log.txt"), "utf8")
    .replaceAll(/[\d.]+ clips\/s.*/g, "")
    .replaceAll(clips.path(folder), "RUN");

/** The table without its two columns of milliseconds. */
const tableOf = (folder: string): string[] =>
  readFileSync(join(clips.path(folder), `${tags.avjepa}_r0.csv`), "utf8")
    .split("\n")
    .map((line) => line.split(",").slice(0, -2).join(","));

function expectEqualRuns(folder: string): void {
  for (const step of [6, 9, 12])
    expect(bytesOf(checkpoint(folder, step))).toEqual(
      bytesOf(checkpoint("whole", step)),
    );
  expect(metricsOf(clips.path(folder), timeKeys)).toEqual(
    metricsOf(clips.path("whole"), timeKeys),
  );
  expect(tableOf(folder)).toEqual(tableOf("whole"));
  expect(logOf(folder)).toBe(logOf("whole"));
}

describe("twelve steps", () => {
  test("at once", () => {
    const run = pretrain(...args("whole"));
    expect(run.err).not.toContain("error");
    expect(run.exitCode).toBe(0);
    const metrics = metricsOf(clips.path("whole"));
    expect(metrics).toHaveLength(12);
    expect(metrics[3]).toHaveProperty("loss_held_out");
    expect(metrics[2]).toHaveProperty("feature_std_audio");
  }, 120_000);

  test("killed after the fifth, and continued with one loader thread", async () => {
    const killed = startPretrain(...args("killed"));
    await until(() => existsSync(checkpoint("killed", 5)));
    killed.kill("SIGKILL");
    await killed.exited;
    const steps = metricsOf(clips.path("killed")).length;
    expect(steps).toBeLessThan(12);
    const run = pretrain(...args("killed"), "--set", "data.num_workers=1");
    expect(run.err).toContain("continuing after step");
    expect(run.err).toContain("took over from process");
    expect(run.exitCode).toBe(0);
    expectEqualRuns("killed");
  }, 120_000);

  test("stopped by --steps, then by a signal, and continued", async () => {
    expect(pretrain(...args("stopped"), "--steps", "2").exitCode).toBe(0);
    const stopped = startPretrain(...args("stopped"));
    await until(() => existsSync(checkpoint("stopped", 4)));
    stopped.kill("SIGTERM");
    expect(await stopped.exited).toBe(75);
    const reached = metricsOf(clips.path("stopped")).length;
    expect(existsSync(checkpoint("stopped", reached))).toBe(true);
    expect(pretrain(...args("stopped")).exitCode).toBe(0);
    expectEqualRuns("stopped");
  }, 120_000);

  test("from an older checkpoint, by its path", () => {
    expect(
      pretrain(...args("stopped"), "--resume", checkpoint("stopped", 8))
        .exitCode,
    ).toBe(0);
    expectEqualRuns("stopped");
  }, 120_000);
});

describe("a folder with a run", () => {
  const first = (folder: string, ...more: string[]) =>
    pretrain(...args(folder), "--steps", "1", ...more);

  test("--resume never starts anew, and keeps the old one aside", () => {
    first("again");
    const before = bytesOf(checkpoint("again", 1));
    const run = first("again", "--resume", "never", "--seed", "7");
    expect(run.err).toContain("before-1");
    expect(run.exitCode).toBe(0);
    expect(bytesOf(checkpoint("again", 1))).not.toEqual(before);
    expect(
      bytesOf(join(clips.path("again"), "before-1", `${tags.avjepa}-s1`)),
    ).toEqual(before);
  }, 60_000);

  test("another configuration is refused, key by key, and nothing is touched", () => {
    first("changed");
    const before = readdirSync(clips.path("changed")).sort();
    const run = pretrain(...args("changed"), "--set", "optimization.lr=0.5");
    expect(run.err).toContain("optimization.lr");
    expect(run.err).toContain("--allow-change");
    expect(run.exitCode).toBe(1);
    expect(readdirSync(clips.path("changed")).sort()).toEqual(before);
    expect(
      first("changed", "--set", "optimization.lr=0.5", "--allow-change")
        .exitCode,
    ).toBe(0);
  }, 60_000);

  test("weights of another run begin a new one", () => {
    first("source");
    const init = [
      "--set",
      `meta.init_from=${clips.path("source")}`,
      "--seed",
      "5",
    ];
    const run = first("derived", ...init);
    expect(run.err).toContain(`weights of`);
    expect(run.exitCode).toBe(0);
  }, 60_000);
});
