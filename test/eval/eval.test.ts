/** `bun run eval` from its command line to its figures. */

import { encode } from "fast-png";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { Bench, cpu, kinds, root, run, sets } from "./support.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await Bench.make();
}, 120_000);
afterAll(() => bench[Symbol.dispose]());

const av = "configs/evals/vitt16_k400_16x8x3.yaml";
const shipped = readdirSync(join(root, "configs/evals")).sort();

describe("videos", () => {
  test.each(shipped.filter((name) => /k400|ssv2/.test(name)))(
    "%s runs",
    (name) => {
      const out = `shipped-${name}`;
      const tokens = bench.path("tokens");
      const { exitCode, err } = run("eval", [
        join("configs/evals", name),
        ...bench.small(out, { "cache.folder": tokens }),
      ]);
      expect(err).not.toContain("error");
      expect(exitCode).toBe(0);
      const modalities = /dataset_type: audiovideodataset/.test(
        readFileSync(join(root, "configs/evals", name), "utf8"),
      )
        ? ["video", "audio"]
        : ["video"];
      expect(bench.result(out)).toMatchObject({
        task: "video_classification_frozen",
        modalities,
        num_samples: 8,
        num_train_samples: 16,
        top5: 100,
        skipped: [],
        checkpoint: expect.stringContaining("avjepaTiny-L1-s2"),
      });
    },
    60_000,
  );

  test("clips, views, the grid and what is written", () => {
    const { exitCode, err } = run("eval", [
      av,
      ...bench.small("whole", {
        "data.num_segments": 2,
        "data.num_views_per_segment": 3,
        "optimization.num_epochs": 2,
        "probe.lr": "null",
        "probe.depth": "null",
        "probe.linear": true,
        "probe.knn": 3,
      }),
    ]);
    expect(err).not.toContain("error");
    expect(exitCode).toBe(0);
    const result = bench.result("whole");
    expect(result.grid).toHaveLength(6);
    expect(result.grid.map(({ depth }: any) => depth)).toEqual([
      1, 1, 1, 4, 4, 4,
    ]);
    expect(result.probe).toMatchObject({ projection: "applied", num_heads: 3 });
    for (const point of result.grid)
      expect(result.probe.held_out).toBeGreaterThanOrEqual(point.held_out);
    // Colour and pitch are plain to see and hear.
    expect(result.knn.top1).toBeGreaterThanOrEqual(50);
    expect(result.linear.top1).toBeGreaterThanOrEqual(50);
    const [low, high] = result.top1_interval;
    expect(low).toBeLessThanOrEqual(result.top1);
    expect(high).toBeGreaterThanOrEqual(result.top1);
    const folder = bench.path("whole");
    const tag = "avjepaTiny_eval";
    const lines = (name: string) =>
      readFileSync(join(folder, name), "utf8").trimEnd().split("\n");
    expect(lines(`${tag}_r0.csv`)[0]).toBe("epoch,loss,train_acc,val_acc");
    expect(lines(`${tag}_r0.csv`)).toHaveLength(3);
    expect(lines("metrics.jsonl")).toHaveLength(2);
    expect(lines(`${tag}-classes.csv`)).toHaveLength(1 + kinds);
    const confusion = lines(`${tag}-confusion.csv`)
      .slice(1)
      .map((line) => line.split(",").slice(1).map(Number));
    expect(confusion.flat().reduce((a, b) => a + b)).toBe(8);
    const diagonal = confusion.reduce((sum, row, c) => sum + row[c]!, 0);
    expect((100 * diagonal) / 8).toBeCloseTo(result.top1, 9);
    for (const name of [`${tag}-confusion.png`, "config.yaml", "log.txt"])
      expect(existsSync(join(folder, name))).toBe(true);
    const state = JSON.parse(
      readFileSync(join(folder, `${tag}-latest`, "state.json"), "utf8"),
    );
    expect(state.shape).toMatchObject({
      projection: "applied",
      classes: kinds,
    });

    // Its own configuration goes on with it: nothing is encoded or trained again.
    const again = run("eval", [join(folder, "config.yaml")]);
    expect(again.exitCode).toBe(0);
    expect(again.err).toContain("samples are in");
    expect(bench.result("whole")).toEqual(result);
    // Another task's probes are not taken for ours.
    const other = run("eval", [
      join(folder, "config.yaml"),
      ...sets({ "data.modalities": "[audio]" }),
    ]);
    expect(other.exitCode).toBe(1);
    expect(other.err).toMatch(
      /probes of video_classification_frozen of video and audio, not of/,
    );
  }, 120_000);

  test("a process that is stopped goes on to the same figures", async () => {
    const args = (out: string) => [
      av,
      ...bench.small(out, {
        "optimization.num_epochs": 40,
        "optimization.batch_size": 2,
      }),
    ];
    expect(run("eval", args("straight")).exitCode).toBe(0);
    const child = Bun.spawn(
      [
        process.execPath,
        join(root, "scripts/eval.ts"),
        ...args("stopped"),
        ...cpu,
      ],
      { cwd: root, stdout: "pipe", stderr: "pipe" },
    );
    const csv = join(bench.path("stopped"), "avjepaTiny_eval_r0.csv");
    while (!existsSync(csv) && child.exitCode === null) await Bun.sleep(5);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(75);
    expect(existsSync(join(bench.path("stopped"), "result.json"))).toBe(false);
    const rest = run("eval", args("stopped"));
    expect(rest.err).toMatch(/going on after step \d+/);
    expect(rest.exitCode).toBe(0);
    const figures = (out: string) => {
      const { config_hash: _, ...kept } = bench.result(out);
      return kept;
    };
    expect(figures("stopped")).toEqual(figures("straight"));
    const table = (out: string) =>
      readFileSync(join(bench.path(out), "avjepaTiny_eval_r0.csv"), "utf8");
    expect(table("stopped")).toBe(table("straight"));
  }, 120_000);

  test("a broken film is named, and nothing is tested in its place", () => {
    writeFileSync(bench.path("broken.mp4"), "no film at all");
    const lines = readFileSync(bench.path("val.csv"), "utf8");
    writeFileSync(bench.path("bad.csv"), `broken.mp4 0\n${lines}`);
    const { exitCode } = run("eval", [
      av,
      ...bench.small("bad", { "data.dataset_val": bench.path("bad.csv") }),
    ]);
    expect(exitCode).toBe(0);
    const path = bench.path("broken.mp4");
    expect(bench.result("bad")).toMatchObject({
      num_samples: 8,
      skipped: [path],
    });
    expect(bench.result("bad").skipped_reasons[path]).toContain("text");
  }, 60_000);
});

describe("other tasks", () => {
  const config = (name: string, text: string): string => {
    writeFileSync(bench.path(name), text);
    return bench.path(name);
  };

  test("pictures, sounds and both, in one run", () => {
    const path = config("both.yaml", "eval_name: audiovisual_classification\n");
    const { exitCode, err } = run("eval", [path, ...bench.small("both")]);
    expect(err).not.toContain("error");
    expect(exitCode).toBe(0);
    const { inputs } = bench.result("both");
    expect(Object.keys(inputs)).toEqual(["joint", "video", "audio"]);
    expect(inputs.joint.num_samples).toBe(8);
    // The film without sound has nothing to be heard.
    expect(inputs.audio.num_samples).toBe(7);
    expect(inputs.audio.skipped).toEqual([bench.path("val5.mp4")]);
  }, 60_000);

  test("sounds with several labels, in folds", () => {
    const lines = Array.from(
      { length: 16 },
      (_, i) => `train${i}.mp4 ${i % 4 < 2 ? "0;2" : "1;2"}\n`,
    );
    writeFileSync(bench.path("labels.csv"), lines.join(""));
    const path = config("sounds.yaml", "eval_name: audio_classification\n");
    const { exitCode, err } = run("eval", [
      path,
      ...bench
        .small("sounds", {
          "data.multi_label": true,
          "data.num_classes": 3,
          "data.dataset_train": bench.path("labels.csv"),
          "data.folds": 2,
          "data.fold_pattern": "'(0|1|2|3|4|5|6|7|8|9)[.]mp4$'",
        })
        .filter((arg, i, all) => !isSet(all, i, "data.dataset_val")),
    ]);
    expect(err).toContain("data.fold_pattern finds 10 folds");
    expect(exitCode).toBe(1);
    const folded = lines.map((line, i) =>
      line.replace("\n", i < 8 ? " first\n" : ",second\n"),
    );
    writeFileSync(bench.path("folded.csv"), folded.join(""));
    const fine = run("eval", [
      path,
      ...bench
        .small("sounds", {
          "data.multi_label": true,
          "data.num_classes": 3,
          "data.dataset_train": bench.path("folded.csv"),
          "data.folds": 2,
          "data.fold_column": true,
          "probe.knn": 3,
        })
        .filter((arg, i, all) => !isSet(all, i, "data.dataset_val")),
    ]);
    expect(fine.err).not.toContain("error");
    const result = bench.result("sounds");
    expect(result).toMatchObject({
      num_samples: 16,
      modalities: ["audio"],
      mAP: expect.any(Number),
      d_prime: expect.any(Number),
    });
    expect(result.folds).toHaveLength(2);
    expect(result.knn.mAP).toBeGreaterThan(50);
  }, 60_000);

  test("retrieval, by features and by the predictor", () => {
    const path = config("retrieval.yaml", "eval_name: retrieval\n");
    const { exitCode, err } = run("eval", [path, ...bench.small("retrieval")]);
    expect(err).not.toContain("error");
    expect(exitCode).toBe(0);
    const result = bench.result("retrieval");
    expect(result).toMatchObject({
      num_samples: 7,
      skipped: [bench.path("val5.mp4")],
    });
    for (const by of ["pooled", "predictor"])
      for (const way of ["audio_to_video", "video_to_audio"]) {
        const { R1, R5, R10 } = result[by][way];
        expect(R10).toBe(100);
        expect(R5).toBeGreaterThanOrEqual(R1);
      }
    // The vectors are kept, each shard whole or not at all.
    const [name] = readdirSync(bench.path("retrieval/vectors"));
    const state = bench.path(`retrieval/vectors/${name}/cache.json`);
    const kept = JSON.parse(readFileSync(state, "utf8"));
    expect(kept).toMatchObject({ done: 8, complete: true, shards: 1 });
    const again = run("eval", [path, ...bench.small("retrieval")]);
    expect(again.exitCode).toBe(0);
    expect(bench.result("retrieval")).toEqual(result);
    expect(JSON.parse(readFileSync(state, "utf8"))).toEqual(kept);
  }, 60_000);

  test("pixels and spectrograms from what is predicted", () => {
    const out = bench.path("prediction");
    const args = [
      "configs/pretrain/av-vitt16_prediction.yaml",
      ...["--folder", out, "--json"],
      ...sets({
        "meta.init_from": bench.path("run"),
        "data.datasets": `[${bench.path("train.csv")}]`,
        "data.held_out": `[${bench.path("val.csv")}]`,
        "data.batch_size": 3,
        "data.crop_size": 32,
        "data.num_frames": 4,
        "data.sampling_rate": 2,
        "meta.dtype": "float32",
        "optimization.start_lr": 1e-3,
      }),
    ];
    expect(run("eval", [...args, "--steps", "2"]).exitCode).toBe(0);
    const { exitCode, err } = run("eval", [...args, "--steps", "20"]);
    expect(err).toContain("going on after step 2");
    expect(exitCode).toBe(0);
    const result = bench.result("prediction");
    expect(result).toMatchObject({ task: "prediction", num_samples: 8 });
    for (const source of ["masked", "visible"]) {
      const { mse, psnr, mse_of_mean } = result.video[source];
      expect(mse).toBeLessThan(mse_of_mean);
      expect(psnr).toBeCloseTo(-10 * Math.log10(mse), 6);
      expect(result.audio[source].tokens).toBeGreaterThan(0);
    }
    expect(existsSync(join(out, "prediction-1-mask1.png"))).toBe(true);
    expect(existsSync(join(out, "prediction-4-mask2.png"))).toBe(true);
  }, 60_000);

  test("a published encoder", () => {
    const { exitCode, err } = run("eval", [
      "configs/evals/vitl16_k400_16x8x3.yaml",
      ...bench.small("published", {
        "pretrain.folder": "test/fixtures/parity/checkpoints",
        "pretrain.checkpoint": "vjepa_zip.pth.tar",
        "pretrain.model_name": "null",
        "pretrain.frames_per_clip": 4,
        "pretrain.num_heads": 2,
        "optimization.resolution": 48,
        "probe.knn": 3,
      }),
    ]);
    expect(err).not.toContain("error");
    expect(err).toMatch(/pos_embed.*interpolated/);
    expect(exitCode).toBe(0);
    expect(bench.result("published")).toMatchObject({
      checkpoint: "test/fixtures/parity/checkpoints/vjepa_zip.pth.tar",
      num_samples: 8,
      probe: { projection: "unused", num_heads: 2 },
    });
  }, 60_000);

  test("probes that were trained before are tested, and none is trained", () => {
    const made = bench.small("trained", {
      "probe.lr": "[0.001, 0.003]",
      "optimization.num_epochs": 2,
    });
    expect(run("eval", [av, ...made]).exitCode).toBe(0);
    const given = (checkpoint: string, more: Record<string, unknown> = {}) =>
      run("eval", [
        av,
        ...bench.small("tested", {
          "probe.checkpoint": checkpoint,
          "data.dataset_train": bench.path("nowhere.csv"),
          ...more,
        }),
      ]);
    const own = given(bench.path("trained"));
    expect(own.err).toBe(own.err.replace(/error/g, ""));
    expect(own.exitCode).toBe(0);
    const [before, after] = [bench.result("trained"), bench.result("tested")];
    expect(after.top1).toBe(before.top1);
    expect(after.num_train_samples).toBeUndefined();
    expect(after.probe.lr).toBe(before.probe.lr);
    const confusion = (out: string) =>
      readFileSync(
        join(bench.path(out), "avjepaTiny_eval-confusion.csv"),
        "utf8",
      );
    expect(confusion("tested")).toBe(confusion("trained"));
    expect(given(bench.path("run")).err).toContain("holds no probes");
    expect(given(bench.path("gone")).err).toContain("there is no probe");
    expect(
      given(bench.path("trained"), { "data.num_classes": 5 }).err,
    ).toContain("is a probe of 4 classes, but data.num_classes is 5");
    const narrow = given("test/fixtures/parity/checkpoints/probe_f.pth.tar");
    expect(narrow.err).toContain("features of width 24, but the encoder's");
    const published = run("eval", [
      "configs/evals/vitl16_k400_16x8x3.yaml",
      ...bench.small("published-probe", {
        "pretrain.folder": "test/fixtures/parity/checkpoints",
        "pretrain.checkpoint": "vjepa_zip.pth.tar",
        "pretrain.model_name": "null",
        "pretrain.frames_per_clip": 4,
        "pretrain.num_heads": 2,
        "data.num_classes": 7,
        "probe.checkpoint": "test/fixtures/parity/checkpoints/probe_m.pth.tar",
      }),
    ]);
    expect(published.exitCode).toBe(0);
    expect(bench.result("published-probe")).toMatchObject({
      num_samples: 8,
      probe: { projection: "unused", num_heads: 2, depth: 1 },
    });
  }, 60_000);

  test("folders of classes are an index", () => {
    for (const split of ["train", "val"])
      for (let i = 0; i < 8; i++) {
        const folder = bench.path(`folders-${split}/kind${i % 2}`);
        mkdirSync(folder, { recursive: true });
        copyFileSync(bench.path(`${split}${i}.mp4`), join(folder, `${i}.mp4`));
      }
    mkdirSync(bench.path("folders-train/empty"));
    const args = bench.small("folders", {
      "data.dataset_train": bench.path("folders-train"),
      "data.dataset_val": bench.path("folders-val"),
      "data.num_classes": 2,
    });
    const { exitCode, err } = run("eval", [av, ...args]);
    expect(exitCode).toBe(0);
    expect(err).toContain("empty/ has no media files and is no class");
    const table = readFileSync(
      join(bench.path("folders"), "avjepaTiny_eval-classes.csv"),
      "utf8",
    );
    expect(table).toContain("1,kind1,4,");
    mkdirSync(bench.path("folders-val/other"));
    copyFileSync(bench.path("val0.mp4"), bench.path("folders-val/other/0.mp4"));
    const other = run("eval", [av, ...args]);
    expect(other.exitCode).toBe(1);
    expect(other.err).toContain("has the class other");
  }, 60_000);
});

describe("pictures", () => {
  beforeAll(() => {
    for (const split of ["train", "val"])
      for (let i = 0; i < 8; i++) {
        const folder = bench.path(`images/${split}/kind${i % 2}`);
        mkdirSync(folder, { recursive: true });
        const pixels = new Uint8Array(40 * 30 * 3);
        for (let at = 0; at < pixels.length; at += 3) {
          pixels[at + (i % 2 === 0 ? 0 : 2)] = 220;
          pixels[at + 1] = (31 * i + at) % 50;
        }
        const picture = { width: 40, height: 30, channels: 3, data: pixels };
        writeFileSync(join(folder, `${i}.png`), encode(picture));
      }
    writeFileSync(bench.path("images/val/kind0/broken.png"), "no picture");
  });

  test.each(shipped.filter((name) => /in1k|inat|places/.test(name)))(
    "%s runs",
    (name) => {
      const out = `shipped-${name}`;
      const { exitCode, err } = run("eval", [
        join("configs/evals", name),
        ...bench
          .small(out, {
            "data.root_path": bench.folder,
            "data.image_folder": "images/",
            "data.num_classes": 2,
            "data.resolution": 32,
            "pretrain.frames_per_clip": 4,
            "cache.folder": bench.path("tokens"),
            "probe.knn": 3,
          })
          .filter((_, i, all) => !isSet(all, i, "data.dataset_")),
      ]);
      expect(err).not.toContain("error");
      expect(exitCode).toBe(0);
      const result = bench.result(out);
      expect(result).toMatchObject({
        task: "image_classification_frozen",
        num_samples: 8,
        num_train_samples: 8,
        skipped: [bench.path("images/val/kind0/broken.png")],
        knn: { top1: 100 },
      });
    },
    60_000,
  );
});

const isSet = (args: readonly string[], i: number, key: string): boolean =>
  (args[i] === "--set" && (args[i + 1] ?? "").startsWith(key)) ||
  (args[i] ?? "").startsWith(key);

test("pretraining tries probes now and then", () => {
  const steps = readFileSync(bench.path("run/metrics.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, number>);
  expect(steps.map((step) => "online_knn_top1" in step)).toEqual([false, true]);
  // Of one clip each; the film without sound is seen.
  expect(steps[1]!.online_linear_top1! % 12.5).toBe(0);
  expect(steps[1]!.online_linear_top1!).toBeGreaterThanOrEqual(50);
});

describe("bad input", () => {
  const cases: [string, Record<string, unknown>, RegExp][] = [
    [
      "fewer samples than classes",
      { "data.num_classes": 40 },
      /16 samples for 40 classes[^]*--set data.num_classes=4/,
    ],
    [
      "a label out of range",
      { "data.num_classes": 3 },
      /train3\.mp4, has label 3, but labels go from 0 to 2/,
    ],
    [
      "a class that training does not have",
      { "data.dataset_val": "unknown.csv", "data.num_classes": 5 },
      /class 4 of 1 of its 1 samples is not in/,
    ],
    [
      "another model's name",
      { "pretrain.model_name": "vit_large" },
      /pretrain.model_name is vit_large[^]*--set pretrain.model_name=vit_tiny/,
    ],
    [
      "another patch",
      { "pretrain.patch_size": 8 },
      /--set pretrain.patch_size=16/,
    ],
    [
      "a checkpoint that is not there",
      { "pretrain.checkpoint": "none-latest" },
      /no checkpoint none-latest[^]*avjepaTiny-L1-latest/,
    ],
    ["a run that is not there", { "pretrain.folder": "/none" }, /\/none/],
    ["a resolution without patches", { "optimization.resolution": 40 }, /40/],
    [
      "tokens that would not fit",
      { "cache.max_bytes": 1000 },
      /would take .* cache.max_bytes allows 1.0 kB/,
    ],
    [
      "a grid that nothing chooses from",
      { "probe.held_out": 0, "probe.lr": "[1, 2]" },
      /probe.held_out is 0/,
    ],
  ];
  test.each(cases)(
    "%s",
    (name, more, message) => {
      writeFileSync(bench.path("unknown.csv"), "val0.mp4 4\n");
      const own = Object.fromEntries(
        Object.entries(more).map(([key, value]) => [
          key,
          value === "unknown.csv" ? bench.path("unknown.csv") : value,
        ]),
      );
      const { exitCode, err } = run("eval", [
        av,
        ...bench.small(`bad-${name.replaceAll(" ", "-")}`, own),
      ]);
      expect(err).toMatch(message);
      expect(err.match(/^error/gm)).toHaveLength(1);
      expect(exitCode).toBe(1);
    },
    30_000,
  );
});

test.each(["vitl16_in1k.yaml", "vith16_384_ssv2_16x2x3.yaml"])(
  "%s has a plan where no data is set up",
  (name) => {
    const { exitCode, out, err } = run("eval", [
      join("configs/evals", name),
      ...["--dry-run", "--json"],
    ]);
    expect(err).toContain("warning: AVJEPA_DATA is not set");
    expect(exitCode).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      task: expect.stringContaining("classification_frozen"),
      embed_dim: name.startsWith("vitl") ? 1024 : 1280,
      tokens_per_val_sample: name.startsWith("vitl") ? 1568 : 6 * 4608,
      probes: 6,
    });
  },
  30_000,
);
