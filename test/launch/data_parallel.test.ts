/** The same run on one, two and four processes. */

import { loadPretrainConfig, toYaml } from "@avjepa/train";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";

import { Clips, small, stepsOf } from "../pretrain/support.ts";
import { type StepLine, trainSteps, withoutMpi } from "./support.ts";

let clips: Clips;
const runs = new Map<number, StepLine[]>();
const steps = 4;

beforeAll(async () => {
  if (withoutMpi) return;
  clips = new Clips();
  // Four clips a step however many share them: one process takes two batches of two.
  for (const [ranks, batch] of [
    [1, 2],
    [2, 2],
    [4, 1],
  ] as const) {
    const sets = [
      ...small(clips.path("clips.csv")),
      ...stepsOf(2, 4),
      ...["--set", `data.batch_size=${batch}`],
      ...["--set", "optimization.batch_size_total=4"],
      ...["--set", "loss.reg_coeff=0.1"],
      ...["--set", `data.held_out=[${clips.path("clips.csv")}]`],
    ].filter((word) => word !== "--set");
    const { config } = loadPretrainConfig("configs/pretrain/av-vitt16.yaml", {
      set: sets,
      folder: clips.path("run"),
      world: ranks,
    });
    const path = clips.path(`ranks${ranks}.yaml`);
    writeFileSync(path, toYaml(config));
    runs.set(ranks, await trainSteps(ranks, path, steps));
  }
}, 240_000);
afterAll(() => clips?.[Symbol.dispose]());

const linesOf = (ranks: number, step: number): StepLine[] =>
  (runs.get(ranks) ?? [])
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

  test("have the same held-out loss on every rank", () => {
    const heldOut = (ranks: number) =>
      (runs.get(ranks) ?? []).flatMap((line) => line.heldOut ?? []);
    const [one = 0] = heldOut(1);
    for (const ranks of [2, 4]) {
      expect(heldOut(ranks)).toHaveLength(ranks);
      for (const loss of heldOut(ranks))
        expect(Math.abs(loss / one - 1)).toBeLessThan(1e-3);
    }
  });
});

if (withoutMpi) test.todo(`several processes: ${withoutMpi}`);
