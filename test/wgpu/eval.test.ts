/** Evaluations on a graphics adapter: the CPU's figures. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Bench, cpu, run, sets } from "../eval/support.ts";
import { device, wanted } from "./support.ts";

/** Drivers that compute on the processor take their time, and compile each kernel first. */
const TIMEOUT = 900_000;

let bench: Bench;
beforeAll(async () => {
  if (wanted) bench = await Bench.make({ train: 8, val: 6 });
}, 120_000);
afterAll(() => bench?.[Symbol.dispose]());

/** The results and the losses of an evaluation on both devices, by its arguments for a folder. */
function both(args: (out: string) => string[]) {
  return [cpu, ["--devices", device]].map((devices, i) => {
    const out = `${i === 0 ? "cpu" : "wgpu"}-${folders++}`;
    const { exitCode, err } = run("eval", args(out), devices);
    if (exitCode !== 0) throw new Error(err);
    const lines = readFileSync(join(bench.path(out), "metrics.jsonl"), "utf8");
    const losses = lines
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
      .map(({ loss, probes }) => (loss ?? probes[0].loss) as number);
    return { result: bench.result(out), losses };
  }) as [host: Run, wgpu: Run];
}
type Run = { result: Record<string, any>; losses: number[] };
let folders = 0;

describe.skipIf(!wanted)("evaluations on wgpu", () => {
  test(
    "attentive and linear probes, k-NN",
    () => {
      const [host, wgpu] = both((out) => [
        "configs/evals/vitt16_k400_16x8x3.yaml",
        ...bench.small(out, {
          "optimization.num_epochs": 2,
          "probe.linear": true,
          "probe.knn": 3,
          "cache.folder": bench.path(`tokens-${out}`),
        }),
      ]);
      expect(host.losses).toHaveLength(2);
      for (const [i, loss] of host.losses.entries())
        expect(Math.abs(wgpu.losses[i]! / loss - 1)).toBeLessThan(1e-3);
      expect(wgpu.result.num_samples).toBe(6);
      // Where two classes are all but even, an adapter may prefer the other: for one film.
      const film = 100 / 6;
      const found = ({ result }: Run) => [
        result.top1,
        result.linear.top1,
        result.knn.top1,
      ];
      for (const [i, top1] of found(host).entries())
        expect(Math.abs(found(wgpu)[i] - top1)).toBeLessThan(1.01 * film);
    },
    TIMEOUT,
  );

  test(
    "a decoder of pixels and spectrograms",
    () => {
      const [host, wgpu] = both((out) => [
        "configs/pretrain/av-vitt16_prediction.yaml",
        ...["--folder", bench.path(out), "--steps", "3"],
        ...sets({
          "meta.init_from": bench.path("run"),
          "data.datasets": `[${bench.path("train.csv")}]`,
          "data.held_out": `[${bench.path("val.csv")}]`,
          "data.batch_size": 2,
          "data.crop_size": 32,
          "data.num_frames": 4,
          "data.sampling_rate": 2,
          "meta.dtype": "float32",
          "logging.every_steps": 1,
        }),
      ]);
      expect(host.losses).toHaveLength(3);
      for (const [i, loss] of host.losses.entries())
        expect(Math.abs(wgpu.losses[i]! / loss - 1)).toBeLessThan(1e-3);
      for (const source of ["masked", "visible"])
        for (const modality of ["video", "audio"]) {
          const { mse } = host.result[modality][source];
          const relative = wgpu.result[modality][source].mse / mse - 1;
          expect(Math.abs(relative)).toBeLessThan(1e-3);
        }
    },
    TIMEOUT,
  );

  test(
    "retrieval",
    () => {
      const path = bench.path("retrieval.yaml");
      writeFileSync(path, "eval_name: retrieval\n");
      const results = [cpu, ["--devices", device]].map((devices, i) => {
        const out = `retrieval-${i}`;
        const { exitCode, err } = run(
          "eval",
          [path, ...bench.small(out)],
          devices,
        );
        if (exitCode !== 0) throw new Error(err);
        const { pooled, predictor } = bench.result(out);
        return [pooled, predictor].flatMap((by) =>
          [by.audio_to_video, by.video_to_audio].map(({ R1 }) => R1 as number),
        );
      });
      const [host, wgpu] = results as [number[], number[]];
      expect(host).toHaveLength(4);
      // One of the five films with sound may change places.
      for (const [i, recall] of host.entries())
        expect(Math.abs(wgpu[i]! - recall)).toBeLessThan(21);
    },
    TIMEOUT,
  );
});
