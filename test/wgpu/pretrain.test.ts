/** Pretraining on a graphics adapter: along the CPU's curve, resumed to the bit, and what is left of it when the device fails. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { environment, mpirun, withoutMpi } from "../launch/support.ts";
import {
  Clips,
  bytesOf,
  metricsOf,
  pretrain,
  root,
  stepsOf,
} from "../pretrain/support.ts";
import {
  device,
  onceMore,
  pretrainOnWgpu,
  pretrainWithFault,
  wanted,
} from "./support.ts";

/** Drivers that compute on the processor take their time, and compile each kernel first. */
const TIMEOUT = 900_000;

let clips: Clips;
beforeAll(() => {
  if (wanted) clips = new Clips(4);
}, 60_000);
afterAll(() => clips?.[Symbol.dispose]());

const args = (folder: string, ...more: string[]): string[] => [
  "configs/pretrain/smoke.yaml",
  ...["--folder", clips.path(folder)],
  ...["--set", `data.datasets=[${clips.path("clips.csv")}]`],
  ...more,
];

const checkpoint = (folder: string, step: number): string =>
  join(clips.path(folder), `smoke-s${step}`);

const losses = (folder: string): number[] =>
  metricsOf(clips.path(folder)).map(({ loss }) => loss as number);

describe.skipIf(!wanted)("pretraining on wgpu", () => {
  test(
    "50 steps along the CPU's curve",
    () => {
      const cpu = pretrain(...args("cpu"), "--devices", "cpu");
      expect([cpu.exitCode, cpu.exitCode === 0 ? "" : cpu.err]).toEqual([
        0,
        "",
      ]);
      const wgpu = pretrainOnWgpu(args("wgpu"));
      expect([wgpu.exitCode, wgpu.exitCode === 0 ? "" : wgpu.err]).toEqual([
        0,
        "",
      ]);
      const [expected, got] = [losses("cpu"), losses("wgpu")];
      expect([expected.length, got.length]).toEqual([50, 50]);
      for (const [i, loss] of expected.entries())
        expect(Math.abs((got[i] as number) / loss - 1)).toBeLessThan(1e-3);
    },
    TIMEOUT,
  );

  test(
    "in bfloat16, along the CPU's curve in bfloat16",
    () => {
      const more = [...stepsOf(1, 5), "--set", "meta.dtype=bfloat16"];
      const cpu = pretrain(...args("cpu16", ...more), "--devices", "cpu");
      expect(cpu.exitCode).toBe(0);
      expect(pretrainOnWgpu(args("wgpu16", ...more)).exitCode).toBe(0);
      const [expected, got] = [losses("cpu16"), losses("wgpu16")];
      expect([expected.length, got.length]).toEqual([5, 5]);
      for (const [i, loss] of expected.entries())
        expect(Math.abs((got[i] as number) / loss - 1)).toBeLessThan(1e-2);
    },
    TIMEOUT,
  );

  test.todoIf(withoutMpi !== null)(
    "two processes that meet through MPI take one process's steps",
    () => {
      const more = [
        ...stepsOf(1, 3),
        ...["--set", "data.batch_size=null"],
        ...["--set", "optimization.batch_size_total=2"],
      ];
      const one = pretrain(...args("one", ...more), "--devices", "cpu");
      expect(one.exitCode).toBe(0);
      const script = join(root, "scripts/pretrain.ts");
      const command = [
        ...mpirun(2),
        ...[process.execPath, script, ...args("two", ...more)],
        ...["--devices", device],
      ];
      const { exitCode, err } = onceMore(() => {
        const two = Bun.spawnSync(command, { cwd: root, env: environment });
        return { exitCode: two.exitCode, err: String(two.stderr) };
      });
      expect([exitCode, exitCode === 0 ? "" : err]).toEqual([0, ""]);
      expect(err).toContain("2 processes meet through");
      const [expected, got] = [losses("one"), losses("two")];
      expect([expected.length, got.length]).toEqual([3, 3]);
      for (const [i, loss] of expected.entries())
        expect(Math.abs((got[i] as number) / loss - 1)).toBeLessThan(1e-3);
    },
    TIMEOUT,
  );

  test(
    "a resumed run is the whole one, to the bit",
    () => {
      const more = [...stepsOf(2, 3), "--set", "meta.checkpoint_every_steps=3"];
      expect(pretrainOnWgpu(args("whole", ...more)).exitCode).toBe(0);
      const half = pretrainOnWgpu(args("halves", ...more, "--steps", "3"));
      expect(half.exitCode).toBe(0);
      expect(pretrainOnWgpu(args("halves", ...more)).exitCode).toBe(0);
      expect(bytesOf(checkpoint("halves", 6))).toEqual(
        bytesOf(checkpoint("whole", 6)),
      );
    },
    TIMEOUT,
  );

  test(
    "a device that is lost leaves the last checkpoint, and a run that goes on",
    () => {
      const more = [...stepsOf(2, 4), "--set", "meta.checkpoint_every_steps=2"];
      const lost = pretrainWithFault("lost:30", args("lost", ...more));
      expect(lost.exitCode).toBe(1);
      const why = "the device was lost after 30 submissions";
      expect(lost.err).toContain(why);
      expect(readFileSync(join(clips.path("lost"), "log.txt"), "utf8")).toMatch(
        new RegExp(`^step \\d+: error: .*${why}`, "m"),
      );
      const saved = [2, 4, 6].filter((step) =>
        existsSync(checkpoint("lost", step)),
      );
      expect(saved.length).toBeGreaterThan(0);
      expect(pretrainOnWgpu(args("lost", ...more)).exitCode).toBe(0);
      const steps = metricsOf(clips.path("lost")).map(({ step }) => step);
      expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    },
    TIMEOUT,
  );

  test(
    "no room, or a kernel refused: the operation is named, the last checkpoint kept",
    () => {
      const more = [...stepsOf(2, 2), "--set", "meta.checkpoint_every_steps=2"];
      const half = pretrainOnWgpu(args("faults", ...more, "--steps", "2"));
      expect(half.exitCode).toBe(0);
      const before = bytesOf(checkpoint("faults", 2));
      const faults: [fault: string, message: RegExp][] = [
        [
          "memory:6500000",
          /error: \w[\w ]*: wgpu:\d: no room for \d+ bytes of tensors beside the \d+ taken/,
        ],
        [
          "shader:attention",
          /error: attention: wgpu:\d: .* refuses the kernel attention\.forward/,
        ],
      ];
      for (const [fault, message] of faults) {
        const { exitCode, err } = pretrainWithFault(
          fault,
          args("faults", ...more),
        );
        expect(err).toMatch(message);
        expect(exitCode).toBe(1);
        expect(bytesOf(checkpoint("faults", 2))).toEqual(before);
      }
      expect(pretrainOnWgpu(args("faults", ...more)).exitCode).toBe(0);
      expect(losses("faults").length).toBe(4);
    },
    TIMEOUT,
  );
});
