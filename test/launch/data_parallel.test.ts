/** The same run on one, two and four processes. */

import { loadPretrainConfig, toYaml } from "@avjepa/train";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";

import { Clips, small, stepsOf } from "../pretrain/support.ts";
import {
  type StepLine,
  ncclDouble,
  trainSteps,
  withoutMpi,
} from "./support.ts";

let clips: Clips;
const runs = new Map<string, StepLine[]>();
const steps = 4;

/** Runs on so many processes with such batches, and what else is set. */
const cases: [name: string, ranks: number, batch: number, set: string[]][] = [
  ["1", 1, 2, []],
  ["2", 2, 2, []],
  ["4", 4, 1, []],
  ["4 sharing", 4, 1, ["optimization.zero1=true"]],
  ["1 noised", 1, 2, ["model.use_mask_tokens=false"]],
  ["2 nccl", 2, 2, []],
  ["2 noised", 2, 2, ["model.use_mask_tokens=false"]],
];

beforeAll(async () => {
  if (withoutMpi) return;
  clips = new Clips();
  // Four clips a step however many share them: one process takes two batches of two.
  for (const [name, ranks, batch, set] of cases) {
    const sets = [
      ...small(clips.path("clips.csv")),
      ...stepsOf(2, 4),
      ...["--set", `data.batch_size=${batch}`],
      ...["--set", "optimization.batch_size_total=4"],
      ...["--set", "loss.reg_coeff=0.1"],
      ...["--set", `data.held_out=[${clips.path("clips.csv")}]`],
      ...set,
    ].filter((word) => word !== "--set");
    const { config } = loadPretrainConfig("configs/pretrain/av-vitt16.yaml", {
      set: sets,
      folder: clips.path("run"),
      world: ranks,
    });
    const path = clips.path(`${name}.yaml`);
    writeFileSync(path, toYaml(config));
    const nccl = name.endsWith("nccl")
      ? ncclDouble(clips.path("."))
      : undefined;
    runs.set(name, await trainSteps(ranks, path, steps, nccl));
  }
}, 240_000);
afterAll(() => clips?.[Symbol.dispose]());

const linesOf = (name: string | number, step: number): StepLine[] =>
  (runs.get(String(name)) ?? [])
    .filter((line) => line.step === step)
    .toSorted((a, b) => a.rank - b.rank);

describe.skipIf(withoutMpi !== null)("one, two and four processes", () => {
  test("have the same weights on every rank after every step", () => {
    for (const ranks of [2, 4])
      for (let step = 1; step <= steps; step++) {
        const hashes = linesOf(ranks, step).map(({ weights }) => weights);
        expect(hashes).toHaveLength(ranks);
        expect(new Set(hashes).size).toBe(1);
      }
    const all = [1, 2, 3, 4].map((step) => linesOf(2, step)[0]?.weights);
    expect(new Set(all).size).toBe(steps);
  });

  test("see the same samples under the same masks", () => {
    for (let step = 1; step <= steps; step++) {
      const [one, two, four] = [1, 2, 4].map((ranks) => {
        const lines = linesOf(ranks, step);
        return {
          samples: lines.flatMap(({ samples }) => samples),
          masks: lines.flatMap(({ masks }) => masks),
        };
      });
      expect(one?.samples).toHaveLength(4);
      expect(one?.masks.every((mask) => mask.length > 0)).toBe(true);
      expect(two).toEqual(one!);
      expect(four).toEqual(one!);
    }
  });

  test("have the same loss but for the order of sums", () => {
    for (let step = 1; step <= steps; step++) {
      const one = linesOf(1, step)[0]?.loss as number;
      for (const ranks of [2, 4])
        for (const { loss } of linesOf(ranks, step))
          expect(Math.abs(loss / one - 1)).toBeLessThan(1e-5);
    }
  });

  test("have the same noise where queries are noised targets", () => {
    for (let step = 1; step <= steps; step++) {
      const one = linesOf("1 noised", step)[0]?.loss as number;
      for (const { loss } of linesOf("2 noised", step))
        expect(Math.abs(loss / one - 1)).toBeLessThan(1e-5);
      expect(one).not.toBe(linesOf(1, step)[0]?.loss as number);
    }
  });

  test("that share the moments out have the same weights to the bit, in less memory", () => {
    for (let step = 1; step <= steps; step++) {
      const [all, shared] = [linesOf(4, step), linesOf("4 sharing", step)];
      expect(shared).toHaveLength(4);
      shared.forEach(({ weights, memory }, rank) => {
        const whole = all[rank] as StepLine;
        expect(weights).toBe(whole.weights);
        expect((whole.memory - memory) / whole.moments).toBeCloseTo(3 / 4, 1);
      });
    }
  });

  test("through the double of NCCL have the weights of those through MPI: a sum of two has no order", () => {
    for (let step = 1; step <= steps; step++) {
      const [mpi, nccl] = [linesOf(2, step), linesOf("2 nccl", step)];
      expect(nccl.map(({ engine }) => engine.slice(0, 4))).toEqual([
        "NCCL",
        "NCCL",
      ]);
      expect(mpi[0]?.engine).not.toContain("NCCL");
      expect(nccl.map(({ weights }) => weights)).toEqual(
        mpi.map(({ weights }) => weights),
      );
      expect(nccl.map(({ loss }) => loss)).toEqual(mpi.map(({ loss }) => loss));
    }
  });

  test("have the same held-out loss on every rank", () => {
    const heldOut = (ranks: number) =>
      (runs.get(String(ranks)) ?? []).flatMap((line) => line.heldOut ?? []);
    const [one = 0] = heldOut(1);
    for (const ranks of [2, 4]) {
      expect(heldOut(ranks)).toHaveLength(ranks);
      for (const loss of heldOut(ranks))
        expect(Math.abs(loss / one - 1)).toBeLessThan(1e-3);
    }
  });
});

if (withoutMpi) test.todo(`several processes: ${withoutMpi}`);
