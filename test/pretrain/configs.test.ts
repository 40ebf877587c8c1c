/** The shipped configurations, on small clips and with small models. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import { Clips, metricsOf, pretrain, root, small, stepsOf } from "./support.ts";

let clips: Clips;
beforeAll(() => {
  clips = new Clips();
});
afterAll(() => clips[Symbol.dispose]());

const shipped = readdirSync(join(root, "configs/pretrain")).sort();
const trained = shipped.filter((name) => !name.includes("prediction"));

test("there are the published ten, the demo's, and the smallest", () => {
  expect(shipped).toHaveLength(12);
  expect(trained).toHaveLength(9);
});

test.each(trained)(
  "%s trains",
  (name) => {
    const folder = clips.path(`run-${name}`);
    const run = pretrain(
      join("configs/pretrain", name),
      ...[
        "--folder",
        folder,
        "--json",
        "--set",
        "logging.collapse_every_steps=2",
      ],
      ...small(clips.path("clips.csv")),
      ...stepsOf(2, 1),
    );
    expect(run.err).not.toContain("error");
    expect(run.exitCode).toBe(0);
    const result = JSON.parse(run.out.trimEnd().split("\n").at(-1)!);
    expect(result).toMatchObject({
      outcome: "finished",
      step: 2,
      folder,
      clips: 4,
      bad_files: 0,
    });
    const metrics = metricsOf(folder);
    expect(metrics.map(({ step }) => step)).toEqual([1, 2]);
    for (const { loss, loss_jepa, grad_norm_encoder } of metrics)
      for (const value of [loss, loss_jepa, grad_norm_encoder])
        expect(value).toBeGreaterThan(0);
    expect(metrics[1]).toHaveProperty("effective_rank");
    const tag = /write_tag: (.*)/.exec(
      readFileSync(join(root, "configs/pretrain", name), "utf8"),
    )![1]!;
    expect(readdirSync(folder)).toEqual(
      expect.arrayContaining([
        "config.yaml",
        "log.txt",
        "metrics.jsonl",
        "run.json",
        `${tag}-latest`,
        `${tag}-s2`,
        `${tag}_r0.csv`,
      ]),
    );
    // The folder's own configuration is one that continues the run.
    const again = pretrain(join(folder, "config.yaml"));
    expect(again.err).toContain("nothing to do");
    expect(again.exitCode).toBe(0);
  },
  60_000,
);

test.each(["corrected", "reference"])(
  "clips of one frame are pictures: they train, with sound (%s)",
  (compat) => {
    const sets = {
      "data.num_frames": 1,
      "data.tubelet_size": 1,
      "data.clip_duration": 0.8,
      "meta.compat": compat,
    };
    const run = pretrain(
      "configs/pretrain/av-vitt16.yaml",
      ...["--folder", clips.path(`pictures-${compat}`), "--json"],
      ...small(clips.path("clips.csv")),
      ...stepsOf(1, 2),
      ...Object.entries(sets).flatMap(([k, v]) => ["--set", `${k}=${v}`]),
    );
    expect(run.err).not.toContain("error");
    const metrics = metricsOf(clips.path(`pictures-${compat}`));
    expect(metrics.map(({ loss }) => loss! > 0)).toEqual([true, true]);
  },
  60_000,
);

test.each(shipped.filter((name) => !trained.includes(name)))(
  "%s resolves and is refused",
  (name) => {
    const path = join("configs/pretrain", name);
    const plan = pretrain(
      path,
      "--dry-run",
      "--json",
      ...small(clips.path("clips.csv")),
    );
    expect(plan.exitCode).toBe(0);
    expect(JSON.parse(plan.out)).toMatchObject({ app: "avprediction" });
    const run = pretrain(
      path,
      "--folder",
      clips.path("refused"),
      ...small(clips.path("clips.csv")),
    );
    expect(run.err).toContain("prediction task");
    expect(run.exitCode).toBe(1);
    expect(existsSync(clips.path("refused"))).toBe(false);
  },
);

test("every shipped configuration resolves where no data is set up, with a warning", () => {
  for (const name of shipped) {
    const { exitCode, err, out } = pretrain(
      join("configs/pretrain", name),
      "--dry-run",
    );
    expect(exitCode).toBe(0);
    expect(out).toMatch(/^(V|AV)-JEPA /);
    if (name !== "demo.yaml")
      expect(err).toContain("warning: AVJEPA_DATA is not set");
  }
}, 60_000);
